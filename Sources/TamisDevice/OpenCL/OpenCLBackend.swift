import CShims
public import TamisCore

/// Every operation on one OpenCL device (docs/opencl.md). Caches, scores and selections stay there; queries go up and outputs
/// come down. Arithmetic is f32 on every dtype.
public final class OpenCLBackend: Backend {
  let queue: OpenCLQueue
  let programs: OpenCLPrograms
  /// Staging of packed host rows.
  let host = Scratch()

  // Device memory that lives between calls.
  let rows, rowScales: OpenCLScratch
  let queries, outputs, outputLSE, parts, partStats, biases: OpenCLScratch
  let denseKeys, denseValues, denseKeyScales, denseValueScales, tileStarts, tileIndex: OpenCLScratch
  let logits, softmaxStats, softmaxTotals, unpooled: OpenCLScratch
  let selectState, histogram, selectBlocks: OpenCLScratch
  var frames: FrameTable
  var rope: RoPETable?

  /// - Parameter index: which device, counted over all platforms as in `OpenCLDevices.list()`.
  /// Errors: `noDevice`, `invalidArgument`, `unsupported`, `device`.
  public convenience init(index: Int) throws(TamisError) { try self.init(index: index, cache: ProgramCache()) }

  init(index: Int, cache: ProgramCache) throws(TamisError) {
    let devices = try OpenCLDevices.all()
    try require(
      devices.indices.contains(index),
      "opencl_index is \(index); this machine has \(devices.count) OpenCL device\(devices.count == 1 ? "" : "s")")
    let device = devices[index]
    if device.maxWorkGroup < 256 || device.localMemoryBytes < 32 << 10 {
      throw TamisError(
        .unsupported,
        "opencl_index is \(index): \(device.info.name) has work-groups of \(device.maxWorkGroup) and"
          + " \(device.localMemoryBytes) bytes of local memory; 256 and 32768 are needed")
    }
    queue = try OpenCLQueue(device)
    programs = OpenCLPrograms(queue, cache: cache)
    rows = OpenCLScratch(queue)
    rowScales = OpenCLScratch(queue)
    queries = OpenCLScratch(queue)
    outputs = OpenCLScratch(queue)
    outputLSE = OpenCLScratch(queue)
    parts = OpenCLScratch(queue)
    partStats = OpenCLScratch(queue)
    biases = OpenCLScratch(queue)
    denseKeys = OpenCLScratch(queue)
    denseValues = OpenCLScratch(queue)
    denseKeyScales = OpenCLScratch(queue)
    denseValueScales = OpenCLScratch(queue)
    tileStarts = OpenCLScratch(queue)
    tileIndex = OpenCLScratch(queue)
    logits = OpenCLScratch(queue)
    softmaxStats = OpenCLScratch(queue)
    softmaxTotals = OpenCLScratch(queue)
    unpooled = OpenCLScratch(queue)
    selectState = OpenCLScratch(queue)
    histogram = OpenCLScratch(queue)
    selectBlocks = OpenCLScratch(queue)
    frames = FrameTable(queue)
  }

  public var name: String { queue.device.info.name }
  public var threads: Int { 1 }

  public func makeStore(_ layout: KVLayout) throws(TamisError) -> any KVStore { OpenCLStore(self, layout) }
  public func makeScores() -> any TokenScores { OpenCLScores(queue) }
  public func makeSelection() -> any TokenSelection { OpenCLSelection(queue) }

  // MARK: transfers

  /// Rows [start, start + count) of every head, packed, in their own dtype.
  func upload(_ view: TensorView, from start: Int, count: Int, to scratch: OpenCLScratch) throws(TamisError) -> OpenCLBuffer {
    let bytes = HostRows.bytes(view, count: count)
    let buffer = try scratch.reserve(bytes)
    if HostRows.isPacked(view, count: count) {
      try buffer.write(view.row(0, start), bytes: bytes)
    } else {
      host.reset(reserving: bytes + 64)
      let packed = host.takeRaw(bytes)
      HostRows.pack(view, from: start, count: count, to: packed)
      try buffer.write(packed, bytes: bytes)
    }
    return buffer
  }

  func uploadScales(
    _ view: TensorView, from start: Int, count: Int, to scratch: OpenCLScratch
  ) throws(TamisError) -> OpenCLBuffer {
    let n = view.shape[0] * count
    let buffer = try scratch.reserve(n * 4)
    host.reset(reserving: Scratch.bytes(Float.self, n))
    let scales = host.take(Float.self, n)
    HostRows.packScales(view, from: start, count: count, to: scales)
    try buffer.write(scales, bytes: n * 4)
    return buffer
  }

  func uploadFloats(_ view: TensorView, to scratch: OpenCLScratch) throws(TamisError) -> OpenCLBuffer {
    let n = view.shape[0] * view.shape[1] * view.shape[2]
    let buffer = try scratch.reserve(n * 4)
    host.reset(reserving: Scratch.bytes(Float.self, n))
    let floats = host.take(Float.self, n)
    HostRows.packFloats(view, to: floats)
    try buffer.write(floats, bytes: n * 4)
    return buffer
  }

  /// The store behind keys, which this backend must have made.
  func store(of keys: CachedKeys) throws(TamisError) -> OpenCLStore {
    guard let store = keys.store as? OpenCLStore, store.backend === self else {
      throw TamisError(.internalError, "the cache belongs to another device")
    }
    return store
  }
}

/// The page table of the last call, as frames, on the device. A decode step asks for the same one layer after layer.
struct FrameTable {
  private let memory: OpenCLScratch
  private var buffer: OpenCLBuffer?
  private var uploaded: [Int32] = []
  private var wanted: [Int32] = []

  init(_ queue: OpenCLQueue) { memory = OpenCLScratch(queue) }

  /// The frames that hold the first `keys.count` tokens.
  mutating func table(_ keys: CachedKeys, of store: OpenCLStore) throws(TamisError) -> OpenCLBuffer {
    let pageTokens = store.layout.pageTokens
    wanted.removeAll(keepingCapacity: true)
    for i in 0..<((keys.count + pageTokens - 1) / pageTokens) {
      let page = keys.pages[i]
      try require(page >= 0 && Int(page) < store.layout.maxPages, "page is \(page); the store has \(store.layout.maxPages)")
      let frame = store.frameOf[Int(page)]
      if frame < 0 { throw TamisError(.internalError, "page \(page) was never written") }
      wanted.append(frame)
    }
    return try upload()
  }

  /// One frame that holds everything: a tensor.
  mutating func single() throws(TamisError) -> OpenCLBuffer {
    wanted.removeAll(keepingCapacity: true)
    wanted.append(0)
    return try upload()
  }

  private mutating func upload() throws(TamisError) -> OpenCLBuffer {
    if let buffer, wanted == uploaded { return buffer }
    uploaded.removeAll(keepingCapacity: true)
    let fresh = try memory.reserve(wanted.count * 4)
    buffer = fresh
    try wanted.withUnsafeBufferPointer { wanted throws(TamisError) in
      if let base = wanted.baseAddress { try fresh.write(base, bytes: wanted.count * 4) }
    }
    uploaded.append(contentsOf: wanted)
    return fresh
  }
}

/// Cosines and sines of positions 0 ..< 1024 and of multiples of 1024, from f64 angles; the kernels multiply one of each, which
/// keeps the angle of any position right to f32 rounding at 1/1000 of the memory of a full table.
final class RoPETable {
  static let fineCount = 1024
  let rule: RoPE
  let fine, coarse: OpenCLBuffer
  /// Positions below this are covered.
  let limit: Int

  init(_ queue: OpenCLQueue, _ rule: RoPE, covering positions: Int) throws(TamisError) {
    self.rule = rule
    let coarseCount = max(1024, (positions + Self.fineCount - 1) / Self.fineCount + 1)
    limit = coarseCount * Self.fineCount
    fine = try Self.upload(queue, rule, count: Self.fineCount, step: 1)
    coarse = try Self.upload(queue, rule, count: coarseCount, step: Self.fineCount)
  }

  private static func upload(_ queue: OpenCLQueue, _ rule: RoPE, count: Int, step: Int) throws(TamisError) -> OpenCLBuffer {
    let half = rule.rotaryDims / 2
    var coarser = rule
    coarser.scale *= Double(step)
    var cosines = [Float](repeating: 0, count: count * half)
    var sines = cosines
    coarser.fill(first: 0, count: count, cos: &cosines, sin: &sines)
    var pairs = [Float](repeating: 0, count: 2 * count * half)
    for i in 0..<(count * half) {
      pairs[2 * i] = cosines[i]
      pairs[2 * i + 1] = sines[i]
    }
    let buffer = try OpenCLBuffer(queue, bytes: pairs.count * 4)
    try buffer.write(pairs, bytes: pairs.count * 4)
    return buffer
  }
}
