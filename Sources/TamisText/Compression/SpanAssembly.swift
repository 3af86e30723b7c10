/// Kept words back to text (native mode): spans of the original, and between two of them a space where letters would grow
/// together.
struct SpanAssembly {
  private let text: ScalarReader
  private let lineBreaks: LineBreaks
  private(set) var spans: [Range<Int>] = []
  private(set) var output: [UInt8] = []
  private var written = 0

  init(_ text: UnsafeBufferPointer<UInt8>, lineBreaks: LineBreaks) {
    self.text = ScalarReader(bytes: text)
    self.lineBreaks = lineBreaks
  }

  /// The spans of the kept words among `words`, which are all the words of the text, and their text.
  mutating func assemble(_ words: ArraySlice<CompressionWord>) {
    guard !words.isEmpty else {
      add(0..<text.bytes.count)
      flush()
      return
    }
    var previous: Int?
    for i in words.indices where words[i].isKept {
      let word = Int(words[i].start)..<Int(words[i].end)
      guard let last = previous else {
        add((i == words.startIndex ? 0 : word.lowerBound)..<word.upperBound)
        previous = i
        continue
      }
      let before = Int(words[i - 1].end)
      if last == i - 1 {
        add(before..<word.upperBound)
      } else {
        addAfterCut(from: Int(words[last].end), gap: before..<word.lowerBound, word)
      }
      previous = i
    }
    if previous == words.endIndex - 1 { add(Int(words[words.endIndex - 1].end)..<text.bytes.count) }
    flush()
  }

  /// Spans that are made elsewhere, ascending and apart.
  mutating func assemble(spans ranges: [Range<Int>]) {
    for range in ranges { add(range) }
    flush()
  }

  private mutating func addAfterCut(from start: Int, gap: Range<Int>, _ word: Range<Int>) {
    if lineBreaks == .keep, let run = strongestBreak(start..<word.lowerBound), breaks(in: run) > breaks(in: gap) {
      add(run)
      add(word)
    } else if !gap.isEmpty {
      add(gap.lowerBound..<word.upperBound)
    } else if closes(word) {
      add(word)
    } else if let run = lastSpace(start..<word.lowerBound) {
      add(run)
      add(word)
    } else {
      let left = text.classBefore(start)
      let right = text.classAt(word.lowerBound)
      if left.isWord && right.isWord {
        flush()
        output.append(0x20)
      }
      add(word)
    }
  }

  /// Punctuation that belongs to what stood before it, not to a word that follows at once.
  private func closes(_ word: Range<Int>) -> Bool {
    guard text.classAt(word.lowerBound) == .punctuation else { return false }
    guard word.upperBound < text.bytes.count else { return true }
    let next = text.classAt(word.upperBound)
    return !next.isWord && !next.isUnspaced
  }

  private mutating func add(_ range: Range<Int>) {
    if range.isEmpty { return }
    if let last = spans.last, last.upperBound == range.lowerBound {
      spans[spans.count - 1] = last.lowerBound..<range.upperBound
    } else {
      flush()
      spans.append(range)
    }
  }

  /// Writes what of the last span is not yet written.
  private mutating func flush() {
    guard let last = spans.last else { return }
    let from = max(last.lowerBound, written)
    if from < last.upperBound {
      output.append(contentsOf: text.bytes[from..<last.upperBound])
      written = last.upperBound
    }
  }

  private func breaks(in range: Range<Int>) -> Int {
    var n = 0
    for i in range where text.bytes[i] == 0x0a { n += 1 }
    return min(n, 2)
  }

  /// The run of white space with the most line breaks (a second one makes an empty line), the last of equals.
  private func strongestBreak(_ range: Range<Int>) -> Range<Int>? {
    var best: Range<Int>?
    var most = 0
    forEachSpace(range) { run in
      let n = breaks(in: run)
      if n > 0 && n >= most {
        most = n
        best = run
      }
    }
    return best
  }

  private func lastSpace(_ range: Range<Int>) -> Range<Int>? {
    var last: Range<Int>?
    forEachSpace(range) { last = $0 }
    return last
  }

  private func forEachSpace(_ range: Range<Int>, _ body: (Range<Int>) -> Void) {
    var i = range.lowerBound
    while i < range.upperBound {
      let next = text.scalar(at: i)
      if ScalarClass(next.code) == .space {
        let end = text.skippingSpace(from: i, to: range.upperBound)
        body(i..<end)
        i = end
      } else {
        i += next.length
      }
    }
  }
}
