/// Groups the encoder's tokens to words of the text (native mode). Every byte that is no white space belongs to a word: what no
/// token covers (characters a tokenizer removes) is a part of the word before it, or of the first.
struct WordBuilder {
  let text: ScalarReader
  private let boundary: WordBoundary
  private let whole: [Range<Int>]
  private var nextWhole = 0
  /// From the last word, or from the text's beginning, up to here is white space.
  private var blank = 0

  /// `whole` ascending, apart: each is one word.
  init(_ text: UnsafeBufferPointer<UInt8>, whole: [Range<Int>]) {
    self.text = ScalarReader(bytes: text)
    boundary = WordBoundary(text: self.text)
    self.whole = whole
  }

  /// Appends the words of the window `range` of the text and, for each token, the index of its word. Words of this text
  /// begin at index `first`; a word that the last window ended in may go on.
  /// `starts` and `ends` count from the window's first byte.
  mutating func build(
    _ range: Range<Int>, starts: [Int32], ends: [Int32], first: Int, words: inout [CompressionWord], wordOfToken: inout [Int32]
  ) {
    wordOfToken.removeAll(keepingCapacity: true)
    wordOfToken.reserveCapacity(starts.count)
    var waiting = 0  // tokens without text of their own: a part of the next word
    for t in 0..<starts.count {
      var start = range.lowerBound + Int(starts[t])
      var end = range.lowerBound + Int(ends[t])
      if start < end {
        start = text.skippingSpace(from: start, to: end)
        end = text.trimmingSpace(from: start, to: end)
      }
      if start >= end {
        waiting += 1
        wordOfToken.append(Int32(words.count))
        continue
      }
      if words.count > first, joins(words[words.count - 1], start, apart: waiting > 0) {
        words[words.count - 1].end = Int64(max(end, Int(words[words.count - 1].end)))
        takeWaiting(&waiting, &words, &wordOfToken)
        words[words.count - 1].pieces += 1
        wordOfToken.append(Int32(words.count - 1))
        continue
      }
      if words.count > first { close(&words[words.count - 1], before: start) }
      // what no token covers at the text's beginning
      let head = words.count == first ? text.skippingSpace(from: blank, to: start) : start
      words.append(CompressionWord(start: head, end: end, pieces: UInt32(1 + waiting)))
      wordOfToken.append(Int32(words.count - 1))
      waiting = 0
    }
    if words.count > first { takeWaiting(&waiting, &words, &wordOfToken) }
    if words.count > first {
      close(&words[words.count - 1], before: range.upperBound)
    } else {
      blank = text.skippingSpace(from: blank, to: range.upperBound)
      guard blank < range.upperBound else { return }
      words.append(
        CompressionWord(start: blank, end: text.trimmingSpace(from: blank, to: range.upperBound), pieces: UInt32(waiting)))
    }
  }

  /// The last `waiting` tokens become a part of the last word.
  private func takeWaiting(_ waiting: inout Int, _ words: inout [CompressionWord], _ wordOfToken: inout [Int32]) {
    guard waiting > 0 else { return }
    for t in wordOfToken.count - waiting..<wordOfToken.count { wordOfToken[t] = Int32(words.count - 1) }
    words[words.count - 1].pieces += UInt32(waiting)
    waiting = 0
  }

  /// The word takes what stands between it and `next` and is no white space at its end.
  private mutating func close(_ word: inout CompressionWord, before next: Int) {
    let start = max(Int(word.end), blank)
    guard start < next else { return }
    let end = text.trimmingSpace(from: start, to: next)
    if end > start { word.end = Int64(end) }
    blank = next
  }

  /// Whether a token that begins at `start` goes on with the last word.
  private mutating func joins(_ word: CompressionWord, _ start: Int, apart: Bool) -> Bool {
    let previousEnd = Int(word.end)
    if start < previousEnd { return !apart }
    while nextWhole < whole.count, whole[nextWhole].upperBound < start { nextWhole += 1 }
    var i = nextWhole
    while i < whole.count, whole[i].lowerBound <= start {
      if start > whole[i].lowerBound && start < whole[i].upperBound { return previousEnd > whole[i].lowerBound }
      if start == whole[i].lowerBound || start == whole[i].upperBound { return false }
      i += 1
    }
    if apart { return false }
    if start > previousEnd, text.hasSpace(previousEnd, start) { return false }
    // a tokenizer may split a character into bytes
    if text.bytes[start] & 0xc0 == 0x80, text.scalar(before: start).code == 0xfffd { return true }
    return boundary.joins(at: start, wordFrom: Int(word.start))
  }
}
