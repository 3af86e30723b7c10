/// Byte-level tokens carry the space before a word; their offsets need not (`trim_offsets` of ByteLevel and RobertaProcessing).
final class OffsetTrimming: Sendable {
  private let addsPrefixSpace: Bool
  /// Spaces at the start and end of each piece, up to 254; `isAdded` where they depend on the text.
  private let leading: [UInt8]
  private let trailing: [UInt8]
  private static let isAdded = UInt8.max

  init(_ vocabulary: Vocabulary, added: [AddedToken], ids: Int, addsPrefixSpace: Bool) {
    self.addsPrefixSpace = addsPrefixSpace
    var leading = [UInt8](repeating: 0, count: ids)
    var trailing = leading
    for id in 0..<vocabulary.size {
      _ = vocabulary.withPiece(id) { piece in
        let (first, last) = Self.spaces(piece)
        leading[id] = UInt8(min(first, 254))
        trailing[id] = UInt8(min(last, 254))
      }
    }
    for token in added { leading[Int(token.id)] = Self.isAdded }
    self.leading = leading
    self.trailing = trailing
  }

  /// Characters that are whitespace or the printable form of a space, at the start and at the end. The bytes need not be UTF-8:
  /// they can be those of a text in which U+FFFD, or a token with that character, was found.
  private static func spaces(_ piece: UnsafeBufferPointer<UInt8>) -> (Int, Int) {
    guard let base = piece.baseAddress else { return (0, 0) }
    /// Bytes of the space that starts at `start`; 0: none does.
    func space(_ start: Int) -> Int {
      let (width, valid) = UTF8Input.sequence(base + start, piece.count - start)
      guard valid else { return 0 }
      let scalar = UTF8Text.scalar(base, at: start).value
      return scalar == 0x120 || UnicodeData.isWhitespace(scalar) ? width : 0
    }
    var first = 0
    var at = 0
    while at < piece.count, case let width = space(at), width > 0 {
      at += width
      first += 1
    }
    var last = 0
    at = piece.count
    while at > 0 {
      var start = at - 1
      while start > 0, UTF8Text.isContinuation(piece[start]) { start -= 1 }
      guard start + space(start) == at else { break }
      at = start
      last += 1
    }
    return (first, last)
  }

  /// `text` is what was given; offsets move by its characters.
  func trim(_ tokens: TokenBuffer, in text: UnsafeBufferPointer<UInt8>) {
    leading.withUnsafeBufferPointer { leading in
      trailing.withUnsafeBufferPointer { trailing in
        for i in 0..<tokens.count {
          let id = Int(tokens.ids[i])
          if leading[id] != 0 || trailing[id] != 0 { trim(tokens, i, Int(leading[id]), Int(trailing[id]), in: text) }
        }
      }
    }
  }

  private func trim(_ tokens: TokenBuffer, _ i: Int, _ leading: Int, _ trailing: Int, in text: UnsafeBufferPointer<UInt8>) {
    guard let base = text.baseAddress else { return }
    var start = Int(tokens.starts[i])
    var end = Int(tokens.ends[i])
    var first = leading
    var last = trailing
    if first == Int(Self.isAdded) {
      // An added token's value is the text that it took.
      guard start <= end, end <= text.count else { return }
      (first, last) = Self.spaces(UnsafeBufferPointer(rebasing: text[start..<end]))
    }
    if first == 1, addsPrefixSpace, i == 0 || start == 0 { first = 0 }
    while first > 0, start < end {
      start += UTF8Input.sequence(base + start, text.count - start).width
      first -= 1
    }
    start = min(start, end)
    while last > 0, end > start {
      end -= 1
      while end > start, base[end] & 0xc0 == 0x80 { end -= 1 }
      last -= 1
    }
    tokens.setRange(i, start, end)
  }
}
