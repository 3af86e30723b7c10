/// Marks the words that stay whatever their probability: forced tokens, digits, protected regions.
struct ForcedWords {
  private let text: ScalarReader

  init(_ text: UnsafeBufferPointer<UInt8>) { self.text = ScalarReader(bytes: text) }

  /// Every occurrence of a token that stands for itself: at the borders of words, and not a piece of a longer run of letters
  /// and digits.
  func mark(tokens: [[UInt8]], _ words: inout [CompressionWord], _ range: Range<Int>) {
    var byFirst = [[Int]](repeating: [], count: 256)
    let cores = tokens.map(core).filter { !$0.isEmpty }
    if cores.isEmpty || range.isEmpty { return }
    for (i, core) in cores.enumerated() { byFirst[Int(core[0])].append(i) }
    let has = byFirst.map { !$0.isEmpty }
    var word = range.lowerBound
    for start in 0..<text.bytes.count where has[Int(text.bytes[start])] {
      for i in byFirst[Int(text.bytes[start])] where occurs(cores[i], at: start) {
        let end = start + cores[i].count
        while word < range.upperBound, Int(words[word].end) <= start { word += 1 }
        mark(start, end, &words, word..<range.upperBound)
      }
    }
  }

  private func mark(_ start: Int, _ end: Int, _ words: inout [CompressionWord], _ range: Range<Int>) {
    guard let first = range.first, Int(words[first].start) < end else { return }
    var last = first
    while last + 1 < range.upperBound, Int(words[last + 1].start) < end { last += 1 }
    guard Int(words[first].start) == start || Int(words[last].end) == end else { return }
    for i in first...last {
      words[i].flags.insert(.forced)
      if Int(words[i].start) == start, Int(words[i].end) == end { words[i].flags.insert(.forceToken) }
    }
  }

  private func occurs(_ token: [UInt8], at start: Int) -> Bool {
    let end = start + token.count
    guard end <= text.bytes.count else { return false }
    for k in 0..<token.count where text.bytes[start + k] != token[k] { return false }
    if start > 0, text.classAt(start).isWord, text.classBefore(start).isWord { return false }
    if end < text.bytes.count, text.classBefore(end).isWord, text.classAt(end).isWord { return false }
    return true
  }

  /// The token without white space around it: white space is no word.
  private func core(_ token: [UInt8]) -> [UInt8] {
    token.withUnsafeBufferPointer { bytes in
      let reader = ScalarReader(bytes: bytes)
      let start = reader.skippingSpace(from: 0, to: bytes.count)
      return Array(bytes[start..<reader.trimmingSpace(from: start, to: bytes.count)])
    }
  }

  func markDigits(_ words: inout [CompressionWord], _ range: Range<Int>) {
    for i in range where text.hasDigit(Int(words[i].start), Int(words[i].end)) { words[i].flags.insert(.forced) }
  }

  func mark(regions: [Range<Int>], _ words: inout [CompressionWord], _ range: Range<Int>) {
    var cursor = RangeCursor(regions)
    for i in range where cursor.overlapping(Int(words[i].start), Int(words[i].end)) != nil { words[i].flags.insert(.forced) }
  }
}
