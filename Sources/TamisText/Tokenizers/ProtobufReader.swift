import TamisCore

/// One message of the protocol buffer wire format, field by field. Lengths are checked before anything is read.
struct ProtobufReader {
  let bytes: UnsafeBufferPointer<UInt8>
  private(set) var at = 0

  enum Value {
    case number(UInt64)
    case fixed32(UInt32)
    case bytes(UnsafeBufferPointer<UInt8>)
  }

  init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  private func broken(_ what: String) -> TamisError { TamisError(.format, "SentencePiece model, byte \(at): \(what)") }

  /// The next field and its value; nil at the end. Fields of 64 bits come as numbers.
  mutating func next() throws(TamisError) -> (field: UInt64, value: Value)? {
    guard at < bytes.count else { return nil }
    let key = try varint()
    let field = key >> 3
    guard field > 0 else { throw broken("a field numbered 0") }
    switch key & 7 {
    case 0: return (field, .number(try varint()))
    case 1: return (field, .number(UInt64(try fixed(4)) | UInt64(try fixed(4)) << 32))
    case 2:
      let length = try varint()
      guard length <= UInt64(bytes.count - at) else { throw broken("\(length) bytes where \(bytes.count - at) are left") }
      defer { at += Int(length) }
      return (field, .bytes(UnsafeBufferPointer(rebasing: bytes[at..<at + Int(length)])))
    case 5: return (field, .fixed32(try fixed(4)))
    default: throw broken("wire type \(key & 7)")
    }
  }

  private mutating func varint() throws(TamisError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while shift < 64 {
      guard at < bytes.count else { throw broken("the file ends inside a number") }
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    throw broken("a number of more than 64 bits")
  }

  private mutating func fixed(_ width: Int) throws(TamisError) -> UInt32 {
    guard bytes.count - at >= width else { throw broken("the file ends inside a number") }
    var value: UInt32 = 0
    for i in 0..<width { value |= UInt32(bytes[at + i]) << UInt32(8 * i) }
    at += width
    return value
  }
}
