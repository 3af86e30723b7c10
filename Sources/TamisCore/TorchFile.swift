/// A file of `torch.save`: a dictionary of tensors. The zip form of PyTorch 1.6 and later, and the older one of pickles
/// followed by raw storages. Tensors are views of the mapped file where it holds them row-major and aligned; others are copied.
public final class TorchFile: WeightSource {
  /// The pickle of 10000 tensors has about 3 MB. Reading one takes some 30 times its bytes at worst.
  public static let maxPickleBytes = 64 << 20

  private let file: MappedFile
  private let path: String
  private var tensors: [String: PickledTensor] = [:]
  private var storages: [PickledStorage] = []
  /// Bytes of storage i; nil: the file lacks them.
  private var places: [UnsafeRawBufferPointer?] = []
  private var copies: [UnsafeMutableRawPointer] = []

  /// - Throws: `notFound`, `io`; `format` for what is no such file, or names anything but tensors; `unsupported` for a
  ///   big-endian file or compressed entries.
  public init(path: String) throws(TamisError) {
    file = try MappedFile(path: path)
    self.path = path
    if ZipArchive.begins(file.bytes) {
      try readZip()
    } else if file.bytes.starts(with: Self.legacyHead) {
      try readLegacy()
    } else {
      throw TamisError(
        .format, "path: \(path) is no file of torch.save: neither a zip file nor one that begins with its magic number")
    }
  }

  deinit { for copy in copies { copy.deallocate() } }

  private func broken(_ what: String) -> TamisError { TamisError(.format, "path: \(path): \(what)") }

  // MARK: the zip form

  private func readZip() throws(TamisError) {
    let archive = try ZipArchive(file, path: path)
    let pickles = archive.entries.keys.filter { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }
    guard let name = pickles.first, pickles.count == 1 else {
      throw broken("it has \(pickles.count) entries data.pkl; expected one")
    }
    let root = String(name.dropLast("data.pkl".utf8.count))
    if let order = try archive.bytes(root + "byteorder"), !order.elementsEqual("little".utf8) {
      throw TamisError(
        .unsupported, "path: \(path): byteorder is \"\(String(decoding: order.prefix(16), as: UTF8.self))\"; expected little")
    }
    guard let pickle = try archive.bytes(name, checked: true), pickle.count <= Self.maxPickleBytes else {
      throw broken("its data.pkl is too large; expected at most \(Self.maxPickleBytes) bytes")
    }
    var unpickler = Unpickler(pickle, path: path)
    let (value, end) = try unpickler.run(from: 0)
    guard end == pickle.count else { throw broken("bytes are left over after the pickle") }
    try keepTensors(value, unpickler)
    for storage in unpickler.storages {
      guard let key = unpickler.text(storage.key) else { throw broken("the key of a storage is not UTF-8") }
      places.append(try archive.bytes(root + "data/" + key))
    }
    storages = unpickler.storages
  }

  // MARK: the form before PyTorch 1.6

  /// PROTO 2, LONG1 of 10 bytes: 0x1950a86a20f9469cfc6c.
  private static let legacyHead: [UInt8] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
  ]

  /// Pickles of: magic number, version, facts of the machine, the dictionary, the keys of the storages; then each storage in
  /// that order as a count of 8 bytes and its elements.
  private func readLegacy() throws(TamisError) {
    let bytes = file.bytes
    var unpickler = Unpickler(UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.maxPickleBytes)), path: path)
    var at = Self.legacyHead.count
    let version = try unpickler.run(from: at)
    guard case .integer(1001) = version.value else { throw broken("its version is none that is known; expected 1001") }
    let system = try unpickler.run(from: version.end)
    guard case .dictionary(let facts) = system.value else { throw broken("its third pickle is no dictionary") }
    try requireLittleEndian(unpickler.nodes[facts], unpickler)
    let object = try unpickler.run(from: system.end)
    try keepTensors(object.value, unpickler)
    let keys = try unpickler.run(from: object.end)
    guard case .list(let list) = keys.value else { throw broken("its last pickle is no list of storages") }
    storages = unpickler.storages
    var elements: [String: TorchElement] = [:]
    for storage in storages { elements[unpickler.text(storage.key) ?? ""] = storage.element }
    var data: [String: UnsafeRawBufferPointer] = [:]
    at = keys.end
    for key in unpickler.nodes[list] {
      guard case .text(let range) = key, let name = unpickler.text(range), let element = elements[name] else {
        throw broken("its list of storages names one that no tensor uses")
      }
      guard let count = LittleEndian(bytes).u64(at), count <= UInt64(bytes.count - at - 8) / UInt64(element.size) else {
        throw broken("storage \(name) passes the end of the file")
      }
      let size = Int(count) * element.size
      data[name] = UnsafeRawBufferPointer(rebasing: bytes[(at + 8)..<(at + 8 + size)])
      at += 8 + size
    }
    places = storages.map { data[unpickler.text($0.key) ?? ""] }
  }

  private func requireLittleEndian(_ facts: [PickleValue], _ unpickler: Unpickler) throws(TamisError) {
    for i in stride(from: 0, to: facts.count, by: 2) {
      if case .text(let name) = facts[i], unpickler.text(name) == "little_endian", case .bool(false) = facts[i + 1] {
        throw TamisError(.unsupported, "path: \(path) is big-endian; expected little")
      }
    }
  }

  // MARK: tensors

  private func keepTensors(_ value: PickleValue, _ unpickler: Unpickler) throws(TamisError) {
    guard case .dictionary(let i) = value else { throw broken("it holds no dictionary of tensors") }
    let pairs = unpickler.nodes[i]
    for k in stride(from: 0, to: pairs.count, by: 2) {
      if case .text(let range) = pairs[k], case .tensor(let t) = pairs[k + 1], let name = unpickler.text(range) {
        tensors[name] = unpickler.tensors[t]
      }
    }
  }

  public func shape(of name: String) -> [Int]? { tensors[name]?.shape }

  public func tensor(_ name: String) throws(TamisError) -> TensorView {
    guard let tensor = tensors[name] else { throw TamisError(.notFound, "name is \"\(name)\"; \(path) has no such tensor") }
    let storage = storages[tensor.storage]
    guard let bytes = places[tensor.storage], bytes.count / storage.element.size >= storage.count else {
      throw broken("the storage of \"\(name)\" is missing or cut off; expected \(storage.count) elements")
    }
    guard let dtype = storage.element.readAs else {
      throw TamisError(
        .unsupported, "\"\(name)\" is a \(storage.element.rawValue); expected float, half, bfloat16, double, int or char")
    }
    guard tensor.shape.count <= TensorView.maxDims else {
      throw TamisError(.unsupported, "\"\(name)\" has \(tensor.shape.count) dimensions; expected at most \(TensorView.maxDims)")
    }
    let size = storage.element.size
    if tensor.elements > 0, storage.element != .double, tensor.isPacked, let base = bytes.baseAddress,
      Int(bitPattern: base + tensor.offset * size) % size == 0
    {
      return TensorView(UnsafeMutableRawPointer(mutating: base + tensor.offset * size), dtype, shape: tensor.shape)
    }
    return TensorView(copy(tensor, storage.element, bytes, dtype), dtype, shape: tensor.shape)
  }

  /// The elements in row-major order, doubles rounded to f32.
  private func copy(
    _ tensor: PickledTensor, _ element: TorchElement, _ bytes: UnsafeRawBufferPointer, _ dtype: DType
  ) -> UnsafeMutableRawPointer {
    let count = tensor.elements
    let to = UnsafeMutableRawPointer.allocate(byteCount: max(count * dtype.size, 1), alignment: 64)
    copies.append(to)
    guard count > 0, let base = bytes.baseAddress else { return to }
    var index = [Int](repeating: 0, count: tensor.shape.count)
    var from = tensor.offset
    for i in 0..<count {
      let source = base + from * element.size
      if element == .double {
        to.storeBytes(of: Float(source.loadUnaligned(as: Double.self)), toByteOffset: i * 4, as: Float.self)
      } else {
        (to + i * element.size).copyMemory(from: source, byteCount: element.size)
      }
      var d = tensor.shape.count - 1
      while d >= 0 {
        index[d] += 1
        from += tensor.stride[d]
        if index[d] < tensor.shape[d] { break }
        from -= index[d] * tensor.stride[d]
        index[d] = 0
        d -= 1
      }
    }
    return to
  }
}

extension TorchElement {
  fileprivate var readAs: DType? {
    switch self {
    case .float, .double: .f32
    case .half: .f16
    case .bfloat16: .bf16
    case .char: .i8
    case .int: .i32
    case .long, .short, .byte, .bool: nil
    }
  }
}
