/// A safetensors file (github.com/huggingface/safetensors), memory-mapped: 8 bytes of header length, a JSON header, the data.
/// The whole header is checked when the file is opened, so that every view got from it lies inside the file and on no other
/// tensor.
public final class SafeTensors: Sendable {
  public static let maxHeaderBytes = 100_000_000

  private struct Entry {
    var name: String
    var dtype: String
    var shape: [Int]
    var begin: Int
    var end: Int
  }

  private let file: MappedFile
  private let path: String
  /// In the order of their data.
  private let entries: [Entry]
  private let places: [String: Int]
  private let dataStart: Int
  /// The text pairs of `__metadata__`.
  public let metadata: [String: String]

  /// - Throws: `notFound`, `io`; `format` for a file that is truncated, no safetensors, or whose header lies.
  public init(path: String) throws(TamisError) {
    let file = try MappedFile(path: path)
    func broken(_ what: String) -> TamisError { TamisError(.format, "path: \(path) is no valid safetensors file: \(what)") }
    let bytes = file.bytes
    guard bytes.count >= 8 else { throw broken("it has \(bytes.count) bytes") }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length <= UInt64(Self.maxHeaderBytes) else { throw broken("its header would have \(length) bytes") }
    guard Int(length) <= bytes.count - 8 else { throw broken("it ends inside its header") }
    let start = 8 + Int(length)
    guard length > 0, bytes[8] == UInt8(ascii: "{") else { throw broken("its header does not begin with {") }
    let header: JSON
    do throws(TamisError) { header = try JSON(UnsafeRawBufferPointer(rebasing: bytes[8..<start]), maxDepth: 8) } catch {
      throw broken(error.message)
    }
    guard let members = header.object else { throw broken("its header is no object") }
    var metadata: [String: String] = [:]
    var entries: [Entry] = []
    for member in members {
      if member.name == "__metadata__" {
        guard let pairs = member.value.object else { throw broken("__metadata__ is no object") }
        for pair in pairs {
          guard let text = pair.value.string else { throw broken("__metadata__.\(pair.name) is no text") }
          metadata[pair.name] = text
        }
      } else {
        entries.append(try Self.entry(member, size: bytes.count - start, broken))
      }
    }
    entries.sort { ($0.begin, $0.end, $0.name) < ($1.begin, $1.end, $1.name) }
    var end = 0
    for entry in entries {
      guard entry.begin == end else {
        throw broken("\(entry.name) begins at byte \(entry.begin) of the data; expected \(end), the end of the tensor before")
      }
      end = entry.end
    }
    guard end == bytes.count - start else { throw broken("its tensors end at byte \(end) of \(bytes.count - start) of data") }
    self.file = file
    self.path = path
    self.entries = entries
    self.metadata = metadata
    dataStart = start
    places = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.name, $0) })
  }

  private static func entry(
    _ member: JSON.Member, size: Int, _ broken: (String) -> TamisError
  ) throws(TamisError) -> Entry {
    let name = member.name
    guard let dtype = member.value["dtype"]?.string, let bits = bits[dtype] else {
      throw broken("\(name) has no dtype that is known (\(member.value["dtype"]?.string ?? "none"))")
    }
    guard let dims = member.value["shape"]?.array, let offsets = member.value["data_offsets"]?.array, offsets.count == 2 else {
      throw broken("\(name) has no shape or data_offsets")
    }
    guard member.value.object?.count == 3 else { throw broken("\(name) has fields other than dtype, shape and data_offsets") }
    var shape: [Int] = []
    var elements = 1
    for dim in dims {
      guard let n = dim.integer, n >= 0 else { throw broken("\(name) has a shape that is not whole numbers from 0") }
      shape.append(Int(n))
    }
    // Zero anywhere makes the product 0, whatever the others are.
    for n in shape where !shape.contains(0) {
      let (product, overflow) = elements.multipliedReportingOverflow(by: n)
      guard !overflow else { throw broken("\(name) has more elements than can be counted") }
      elements = product
    }
    if shape.contains(0) { elements = 0 }
    let (total, overflow) = elements.multipliedReportingOverflow(by: bits)
    guard !overflow, total % 8 == 0 else { throw broken("\(name) has a shape whose bytes cannot be counted") }
    guard let begin = offsets[0].integer, let end = offsets[1].integer, begin >= 0, begin <= end, end <= Int64(size) else {
      throw broken("\(name) has data_offsets that are not inside its \(size) bytes of data")
    }
    guard Int(end - begin) == total / 8 else {
      throw broken("\(name) takes \(total / 8) bytes by its shape, \(end - begin) by its data_offsets")
    }
    return Entry(name: name, dtype: dtype, shape: shape, begin: Int(begin), end: Int(end))
  }

  /// Bits of an element of every dtype the format names.
  private static let bits: [String: Int] = [
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16,
    "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
  ]

  private static let readable: [String: DType] = ["F32": .f32, "F16": .f16, "BF16": .bf16, "I8": .i8, "I32": .i32]

  /// Names of the tensors in the order of their data.
  public var names: [String] { entries.map(\.name) }
  public var count: Int { entries.count }
  /// Name of tensor i, 0 ..< count.
  public func name(_ i: Int) -> String { entries[i].name }

  /// Shape of a tensor, readable or not; nil where there is none of this name.
  public func shape(of name: String) -> [Int]? { places[name].map { entries[$0].shape } }

  /// A row-major view of a tensor; it holds as long as this does, and must not be written to.
  /// - Throws: `notFound`; `unsupported` for a dtype other than f32, f16, bf16, i8 and i32, more than `TensorView.maxDims`
  ///   dimensions, or data the file does not align to its elements.
  public func tensor(_ name: String) throws(TamisError) -> TensorView {
    guard let place = places[name] else { throw TamisError(.notFound, "name is \"\(name)\"; \(path) has no such tensor") }
    let entry = entries[place]
    guard let dtype = Self.readable[entry.dtype] else {
      throw TamisError(.unsupported, "\"\(name)\" is \(entry.dtype); expected F32, F16, BF16, I8 or I32")
    }
    guard entry.shape.count <= TensorView.maxDims else {
      throw TamisError(
        .unsupported, "\"\(name)\" has \(entry.shape.count) dimensions; expected at most \(TensorView.maxDims)")
    }
    let address = file.bytes.baseAddress! + dataStart + entry.begin
    guard Int(bitPattern: address) % dtype.size == 0 else {
      throw TamisError(.unsupported, "\"\(name)\" does not begin at a multiple of its element size in the file")
    }
    return TensorView(UnsafeMutableRawPointer(mutating: address), dtype, shape: entry.shape)
  }
}
