import TamisCore
import TamisDevice

/// Tokens on their way through the encoder (native mode). Chunks end before a word, if they can at the end of a sentence in
/// their second half; a batch goes to the encoder when it is full, and the probabilities go to the tokens' words.
struct ChunkQueue {
  private let scorer: any KeepScorer
  private let prefix: [Int32]
  private let suffix: [Int32]
  /// Tokens of the text per chunk.
  private let room: Int
  private let batchChunks: Int
  private let rule: WordProbability

  private var ids: [Int32] = []
  private var wordOf: [Int32] = []
  private var head = 0
  private var batch = RaggedTokens()
  private var batchWords: [Int32] = []

  private var lastFirst: Int32 = -1
  /// Bytes of text before the one that is being added.
  var base = 0
  private var doneBytes = 0
  private var batchEnd = 0

  private(set) var encoderTokens = 0
  private(set) var chunks = 0
  private(set) var encoderSeconds = 0.0

  init(
    scorer: any KeepScorer, template: (prefix: [Int32], suffix: [Int32]), chunkTokens: Int, batchChunks: Int,
    rule: WordProbability
  ) {
    self.scorer = scorer
    prefix = template.prefix
    suffix = template.suffix
    room = max(1, chunkTokens - template.prefix.count - template.suffix.count)
    self.batchChunks = max(1, batchChunks)
    self.rule = rule
  }

  /// The tokens of a window, in order; `of` holds the index of each one's word.
  /// `progress` hears of bytes done.
  mutating func add(
    _ ids: [Int32], words of: [Int32], _ words: inout [CompressionWord], _ progress: (Double) -> Bool
  ) throws(TamisError) {
    self.ids += ids
    wordOf += of
    while self.ids.count - head > room { try emit(cut(words), &words, progress) }
    if head > 1 << 15 {
      self.ids.removeFirst(head)
      wordOf.removeFirst(head)
      head = 0
    }
  }

  /// Ends a text: what follows shares no chunk with it.
  mutating func endText(_ words: inout [CompressionWord], _ progress: (Double) -> Bool) throws(TamisError) {
    if ids.count > head { try emit(ids.count - head, &words, progress) }
    ids.removeAll(keepingCapacity: true)
    wordOf.removeAll(keepingCapacity: true)
    head = 0
  }

  /// Runs what is left of the last batch.
  mutating func finish(_ words: inout [CompressionWord], _ progress: (Double) -> Bool) throws(TamisError) {
    if batch.sequences > 0 { try run(&words, progress) }
  }

  /// Tokens of the next chunk; more than `room` tokens wait.
  private func cut(_ words: [CompressionWord]) -> Int {
    var last = 0
    var i = room
    while i >= 1 {
      let at = head + i
      if wordOf[at] != wordOf[at - 1] {
        if last == 0 { last = i }
        if words[Int(wordOf[at])].flags.contains(.opensSentence) { return i }
      }
      i -= 1
      if i < room / 2 && last > 0 { break }
    }
    return last > 0 ? last : room
  }

  private mutating func emit(
    _ count: Int, _ words: inout [CompressionWord], _ progress: (Double) -> Bool
  ) throws(TamisError) {
    let tokens = head..<head + count
    words[Int(wordOf[head])].flags.insert(.opensChunk)
    batch.append(prefix + ids[tokens] + suffix)
    batchWords += [Int32](repeating: -1, count: prefix.count)
    batchWords += wordOf[tokens]
    batchWords += [Int32](repeating: -1, count: suffix.count)
    batchEnd = base + Int(words[Int(wordOf[head + count - 1])].end)
    head += count
    if batch.sequences >= batchChunks { try run(&words, progress) }
  }

  private mutating func run(_ words: inout [CompressionWord], _ progress: (Double) -> Bool) throws(TamisError) {
    let started = monotonicSeconds()
    let from = Double(doneBytes)
    let share = Double(batchEnd - doneBytes)
    let probabilities = try withoutActuallyEscaping(progress) { (progress) throws(TamisError) in
      try scorer.keepProbabilities(batch, progress: { progress(from + share * $0) })
    }
    encoderSeconds += monotonicSeconds() - started
    guard probabilities.count == batchWords.count else {
      throw TamisError(.internalError, "the scorer gave \(probabilities.count) probabilities for \(batchWords.count) tokens")
    }
    for (word, p) in zip(batchWords, probabilities) where word >= 0 {
      let i = Int(word)
      switch rule {
      case .mean: words[i].probability += p
      case .first: if word != lastFirst { words[i].probability = p }
      }
      lastFirst = word
    }
    encoderTokens += batch.ids.count
    chunks += batch.sequences
    batch = RaggedTokens()
    batchWords.removeAll(keepingCapacity: true)
    doneBytes = batchEnd
    guard progress(Double(doneBytes)) else { throw TamisError(.cancelled, "progress returned 0: cancelled") }
  }
}
