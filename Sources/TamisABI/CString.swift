import CTamis
import Tamis

/// The buffer rule of core.h: `needed` gets the length, the text is NUL-terminated whenever there is room for one byte, and a
/// short buffer holds the longest prefix of whole characters.
func write(
  _ text: String, to buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) throws(TamisError) {
  try write(bytes: Array(text.utf8), to: buffer, capacity, needed)
}

/// The same for bytes that need not be text: a short buffer holds the longest prefix of whole characters of what is UTF-8.
func write(
  bytes: [UInt8], to buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) throws(TamisError) {
  let needed = try allow(needed, "needed")
  try require(capacity >= 0, "capacity is \(UInt(bitPattern: capacity)); expected at most \(Int.max)")
  try require(buffer != nil || capacity == 0, "buffer is NULL; expected an address for a capacity of \(capacity)")
  needed?.pointee = bytes.count
  if let buffer, capacity > 0 {
    var end = min(bytes.count, capacity - 1)
    if end < bytes.count { while end > 0 && bytes[end] & 0xc0 == 0x80 { end -= 1 } }
    for i in 0..<end { buffer[i] = CChar(bitPattern: bytes[i]) }
    buffer[end] = 0
  }
  guard bytes.count < capacity else {
    throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(bytes.count + 1)")
  }
}

/// A NUL-terminated UTF-8 argument that is not empty.
func string(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(TamisError) -> String {
  guard let pointer else { throw .invalid("\(name) is NULL; expected a NUL-terminated UTF-8 string") }
  guard let text = String(validatingCString: pointer) else {
    throw .invalid("\(name) is not UTF-8; expected a NUL-terminated UTF-8 string")
  }
  try require(!text.isEmpty, "\(name) is \"\"; expected at least one character")
  return text
}
