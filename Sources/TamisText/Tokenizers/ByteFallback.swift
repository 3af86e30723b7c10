import TamisCore

/// Pieces that spell what no other piece can, a byte each: <0x00> to <0xFF>.
enum ByteFallback {
  /// Ids of the pieces of all bytes; -1: none.
  static func ids(in vocabulary: Vocabulary) -> [Int32] {
    let digits = Array("0123456789ABCDEF".utf8)
    return (0..<256).map { byte in
      vocabulary.id(Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15], UInt8(ascii: ">")]) ?? -1
    }
  }

  /// The byte of such a piece; nil: another piece.
  static func byte(_ piece: [UInt8]) -> UInt8? {
    guard piece.count == 6, piece[0] == UInt8(ascii: "<"), piece[1] == UInt8(ascii: "0"), piece[2] == UInt8(ascii: "x"),
      piece[5] == UInt8(ascii: ">"), let high = hexDigit(piece[3]), let low = hexDigit(piece[4])
    else { return nil }
    return high << 4 | low
  }
}
