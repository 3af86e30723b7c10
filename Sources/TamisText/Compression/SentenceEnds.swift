/// Where a chunk had better end: after the tokens the caller names, or after the marks that end sentences and after line
/// breaks.
struct SentenceEnds {
  private let text: UnsafeBufferPointer<UInt8>
  private let tokens: [[UInt8]]?

  init(_ text: UnsafeBufferPointer<UInt8>, _ tokens: [String]?) {
    self.text = text
    self.tokens = tokens?.map { Array($0.utf8) }
  }

  /// Marks the words from index `from` on that open a sentence; each has one before it.
  func mark(_ words: inout [CompressionWord], _ from: Int) {
    guard from < words.count else { return }
    for i in from..<words.count {
      let last = Int(words[i - 1].start)..<Int(words[i - 1].end)
      let gap = last.upperBound..<max(last.upperBound, Int(words[i].start))
      if ends(last, gap) { words[i].flags.insert(.opensSentence) }
    }
  }

  private func ends(_ word: Range<Int>, _ gap: Range<Int>) -> Bool {
    guard let tokens else {
      return text[gap].contains(0x0a) || isSentenceMark(word)
    }
    return tokens.contains { token in
      (word.count == token.count && text[word].elementsEqual(token)) || (gap.count >= token.count && contains(gap, token))
    }
  }

  private func isSentenceMark(_ word: Range<Int>) -> Bool {
    switch text[word.upperBound - 1] {
    case 0x2e, 0x21, 0x3f: return true  // . ! ?
    case 0x82, 0x81, 0x9f:  // 。 ！ ？
      guard word.count >= 3 else { return false }
      let tail = (text[word.upperBound - 3], text[word.upperBound - 2], text[word.upperBound - 1])
      return tail == (0xe3, 0x80, 0x82) || tail == (0xef, 0xbc, 0x81) || tail == (0xef, 0xbc, 0x9f)
    default: return false
    }
  }

  private func contains(_ gap: Range<Int>, _ token: [UInt8]) -> Bool {
    guard !token.isEmpty else { return false }
    return (gap.lowerBound...(gap.upperBound - token.count)).contains { text[$0..<$0 + token.count].elementsEqual(token) }
  }
}
