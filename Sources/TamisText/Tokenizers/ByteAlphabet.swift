/// The printable alphabet that byte-level vocabularies are written in: bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for
/// themselves, the other 68 for U+0100..U+0143 in ascending order (GPT-2's encoder).
enum ByteAlphabet {
  /// Scalar of a byte.
  static let scalars: [UInt32] = {
    var next: UInt32 = 0x100
    return (0..<256).map { byte in
      switch byte {
      case 0x21...0x7e, 0xa1...0xac, 0xae...0xff: return UInt32(byte)
      default:
        next += 1
        return next - 1
      }
    }
  }()

  /// Byte of a scalar below U+0144; 256: none.
  static let bytes: [UInt16] = {
    var table = [UInt16](repeating: 256, count: 0x144)
    for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = UInt16(byte) }
    return table
  }()

  /// Ids of the pieces of all bytes; -1: none.
  static func ids(in vocabulary: Vocabulary) -> [Int32] {
    (0..<256).map { byte in
      var piece: [UInt8] = []
      encode(CollectionOfOne(UInt8(byte)), into: &piece)
      return vocabulary.id(piece) ?? -1
    }
  }

  /// The bytes that a piece in the printable alphabet stands for; nil when it holds another character.
  static func decode(_ piece: UnsafeBufferPointer<UInt8>, into out: inout [UInt8]) -> Bool {
    let first = out.count
    var i = 0
    while i < piece.count {
      var scalar = UInt32(piece[i])
      i += 1
      if scalar >= 0x80 {
        guard scalar >> 5 == 0b110, i < piece.count else {
          out.removeSubrange(first...)
          return false
        }
        scalar = (scalar & 0x1f) << 6 | UInt32(piece[i] & 0x3f)
        i += 1
      }
      guard scalar < 0x144, bytes[Int(scalar)] < 256 else {
        out.removeSubrange(first...)
        return false
      }
      out.append(UInt8(bytes[Int(scalar)]))
    }
    return true
  }

  static func encode(_ raw: some Sequence<UInt8>, into out: inout [UInt8]) {
    for byte in raw {
      let scalar = scalars[Int(byte)]
      if scalar < 0x80 {
        out.append(UInt8(scalar))
      } else {
        out.append(0xc0 | UInt8(scalar >> 6))
        out.append(0x80 | UInt8(scalar & 0x3f))
      }
    }
  }
}
