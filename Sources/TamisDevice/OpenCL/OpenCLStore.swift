import CShims
public import TamisCore

/// The pages of a cache in device memory.
///
/// A page takes a *frame* when it is first written: frames are handed out densely, and those of released pages first, so
/// memory follows use and not page numbers. For each layer K, V, the scales of an i8 cache and the scoring copy are one buffer
/// each, [frames][kvHeads][pageTokens][headDim], made when the layer is first written and doubled, by a copy on the device,
/// when it is full: an OpenCL device has no memory to overcommit, and one buffer keeps the kernels to one base address.
public final class OpenCLStore: KVStore {
  public let layout: KVLayout
  let backend: OpenCLBackend

  /// -1: never written
  private(set) var frameOf: [Int32]
  private var freeFrames: [Int32] = []
  private var nextFrame: Int32 = 0
  private var layers: [Layer?]

  /// Device memory of one layer.
  struct Layer {
    var frames: Int
    var keys, values: OpenCLBuffer
    /// One f32 per row of an i8 cache; else the keys and values again, never read.
    var keyScales, valueScales: OpenCLBuffer
    var copy, copyScales: OpenCLBuffer?
  }

  init(_ backend: OpenCLBackend, _ layout: KVLayout) {
    self.backend = backend
    self.layout = layout
    frameOf = [Int32](repeating: -1, count: layout.maxPages)
    layers = [Layer?](repeating: nil, count: layout.layers)
  }

  // MARK: frames

  /// Bytes of one frame of K, of its scales, of the scoring copy and of the copy's scales.
  private var frameBytes: (rows: Int, scales: Int, copy: Int, copyScales: Int) {
    (
      layout.pageElements * layout.dtype.size, layout.dtype == .i8 ? layout.pageRows * 4 : 0,
      layout.scoringCopy.map { layout.pageElements * $0.size } ?? 0, layout.scoringCopy == .i8 ? layout.pageRows * 4 : 0
    )
  }

  func layer(_ index: Int) throws(TamisError) -> Layer {
    guard let layer = layers[index] else { throw TamisError(.internalError, "layer \(index) was never written") }
    return layer
  }

  private func checkPage(_ page: Int32) throws(TamisError) {
    try require(page >= 0 && Int(page) < layout.maxPages, "page is \(page); the store has \(layout.maxPages)")
  }

  /// The frame of a page, taken now if it has none, with room for it in the layer.
  private func frame(for page: Int32, layer: Int) throws(TamisError) -> Int {
    try checkPage(page)
    let frame = frameOf[Int(page)] >= 0 ? frameOf[Int(page)] : freeFrames.last ?? nextFrame
    try grow(layer, toHold: Int(frame))
    if frameOf[Int(page)] < 0 {
      if freeFrames.popLast() == nil { nextFrame += 1 }
      frameOf[Int(page)] = frame
    }
    return Int(frame)
  }

  private func grow(_ index: Int, toHold frame: Int) throws(TamisError) {
    let old = layers[index]
    let has = old?.frames ?? 0
    if frame < has { return }
    if (frame + 1) * layout.pageRows > Int32.max {
      throw TamisError(.outOfMemory, "max_tokens: an OpenCL cache holds at most 2^31 - 1 tokens times kv_heads")
    }
    let bytes = frameBytes
    // Twice as many, but no larger a buffer than the device makes while what is asked for fits.
    let most = backend.queue.device.maxAllocationBytes / max(bytes.rows, bytes.copy, 1)
    let first = min(8, (1 << 20) / max(bytes.rows, 1))
    let frames = max(frame + 1, min(max(first, 2 * has), layout.maxPages, most))
    // The old buffers stay until all have grown: a failure changes nothing.
    let keys = try enlarged(old?.keys, has, frames, bytes.rows)
    let values = try enlarged(old?.values, has, frames, bytes.rows)
    let keyScales = bytes.scales == 0 ? keys : try enlarged(old?.keyScales, has, frames, bytes.scales)
    let valueScales = bytes.scales == 0 ? values : try enlarged(old?.valueScales, has, frames, bytes.scales)
    let copy = bytes.copy == 0 ? nil : try enlarged(old?.copy, has, frames, bytes.copy)
    let copyScales = bytes.copyScales == 0 ? nil : try enlarged(old?.copyScales, has, frames, bytes.copyScales)
    layers[index] = Layer(
      frames: frames, keys: keys, values: values, keyScales: keyScales, valueScales: valueScales, copy: copy,
      copyScales: copyScales)
  }

  private func enlarged(_ old: OpenCLBuffer?, _ has: Int, _ frames: Int, _ bytes: Int) throws(TamisError) -> OpenCLBuffer {
    let fresh = try OpenCLBuffer(backend.queue, bytes: frames * bytes)
    try old?.copy(to: fresh, from: 0, at: 0, bytes: has * bytes)
    try fresh.zero(from: has * bytes, bytes: (frames - has) * bytes)
    return fresh
  }

  public func releasePage(_ page: Int32) {
    guard page >= 0, Int(page) < layout.maxPages, frameOf[Int(page)] >= 0 else { return }
    freeFrames.append(frameOf[Int(page)])
    frameOf[Int(page)] = -1
  }

  // MARK: rows

  public func write(
    layer: Int, page: Int32, slot: Int, count: Int, k: TensorView, v: TensorView, from start: Int
  ) throws(TamisError) {
    if count == 0 { return }
    let frame = try frame(for: page, layer: layer)
    let memory = try self.layer(layer)
    try append(k, to: memory.keys, memory.keyScales, frame: frame, slot: slot, from: start, count: count)
    try append(v, to: memory.values, memory.valueScales, frame: frame, slot: slot, from: start, count: count)
    try mirror(memory, frame: frame, slot: slot, count: count)
  }

  private func append(
    _ rows: TensorView, to buffer: OpenCLBuffer, _ scales: OpenCLBuffer, frame: Int, slot: Int, from start: Int, count: Int
  ) throws(TamisError) {
    let sourceScales =
      rows.dtype == .i8 ? try backend.uploadScales(rows, from: start, count: count, to: backend.rowScales) : nil
    let source = try backend.upload(rows, from: start, count: count, to: backend.rows)
    let kernel = try backend.programs.kernel(
      .append, "append",
      ["D": layout.headDim, "SRC": Int(rows.dtype.rawValue), "DST": Int(layout.dtype.rawValue)])
    try backend.queue.run(
      kernel, groups: (count, layout.kvHeads, 1), items: 64,
      [
        .buffer(source), .buffer(sourceScales ?? source), .buffer(buffer), .buffer(scales), .int(frame), .int(slot),
        .int(layout.pageTokens),
      ])
  }

  /// Rows of the scoring copy, from the keys as stored.
  private func mirror(_ memory: Layer, frame: Int, slot: Int, count: Int) throws(TamisError) {
    guard let dtype = layout.scoringCopy, let copy = memory.copy else { return }
    let kernel = try backend.programs.kernel(
      .append, "mirror",
      ["D": layout.headDim, "SRC": Int(layout.dtype.rawValue), "DST": Int(dtype.rawValue)])
    try backend.queue.run(
      kernel, groups: (count, layout.kvHeads, 1), items: 64,
      [
        .buffer(memory.keys), .buffer(memory.keyScales), .buffer(copy), .buffer(memory.copyScales ?? copy), .int(frame),
        .int(slot), .int(layout.pageTokens),
      ])
  }

  public func read(
    layer: Int, page: Int32, slot: Int, count: Int, k: TensorView?, v: TensorView?, at start: Int
  ) throws(TamisError) {
    try checkPage(page)
    let frame = Int(frameOf[Int(page)])
    try require(frame >= 0, "page \(page) was never written")
    let memory = try self.layer(layer)
    if let k { try read(memory.keys, memory.keyScales, frame, slot, count, to: k, at: start) }
    if let v { try read(memory.values, memory.valueScales, frame, slot, count, to: v, at: start) }
  }

  private func read(
    _ buffer: OpenCLBuffer, _ scaleBuffer: OpenCLBuffer, _ frame: Int, _ slot: Int, _ count: Int, to view: TensorView,
    at start: Int
  ) throws(TamisError) {
    let heads = layout.kvHeads, d = layout.headDim, size = layout.dtype.size
    let rows = heads * count
    backend.host.reset(
      reserving: Scratch.bytes(UInt8.self, rows * d * size) + Scratch.bytes(Float.self, rows * d)
        + Scratch.bytes(Float.self, rows))
    let raw = backend.host.takeRaw(Scratch.bytes(UInt8.self, rows * d * size))
    let floats = backend.host.take(Float.self, rows * d)
    let firstRow = frame * layout.pageRows + slot
    try buffer.read(
      raw, rows: heads, of: count * d * size, pitch: layout.pageTokens * d * size, at: firstRow * d * size)
    if layout.dtype == .i8 {
      let scales = backend.host.take(Float.self, rows)
      try scaleBuffer.read(scales, rows: heads, of: count * 4, pitch: layout.pageTokens * 4, at: firstRow * 4)
      let bytes = raw.assumingMemoryBound(to: Int8.self)
      for row in 0..<rows {
        for i in 0..<d { floats[row * d + i] = Float(bytes[row * d + i]) * scales[row] }
      }
    } else {
      TensorRows.load(raw, layout.dtype, stride: 1, scale: 1, count: rows * d, to: floats, Kernels.active)
    }
    HostRows.unpack(floats, to: view, at: start, count: count)
  }

  // MARK: pages

  public func copyPage(from: Int32, to: Int32) throws(TamisError) {
    try checkPage(from)
    try checkPage(to)
    let source = Int(frameOf[Int(from)])
    if source < 0 || from == to { return }
    let bytes = frameBytes
    for index in 0..<layout.layers {
      guard let has = layers[index]?.frames, source < has else { continue }
      let target = try frame(for: to, layer: index)
      let memory = try layer(index)
      func copy(_ buffer: OpenCLBuffer?, _ bytes: Int) throws(TamisError) {
        if bytes > 0, let buffer { try buffer.copy(to: buffer, from: source * bytes, at: target * bytes, bytes: bytes) }
      }
      try copy(memory.keys, bytes.rows)
      try copy(memory.values, bytes.rows)
      try copy(memory.keyScales, bytes.scales)
      try copy(memory.valueScales, bytes.scales)
      try copy(memory.copy, bytes.copy)
      try copy(memory.copyScales, bytes.copyScales)
    }
  }

  public func exportPage(layer: Int, page: Int32, to bytes: UnsafeMutableRawPointer) throws(TamisError) {
    try checkPage(page)
    let size = frameBytes
    let frame = Int(frameOf[Int(page)])
    guard frame >= 0, let memory = layers[layer], frame < memory.frames else {
      // A layer that is behind the others: its part of the page is still empty.
      bytes.initializeMemory(as: UInt8.self, repeating: 0, count: layout.layerPageBytes)
      return
    }
    try memory.keys.read(bytes, bytes: size.rows, at: frame * size.rows)
    try memory.values.read(bytes + size.rows, bytes: size.rows, at: frame * size.rows)
    if size.scales > 0 {
      try memory.keyScales.read(bytes + 2 * size.rows, bytes: size.scales, at: frame * size.scales)
      try memory.valueScales.read(bytes + 2 * size.rows + size.scales, bytes: size.scales, at: frame * size.scales)
    }
  }

  public func importPage(layer: Int, page: Int32, from bytes: UnsafeRawPointer) throws(TamisError) {
    let frame = try frame(for: page, layer: layer)
    let memory = try self.layer(layer)
    let size = frameBytes
    try memory.keys.write(bytes, bytes: size.rows, at: frame * size.rows)
    try memory.values.write(bytes + size.rows, bytes: size.rows, at: frame * size.rows)
    if size.scales > 0 {
      try memory.keyScales.write(bytes + 2 * size.rows, bytes: size.scales, at: frame * size.scales)
      try memory.valueScales.write(bytes + 2 * size.rows + size.scales, bytes: size.scales, at: frame * size.scales)
    }
    try mirror(memory, frame: frame, slot: 0, count: layout.pageTokens)
  }
}
