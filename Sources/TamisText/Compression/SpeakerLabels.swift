/// The speakers' labels of a transcript, whose lines are `Name: words`, and the rule that people who shorten one follow: a label
/// stays where words of its turn stay and the last turn that kept any was someone else's (99 % of the turns of the passages the
/// shipped compressor learned from; Models/compressor-en/turns.py).
struct SpeakerLabels {
  /// Words of a turn: first those of the label, then what was said, up to the next label.
  private struct Turn {
    var speaker: Int
    var label: Range<Int>
    var end: Int
  }

  private var turns: [Turn] = []
  var isEmpty: Bool { turns.isEmpty }

  /// Longest label, in characters and in parts between spaces.
  private static let (characters, parts) = (32, 4)

  /// Marks the labels of `words[range]` when three quarters of the text's lines that are not blank have one, and there are two.
  init(_ text: UnsafeBufferPointer<UInt8>, _ words: inout [CompressionWord], _ range: Range<Int>) {
    var labels: [Range<Int>] = []
    var lines = 0
    var start = 0
    while start < text.count {
      var end = start
      while end < text.count, text[end] != 0x0a { end += 1 }
      if text[start..<end].contains(where: { $0 > 0x20 }) {
        lines += 1
        if let colon = Self.colon(text, start, end) { labels.append(start..<colon + 1) }
      }
      start = end + 1
    }
    guard labels.count >= 2, labels.count * 4 >= lines * 3 else { return }
    for i in range where text[Int(words[i].start)..<Int(words[i].end)].contains(where: Self.isSpoken) { words[i].flags.insert(.spoken) }
    var speakers: [[UInt8]: Int] = [:]
    var word = range.lowerBound
    for label in labels {
      while word < range.upperBound, Int(words[word].start) < label.lowerBound { word += 1 }
      let first = word
      while word < range.upperBound, Int(words[word].end) <= label.upperBound { word += 1 }
      if let last = turns.indices.last { turns[last].end = first }
      if first == word { continue }
      for i in first..<word {
        words[i].flags.insert(.label)
        words[i].flags.remove(.spoken)
      }
      let next = speakers.count
      let speaker = speakers[Array(text[label]), default: next]
      speakers[Array(text[label])] = speaker
      turns.append(Turn(speaker: speaker, label: first..<word, end: range.upperBound))
    }
  }

  /// Where the colon of the label at the line start .. end stands.
  private static func colon(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Int? {
    guard text[start] > 0x20, text[start] != 0x3a else { return nil }
    var (count, spaces) = (0, 0)
    for i in start..<end {
      if text[i] == 0x3a {
        return (i + 1 == end || text[i + 1] <= 0x20) && spaces < parts ? i : nil
      }
      if text[i] & 0xc0 != 0x80 { count += 1 }
      if text[i] == 0x20 { spaces += 1 }
      if count > characters { return nil }
    }
    return nil
  }

  /// A letter, a digit or part of a character beyond ASCII: a turn of which nothing but a full stop is left has no speaker.
  private static func isSpoken(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) || byte >= 0x80
  }

  /// Keeps and drops the labels by what else is kept, and drops punctuation of which nothing else is left. Forced words stay.
  func apply(_ words: inout [CompressionWord]) {
    var last = -1
    for turn in turns {
      let isKept = (turn.label.upperBound..<turn.end).contains { words[$0].flags.isSuperset(of: [.kept, .spoken]) }
      for i in turn.label {
        if words[i].isForced || (isKept && turn.speaker != last) {
          words[i].flags.insert(.kept)
        } else {
          words[i].flags.remove(.kept)
        }
      }
      if isKept {
        last = turn.speaker
      } else {
        for i in turn.label.upperBound..<turn.end where !words[i].isForced { words[i].flags.remove(.kept) }
      }
    }
  }
}
