import TamisCore

/// Which of llmlingua's two sets of rules a tokenizer falls under: WordPiece ("##" continues a word) or SentencePiece ("▁"
/// begins one).
public enum PieceFamily: Sendable {
  case wordPiece
  case sentencePiece

  static let bar: [UInt8] = [0xe2, 0x96, 0x81]  // ▁

  /// Strings that are skipped wherever they stand. BERT's [PAD] is not among them: the package loses it while loading.
  var specials: Set<[UInt8]> {
    switch self {
    case .wordPiece: ["[UNK]", "[SEP]", "[CLS]", "[MASK]"].utf8Set
    case .sentencePiece: ["<s>", "</s>", "<unk>", "<pad>", "<mask>"].utf8Set
    }
  }

  /// The piece without what marks its place in a word: all leading "#", or all leading "▁".
  func pure(_ piece: [UInt8]) -> [UInt8] {
    switch self {
    case .wordPiece: return Array(piece.drop { $0 == 0x23 })
    case .sentencePiece: return Self.withoutBars(piece)
    }
  }

  static func withoutBars(_ piece: [UInt8]) -> [UInt8] {
    var start = 0
    while piece[start...].starts(with: bar) { start += bar.count }
    return Array(piece[start...])
  }

  /// Whether the piece begins a word, given the strings that always do.
  func begins(_ piece: [UInt8], _ forced: Set<[UInt8]>) -> Bool {
    switch self {
    case .wordPiece:
      return forced.contains(pure(piece)) || !(piece.starts(with: [0x23, 0x23]))
    case .sentencePiece:
      return Self.isInPunctuation(piece) || forced.contains(piece) || piece.starts(with: Self.bar)
    }
  }

  /// Python's `piece in string.punctuation`: a run of neighbours of that string.
  static func isInPunctuation(_ piece: [UInt8]) -> Bool {
    if piece.isEmpty { return true }
    guard let start = punctuation.firstIndex(of: piece[0]) else { return false }
    return punctuation[start...].starts(with: piece)
  }

  private static let punctuation = Array("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".utf8)
}

extension [String] {
  var utf8Set: Set<[UInt8]> { Set(map { [UInt8]($0.utf8) }) }
}

/// Bytes as Python's str methods see them.
extension [UInt8] {
  /// str.replace: every occurrence, from left to right. `old` is not empty.
  func replacing(_ old: [UInt8], with new: [UInt8]) -> [UInt8] {
    guard count >= old.count, contains(old[0]) else { return self }
    var result: [UInt8] = []
    result.reserveCapacity(count)
    var i = 0
    while i < count {
      if self[i] == old[0], i + old.count <= count, self[i..<i + old.count].elementsEqual(old) {
        result += new
        i += old.count
      } else {
        result.append(self[i])
        i += 1
      }
    }
    return result
  }

  /// re.search(r"\d")
  var hasDecimalDigit: Bool {
    withUnsafeBufferPointer { ScalarReader(bytes: $0).hasDigit(0, $0.count) }
  }

  /// re.findall of llmlingua's words: runs of \w, and single characters of a list.
  var regexWords: [[UInt8]] {
    withUnsafeBufferPointer { bytes in
      let reader = ScalarReader(bytes: bytes)
      var words: [[UInt8]] = []
      var i = 0
      while i < bytes.count {
        let start = i
        while i < bytes.count {
          let next = reader.scalar(at: i)
          if !Self.isWordScalar(next.code) { break }
          i += next.length
        }
        if i > start {
          words.append(Array(bytes[start..<i]))
        } else {
          let next = reader.scalar(at: i)
          if next.length == 1, Self.listed.contains(bytes[i]) { words.append([bytes[i]]) }
          i += next.length
        }
      }
      return words
    }
  }

  private static let listed = Set("<>=/!@#$%^&*()?\":{}|\\`~;_+-".utf8)

  /// \w of Python's re: letters, numbers and the underscore; no marks.
  private static func isWordScalar(_ code: UInt32) -> Bool {
    if code < 0x80 {
      return (0x30...0x39).contains(code) || (0x61...0x7a).contains(code | 0x20) || code == 0x5f
    }
    return UnicodeData.isLetter(code) || UnicodeData.isNumber(code)
  }
}
