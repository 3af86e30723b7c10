// Model folders and their file formats, written by hand.
@testable import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// A folder that goes when the test does.
final class ModelFolderFixture {
  let path: String

  init() {
    var name = Array("\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/tamis-model-XXXXXX".utf8CString)
    path = String(cString: mkdtemp(&name))
  }

  deinit { Self.remove(path) }

  private static func remove(_ path: String) {
    if let folder = opendir(path) {
      while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { remove(path + "/" + name) }
      }
      closedir(folder)
      rmdir(path)
    } else {
      unlink(path)
    }
  }

  func write(_ name: String, _ bytes: [UInt8]) {
    if let slash = name.lastIndex(of: "/") { mkdir(path + "/" + name[..<slash], 0o700) }
    let file = fopen(path + "/" + name, "w")!
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
  }

  func write(_ name: String, _ text: String) { write(name, Array(text.utf8)) }
  func remove(_ name: String) { unlink(path + "/" + name) }
}

/// A tensor of f32 values, with the dtype it is written as.
struct NamedTensor {
  var name: String
  var shape: [Int]
  var values: [Float]
  var type = "F32"

  var bytes: [UInt8] {
    switch type {
    case "F32": values.flatMap { littleBytes($0.bitPattern) }
    case "BF16": values.flatMap { littleBytes(UInt16($0.bitPattern >> 16)) }
    case "I8": values.map { UInt8(bitPattern: Int8($0)) }
    default: []
    }
  }
}

func littleBytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
  (0..<MemoryLayout<T>.size).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
}

func safetensorsFile(_ tensors: [NamedTensor]) -> [UInt8] {
  var data: [UInt8] = []
  var members: [JSON.Member] = []
  for t in tensors {
    let bytes = t.bytes
    members.append(
      JSON.Member(
        name: t.name,
        value: .members([
          "dtype": .string(t.type), "shape": .array(t.shape.map { .integer(Int64($0)) }),
          "data_offsets": .array([.integer(Int64(data.count)), .integer(Int64(data.count + bytes.count))]),
        ])))
    data += bytes
  }
  var header = Array(JSON.object(members).text.utf8)
  while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
  return littleBytes(UInt64(header.count)) + header + data
}

/// A zip file of stored entries. `wide`: sizes and offsets in zip64 fields.
func zipFile(_ entries: [(name: String, bytes: [UInt8])], method: UInt16 = 0, wide: Bool = false, comment: String = "")
  -> [UInt8]
{
  var file: [UInt8] = []
  var directory: [UInt8] = []
  for (name, bytes) in entries {
    let n = Array(name.utf8)
    let crc = bytes.withUnsafeBytes { checksum($0) }
    let size = wide ? UInt32.max : UInt32(bytes.count)
    let extra =
      wide
      ? littleBytes(UInt16(1)) + littleBytes(UInt16(24)) + littleBytes(UInt64(bytes.count)) + littleBytes(UInt64(bytes.count))
        + littleBytes(UInt64(file.count)) : []
    directory +=
      littleBytes(UInt32(0x0201_4b50)) + littleBytes(UInt16(20)) + littleBytes(UInt16(20)) + littleBytes(UInt16(0))
      + littleBytes(method)
    directory +=
      littleBytes(UInt32(0)) + littleBytes(crc) + littleBytes(size) + littleBytes(size) + littleBytes(UInt16(n.count))
      + littleBytes(UInt16(extra.count))
    directory += littleBytes(UInt16(0)) + littleBytes(UInt16(0)) + littleBytes(UInt16(0)) + littleBytes(UInt32(0))
    directory += (wide ? littleBytes(UInt32.max) : littleBytes(UInt32(file.count))) + n + extra
    file +=
      littleBytes(UInt32(0x0403_4b50)) + littleBytes(UInt16(20)) + littleBytes(UInt16(0)) + littleBytes(method)
      + littleBytes(UInt32(0)) + littleBytes(crc)
    file +=
      littleBytes(UInt32(bytes.count)) + littleBytes(UInt32(bytes.count)) + littleBytes(UInt16(n.count))
      + littleBytes(UInt16(0)) + n + bytes
  }
  let start = file.count
  file += directory
  if wide {
    let at = file.count
    file +=
      littleBytes(UInt32(0x0606_4b50)) + littleBytes(UInt64(44)) + littleBytes(UInt16(45)) + littleBytes(UInt16(45))
      + littleBytes(UInt32(0)) + littleBytes(UInt32(0))
    file +=
      littleBytes(UInt64(entries.count)) + littleBytes(UInt64(entries.count)) + littleBytes(UInt64(directory.count))
      + littleBytes(UInt64(start))
    file += littleBytes(UInt32(0x0706_4b50)) + littleBytes(UInt32(0)) + littleBytes(UInt64(at)) + littleBytes(UInt32(1))
  }
  file += littleBytes(UInt32(0x0605_4b50)) + littleBytes(UInt16(0)) + littleBytes(UInt16(0))
  file +=
    (wide
      ? littleBytes(UInt16.max) + littleBytes(UInt16.max)
      : littleBytes(UInt16(entries.count)) + littleBytes(UInt16(entries.count)))
  file +=
    (wide
      ? littleBytes(UInt32.max) + littleBytes(UInt32.max) : littleBytes(UInt32(directory.count)) + littleBytes(UInt32(start)))
  return file + littleBytes(UInt16(comment.utf8.count)) + Array(comment.utf8)
}

/// CRC-32, bit by bit.
private func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
  var crc = UInt32.max
  for byte in bytes {
    crc ^= UInt32(byte)
    for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
  }
  return ~crc
}

/// Opcodes of Python's pickle, protocol 2, one method each.
struct Pickler {
  var bytes: [UInt8] = [0x80, 2]

  mutating func op(_ c: Unicode.Scalar) { bytes.append(UInt8(ascii: c)) }
  mutating func global(_ module: String, _ name: String) { bytes += Array("c\(module)\n\(name)\n".utf8) }
  mutating func text(_ text: String) { bytes += [UInt8(ascii: "X")] + littleBytes(UInt32(text.utf8.count)) + Array(text.utf8) }
  mutating func integer(_ n: Int32) { bytes += [UInt8(ascii: "J")] + littleBytes(n) }
  mutating func integers(_ list: [Int32]) {
    op("(")
    for n in list { integer(n) }
    op("t")
  }

  /// _rebuild_tensor_v2(storage, offset, shape, stride, False, OrderedDict())
  mutating func tensor(
    _ key: String, count: Int, shape: [Int32], stride: [Int32], offset: Int32 = 0, type: String = "FloatStorage"
  ) {
    global("torch._utils", "_rebuild_tensor_v2")
    op("(")
    op("(")
    text("storage")
    global("torch", type)
    text(key)
    text("cpu")
    integer(Int32(count))
    op("t")
    op("Q")
    integer(offset)
    integers(shape)
    integers(stride)
    bytes.append(0x89)
    global("collections", "OrderedDict")
    op(")")
    op("R")
    op("t")
    op("R")
  }

  static func stateDictionary(_ tensors: [NamedTensor]) -> [UInt8] {
    var p = Pickler()
    p.global("collections", "OrderedDict")
    p.op(")")
    p.op("R")
    p.op("(")
    for (i, t) in tensors.enumerated() {
      p.text(t.name)
      var stride = [Int32](repeating: 1, count: t.shape.count)
      for d in stride.indices.dropLast().reversed() { stride[d] = stride[d + 1] * Int32(t.shape[d + 1]) }
      p.tensor("\(i)", count: t.values.count, shape: t.shape.map { Int32($0) }, stride: stride)
    }
    p.op("u")
    p.op(".")
    return p.bytes
  }
}

/// What torch.save writes: name/data.pkl and name/data/i.
func torchZip(_ tensors: [NamedTensor], pickle: [UInt8]? = nil, method: UInt16 = 0, wide: Bool = false, comment: String = "")
  -> [UInt8]
{
  zipFile(
    [("archive/data.pkl", pickle ?? Pickler.stateDictionary(tensors)), ("archive/byteorder", Array("little".utf8))]
      + tensors.enumerated().map { ("archive/data/\($0)", $1.bytes) }, method: method, wide: wide, comment: comment)
}
