import TamisCore
import TamisDevice

/// Compat mode: the pipeline of llmlingua 0.2.2's `compress_prompt_llmlingua2`, step by step and with its quirks. What raises
/// there is `invalidArgument` here.
struct LLMLingua2 {
  let scorer: any KeepScorer
  /// With the placeholders [NEW0] .. added.
  let tokenizer: any PieceTokenizer
  let counter: any PieceTokenizer
  let options: CompressionOptions
  let batchChunks: Int

  private static let maxTokens = 512

  private struct Text {
    var chunks: [[UInt8]] = []
    var scored: [Scored] = []
  }

  private struct Scored {
    var pieces: [[UInt8]]
    var probabilities: [Float]
  }

  private var encoderTokens = 0
  private var chunks = 0
  private var encoderSeconds = 0.0

  init(
    scorer: any KeepScorer, tokenizer: any PieceTokenizer, counter: any PieceTokenizer, options: CompressionOptions,
    batchChunks: Int
  ) {
    self.scorer = scorer
    self.tokenizer = tokenizer
    self.counter = counter
    self.options = options
    self.batchChunks = max(1, batchChunks)
  }

  private var family: PieceFamily { tokenizer.family }

  static func placeholder(_ i: Int) -> String { "[NEW\(i)]" }

  mutating func run(_ texts: [[UInt8]], progress: Progress?) throws(TamisError) -> Compression {
    let started = monotonicSeconds()
    let map = try placeholders()
    var ends = Set((options.chunkEndTokens ?? [".", "\n"]).map { Array($0.utf8) })
    for (text, placeholder) in map where ends.contains(text) { ends.insert(placeholder) }
    let rules = LLMLingua2Words(
      family: family, forceTokens: options.forceTokens.utf8Set, map: map, reserveDigits: options.forceReserveDigit,
      rule: options.tokenToWord)

    var result = Compression()
    var contexts: [Text] = []
    for text in texts {
      var context = CompressedContext()
      context.originTokens = try counter.count(text)
      result.contexts.append(context)
      contexts.append(Text(chunks: try chunked(map.reduce(text) { $0.replacing($1.text, with: $1.placeholder) }, ends)))
    }
    var rate = options.rate
    if options.useContextLevelFilter, texts.count > 1 {
      try score(&contexts, Array(contexts.indices), progress)
      try filter(&contexts, rules, &rate, &result)
    } else if let target = options.targetTokens, target > 0 {
      rate = try Self.share(target, of: result.originTokens, "the texts have no tokens")
    }
    let reduceRate = options.useTokenLevelFilter ? Self.pythonMax0(1 - rate) : 0
    let open = contexts.indices.filter { result.contexts[$0].kept }
    if reduceRate <= 0 {
      for i in open { try write(unmapped(contexts[i].chunks, map), &result.contexts[i]) }
    } else {
      try score(&contexts, open.filter { contexts[$0].scored.count < contexts[$0].chunks.count }, progress)
      for i in open { try compress(contexts[i], rules, reduceRate, &result.contexts[i]) }
    }
    result.encoderTokens = encoderTokens
    result.chunks = chunks
    result.encoderSeconds = encoderSeconds
    result.seconds = monotonicSeconds() - started
    return result
  }

  /// Forced tokens that are not one piece, and what stands for them.
  private func placeholders() throws(TamisError) -> [(text: [UInt8], placeholder: [UInt8])] {
    var map: [(text: [UInt8], placeholder: [UInt8])] = []
    for (i, token) in options.forceTokens.enumerated() {
      let text = Array(token.utf8)
      guard try tokenizer.encode(text, Self.plain).ids.count != 1 else { continue }
      let placeholder = Array(Self.placeholder(i).utf8)
      guard let id = tokenizer.id(ofPiece: placeholder), Int(id) < scorer.vocabularySize else {
        throw .invalid(
          "options->force_tokens[\(i)] is not one piece and the encoder has no row for its placeholder; "
            + "expected an encoder made with added_rows")
      }
      // a dict: the later of equal strings replaces the placeholder and keeps the place
      if let at = map.firstIndex(where: { $0.text == text }) {
        map[at].placeholder = placeholder
      } else {
        map.append((text, placeholder))
      }
    }
    return map
  }

  private static let plain = EncodeOptions(addSpecialTokens: false, parseSpecialTokens: true)

  /// tokenizer.tokenize: pieces as spelt; where the vocabulary has none for a text, that text (SentencePiece) or [UNK]
  /// (WordPiece).
  private func tokenize(_ text: [UInt8]) throws(TamisError) -> [[UInt8]] {
    let encoding = try tokenizer.encode(text, Self.plain)
    let unknown = tokenizer.unknownId
    var pieces: [[UInt8]] = []
    pieces.reserveCapacity(encoding.count)
    for t in 0..<encoding.count {
      if family == .sentencePiece, encoding.ids[t] == unknown {
        let start = Int(encoding.starts[t])
        let end = Int(encoding.ends[t])
        // where the vocabulary has ▁, it stands before the unknown text as a piece of its own
        let opens = start == 0 || text[start - 1] <= 0x20 || (start < text.count && text[start] <= 0x20)
        let begins = pieces.last != PieceFamily.bar && opens
        pieces.append((begins ? PieceFamily.bar : []) + text[start..<end].drop { $0 <= 0x20 })
      } else {
        pieces.append(tokenizer.piece(encoding.ids[t]) ?? [])
      }
    }
    return pieces
  }

  /// Slices of up to 511 pieces that end at one of `ends` where there is one, turned back into text.
  private func chunked(_ text: [UInt8], _ ends: Set<[UInt8]>) throws(TamisError) -> [[UInt8]] {
    let pieces = try tokenize(text)
    let room = Self.maxTokens - 2
    var chunks: [[UInt8]] = []
    var start = 0
    while start < pieces.count {
      var end = start + room
      if end > pieces.count - 1 {
        end = pieces.count - 1
      } else if let last = (start + 1...end).last(where: { ends.contains(pieces[$0]) }) {
        end = last
      }
      chunks.append(tokenizer.decode(pieces: Array(pieces[start...end])))
      start = end + 1
    }
    return chunks
  }

  /// Tokenises each chunk's text again, puts [CLS] and [SEP] around it (unknown pieces to SentencePiece vocabularies), cuts it
  /// at 512, and keeps what the encoder says of every token but the padding.
  private mutating func score(_ contexts: inout [Text], _ which: [Int], _ progress: Progress?) throws(TamisError) {
    let unknown = tokenizer.unknownId ?? 0
    let first = tokenizer.id(ofPiece: Array("[CLS]".utf8)) ?? unknown
    let last = tokenizer.id(ofPiece: Array("[SEP]".utf8)) ?? unknown
    let list = which.flatMap { i in contexts[i].chunks.indices.map { (i, $0) } }
    for i in which { contexts[i].scored.removeAll() }
    var at = 0
    while at < list.count {
      let part = list[at..<min(list.count, at + batchChunks)]
      var batch = RaggedTokens()
      for (i, c) in part {
        let ids = try tokenizer.encode(contexts[i].chunks[c], Self.plain).ids
        batch.append(([first] + ids + [last]).prefix(min(Self.maxTokens, scorer.maxTokens)))
      }
      let done = Double(at)
      let started = monotonicSeconds()
      let probabilities = try scorer.keepProbabilities(batch) { inner in
        progress?((done + inner * Double(part.count)) / Double(list.count)) ?? true
      }
      encoderSeconds += monotonicSeconds() - started
      for (s, (i, _)) in part.enumerated() {
        let tokens = batch.starts[s]..<batch.starts[s + 1]
        contexts[i].scored.append(
          Scored(
            pieces: batch.ids[tokens].map { tokenizer.piece($0) ?? [] }, probabilities: Array(probabilities[tokens])))
      }
      encoderTokens += batch.ids.count
      chunks += part.count
      at += part.count
    }
  }

  // MARK: contexts

  /// The coarse filter: texts whose mean probability reaches a percentile of all. Changes the rate as the package does.
  private func filter(
    _ contexts: inout [Text], _ rules: LLMLingua2Words, _ rate: inout Double, _ result: inout Compression
  ) throws(TamisError) {
    var levelRate = options.contextLevelRate
    var levelTarget = options.contextLevelTargetTokens ?? -1
    let target = options.targetTokens ?? -1
    if (options.targetContexts ?? -1) <= 0, levelRate >= 1, levelTarget <= 0 {
      if target < 0, rate < 1 { levelRate = options.useTokenLevelFilter ? (rate + 1) / 2 : rate }
      if target >= 0 {
        levelTarget = options.useTokenLevelFilter ? (target > Int.max / 2 ? Int.max : target * 2) : target
      }
    }
    if let count = options.targetContexts, count >= 0 { levelRate = min(Double(count) / Double(contexts.count), 1) }
    if levelTarget >= 0 { levelRate = try Self.share(levelTarget, of: result.originTokens, "the texts have no tokens") }

    var means: [Double] = []
    var merged: [LLMLingua2Words.Chunk] = []
    for (i, context) in contexts.enumerated() {
      var all = LLMLingua2Words.Chunk()
      for scored in context.scored {
        let chunk = try rules.merge(scored.pieces, scored.probabilities)
        all.words += chunk.words
        all.plain += chunk.plain
      }
      guard !all.words.isEmpty else {
        throw .invalid("texts[\(i)] has no words the encoder knows, where llmlingua raises ZeroDivisionError")
      }
      means.append(Double(all.plain.reduce(0, +) / Float(all.plain.count)))
      merged.append(all)
    }
    let q = 100 * (1 - levelRate)
    guard let threshold = Quantile.percentile(means, q, single: true) else {
      throw .invalid("options->context_level_rate asks for percentile \(q); expected 0 to 100, as numpy does")
    }
    var reserved = 0
    for i in contexts.indices {
      result.contexts[i].score = means[i]
      result.contexts[i].kept = means[i] >= threshold || options.forceContexts.contains(i)
      if result.contexts[i].kept {
        for chunk in contexts[i].chunks { reserved += try counter.count(chunk) }
      } else {
        let chunk = merged[i]
        append(
          chunk.words.map(label), chunk.plain, keeps: [Bool](repeating: false, count: chunk.words.count),
          weights: [Int](repeating: 0, count: chunk.words.count), &result.contexts[i])
      }
    }
    if target >= 0 { rate = try Self.share(target, of: reserved, "the kept texts have no tokens") }
  }

  // MARK: words

  private func compress(
    _ text: Text, _ rules: LLMLingua2Words, _ reduceRate: Double, _ context: inout CompressedContext
  ) throws(TamisError) {
    for scored in text.scored {
      var chunk = try rules.merge(scored.pieces, scored.probabilities)
      let probabilities = chunk.probabilities.map { Float($0.value) }
      var weights: [Int] = []
      for word in chunk.words { weights.append(try counter.count(word)) }
      let keeps = try rules.keep(&chunk, weights: weights, reduceRate: reduceRate, dropConsecutive: options.dropConsecutive)
      context.text += tokenizer.decode(pieces: zip(chunk.words, keeps).filter(\.1).map(\.0))
      append(chunk.words.map(label), probabilities, keeps: keeps, weights: weights, &context)
      for (k, forced) in chunk.forced.enumerated() where forced {
        context.words[context.words.count - chunk.forced.count + k].flags.insert(.forced)
      }
    }
    context.compressedTokens = try counter.count(context.text)
    if !context.words.isEmpty {
      context.score = context.words.reduce(0) { $0 + Double($1.probability) } / Double(context.words.count)
    }
  }

  /// The spelling that labels have: SentencePiece words without their ▁.
  private func label(_ word: [UInt8]) -> [UInt8] { family == .sentencePiece ? PieceFamily.withoutBars(word) : word }

  private func append(
    _ words: [[UInt8]], _ probabilities: [Float], keeps: [Bool], weights: [Int], _ context: inout CompressedContext
  ) {
    for (k, word) in words.enumerated() {
      let start = context.wordText.count
      context.wordText += word
      context.words.append(
        CompressionWord(
          start: start, end: start + word.count, probability: probabilities[k], tokens: Int32(clamping: weights[k]),
          flags: keeps[k] ? .kept : []))
    }
  }

  /// Nothing to drop: the chunks' texts as they are.
  private func write(_ chunks: [[UInt8]], _ context: inout CompressedContext) throws(TamisError) {
    for chunk in chunks {
      context.text += chunk
      let words = chunk.regexWords
      append(
        words, [Float](repeating: .nan, count: words.count), keeps: [Bool](repeating: true, count: words.count),
        weights: [Int](repeating: 0, count: words.count), &context)
    }
    context.compressedTokens = try counter.count(context.text)
  }

  private func unmapped(_ chunks: [[UInt8]], _ map: [(text: [UInt8], placeholder: [UInt8])]) -> [[UInt8]] {
    chunks.map { chunk in map.reduce(chunk) { $0.replacing($1.placeholder, with: $1.text) } }
  }

  // MARK: Python's arithmetic

  /// min(target / n, 1.0)
  private static func share(_ target: Int, of n: Int, _ none: String) throws(TamisError) -> Double {
    guard n > 0 else { throw .invalid("texts: \(none), where llmlingua raises ZeroDivisionError") }
    return min(Double(target) / Double(n), 1)
  }

  /// max(0, x): 0 for NaN
  private static func pythonMax0(_ x: Double) -> Double { x > 0 ? x : 0 }
}
