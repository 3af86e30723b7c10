import TamisCore
import TamisDevice

/// Native mode of the compressor: one call, from texts to spans (include/tamis/compression.h).
struct NativeCompression {
  let scorer: any KeepScorer
  let tokenizer: any PieceTokenizer
  /// nil: tokens are the encoder's, as they stood in the text.
  let counter: (any PieceTokenizer)?
  let options: CompressionOptions
  let chunkTokens: Int
  let batchChunks: Int

  private var words: [CompressionWord] = []
  /// Words of each text.
  private var ranges: [Range<Int>] = []
  private var originTokens: [Int] = []
  private var json: [JSONMembers?] = []
  /// Bytes of each text that stay as they are.
  private var protected: [[Range<Int>]] = []
  private var speakers: [SpeakerLabels] = []

  /// Bytes of a text that are tokenised at a time.
  private static let windowBytes = 1 << 16

  init(
    scorer: any KeepScorer, tokenizer: any PieceTokenizer, counter: (any PieceTokenizer)?, options: CompressionOptions,
    chunkTokens: Int, batchChunks: Int
  ) {
    self.scorer = scorer
    self.tokenizer = tokenizer
    self.counter = counter
    self.options = options
    self.chunkTokens = chunkTokens
    self.batchChunks = batchChunks
  }

  mutating func run(_ texts: [UnsafeBufferPointer<UInt8>], progress: Progress?) throws(TamisError) -> Compression {
    let started = monotonicSeconds()
    let scores = needsScores(texts.count)
    var queue = ChunkQueue(
      scorer: scorer, template: tokenizer.template, chunkTokens: chunkTokens, batchChunks: batchChunks,
      rule: options.tokenToWord)
    let total = Double(max(1, texts.reduce(0) { $0 + $1.count }))
    let report: (Double) -> Bool = { bytes in progress?(min(1, bytes / total)) ?? true }
    for text in texts {
      try read(text, into: &queue, scores, report)
      queue.base += text.count
    }
    try queue.finish(&words, report)
    finishProbabilities(scored: scores)
    for (i, text) in texts.enumerated() { force(text, i) }
    if options.protect.contains(.speakers) {
      for (i, text) in texts.enumerated() where json[i] == nil { speakers.append(SpeakerLabels(text, &words, ranges[i])) }
    }

    var result = Compression()
    result.encoderTokens = queue.encoderTokens
    result.chunks = queue.chunks
    result.encoderSeconds = queue.encoderSeconds
    result.contexts = ranges.indices.map { i in
      var context = CompressedContext()
      context.originTokens = originTokens[i]
      context.score = scores ? meanProbability(ranges[i]) : .nan
      return context
    }
    if options.useContextLevelFilter, texts.count > 1 { filterContexts(&result) }
    try select(texts, &result)
    result.seconds = monotonicSeconds() - started
    return result
  }

  private func needsScores(_ texts: Int) -> Bool {
    if options.useContextLevelFilter, texts > 1 { return true }
    guard options.useTokenLevelFilter else { return false }
    return options.threshold != nil || options.targetTokens != nil || options.rate < 1
  }

  // MARK: score

  private mutating func read(
    _ text: UnsafeBufferPointer<UInt8>, into queue: inout ChunkQueue, _ scores: Bool, _ report: (Double) -> Bool
  ) throws(TamisError) {
    let first = words.count
    let members = options.protect.contains(.json) ? JSONMembers(text) : nil
    let regions = members == nil ? ProtectedRegions(text, options.protect) : nil
    var builder = WordBuilder(text, whole: members?.leaves ?? regions?.words ?? [])
    let sentences = SentenceEnds(text, options.chunkEndTokens)
    var wordOf: [Int32] = []
    var tokens = 0
    var window = 0
    while window < text.count {
      let end = TextWindow.end(text, from: window, bytes: Self.windowBytes)
      let slice = UnsafeBufferPointer(rebasing: text[window..<end])
      let encoding = try tokenizer.encode(slice, EncodeOptions(addSpecialTokens: false, parseSpecialTokens: false))
      let known = words.count
      builder.build(
        window..<end, starts: encoding.starts, ends: encoding.ends, first: first, words: &words, wordOfToken: &wordOf)
      sentences.mark(&words, max(known, first + 1))
      if words.count > first {
        tokens += try Self.count(slice, window, counter, &words, wordOf)
        if scores { try queue.add(encoding.ids, words: wordOf, &words, report) }
      }
      if !scores, !report(Double(queue.base + end)) { throw TamisError(.cancelled, "progress returned 0") }
      window = end
    }
    if scores { try queue.endText(&words, report) }
    ranges.append(first..<words.count)
    originTokens.append(tokens)
    json.append(members)
    protected.append(regions?.kept ?? [])
  }

  /// Adds the counted tokens of a window to its words. A token belongs to the word its last byte lies in; white space to the
  /// word after it.
  private static func count(
    _ slice: UnsafeBufferPointer<UInt8>, _ base: Int, _ counter: (any PieceTokenizer)?, _ words: inout [CompressionWord],
    _ wordOf: [Int32]
  ) throws(TamisError) -> Int {
    guard let counter else {
      for word in wordOf { words[Int(word)].tokens &+= 1 }
      return wordOf.count
    }
    let encoding = try counter.encode(slice, EncodeOptions(addSpecialTokens: false, parseSpecialTokens: false))
    var word = wordOf.first.map { Int($0) } ?? words.count - 1
    for end in encoding.ends {
      let last = Int64(base + Int(end) - 1)
      while word + 1 < words.count, words[word].end <= last { word += 1 }
      words[word].tokens &+= 1
    }
    return encoding.ids.count
  }

  private mutating func finishProbabilities(scored: Bool) {
    for i in words.indices {
      if !scored {
        words[i].probability = .nan
      } else if options.tokenToWord == .mean, words[i].pieces > 1 {
        words[i].probability /= Float(words[i].pieces)
      }
    }
  }

  private func meanProbability(_ range: Range<Int>) -> Double {
    if range.isEmpty { return .nan }
    return range.reduce(0.0) { $0 + Double(words[$1].probability) } / Double(range.count)
  }

  // MARK: forced

  private mutating func force(_ text: UnsafeBufferPointer<UInt8>, _ i: Int) {
    let forced = ForcedWords(text)
    if !options.forceTokens.isEmpty { forced.mark(tokens: options.forceTokens.map { Array($0.utf8) }, &words, ranges[i]) }
    if options.forceReserveDigit { forced.markDigits(&words, ranges[i]) }
    if let members = json[i] {
      // brackets and commas follow their members; what they weigh is found by counting
      var cursor = RangeCursor(members.leaves)
      for w in ranges[i] where cursor.overlapping(Int(words[w].start), Int(words[w].end)) == nil {
        words[w].flags.insert(.forced)
      }
    } else {
      forced.mark(regions: protected[i], &words, ranges[i])
    }
  }

  /// A forced line break is no word: it is a wish about white space. Code blocks and tables need theirs.
  private var lineBreaks: LineBreaks {
    let forced = options.forceTokens.contains { $0.utf8.allSatisfy { $0 <= 0x20 } && $0.utf8.contains(0x0a) }
    return forced || !options.protect.isDisjoint(with: [.code, .tables]) ? .keep : options.lineBreaks
  }

  // MARK: spend

  private func filterContexts(_ result: inout Compression) {
    let tokens = originTokens.reduce(0, +)
    var rate = options.contextLevelRate
    var budget = options.contextLevelTargetTokens
    var count = options.targetContexts
    if count == nil, budget == nil, rate >= 1 {
      // as LLMLingua-2 does when nothing was asked for: half of the cut, or twice the target
      if let target = options.targetTokens {
        budget = options.useTokenLevelFilter ? target.multipliedReportingOverflow(by: 2).partialValue : target
        if target > Int.max / 2 { budget = nil }
      } else {
        rate = options.useTokenLevelFilter ? (options.rate + 1) / 2 : options.rate
      }
    }
    if count == nil, rate < 1 { count = Int((rate * Double(ranges.count)).rounded(.up)) }
    let kept = ContextSelection.keep(
      scores: result.contexts.map(\.score), tokens: originTokens, count: count, budget: budget.map { min($0, tokens) },
      forced: options.forceContexts)
    for i in kept.indices { result.contexts[i].kept = kept[i] }
  }

  private mutating func select(_ texts: [UnsafeBufferPointer<UInt8>], _ result: inout Compression) throws(TamisError) {
    let open = result.contexts.indices.filter { result.contexts[$0].kept }
    for i in result.contexts.indices where !result.contexts[i].kept {
      for w in ranges[i] { words[w].flags.remove(.kept) }
    }
    let total = originTokens.reduce(0, +)
    let target = options.targetTokens.map { min($0, total) } ?? Int((options.rate * Double(total)).rounded())
    let available = open.reduce(0) { $0 + originTokens[$1] }
    if !options.useTokenLevelFilter || (options.threshold == nil && target >= available) {
      for i in open { for w in ranges[i] { words[w].flags.insert(.kept) } }
      try write(texts, open, &result)
    } else if let threshold = options.threshold {
      for i in open {
        BudgetSelection.keep(&words, ranges[i], above: threshold)
        label()
        if options.dropConsecutive { dropRepeats(texts[i], ranges[i]) }
      }
      try write(texts, open, &result)
    } else {
      try spend(target, available, texts, open, &result)
    }
    publish(&result)
  }

  /// Selects by budget, measures, and corrects the budget: cutting changes how what is left is counted.
  private mutating func spend(
    _ target: Int, _ available: Int, _ texts: [UnsafeBufferPointer<UInt8>], _ open: [Int], _ result: inout Compression
  ) throws(TamisError) {
    let groups = BudgetGroups(options.scope, words, open.map { ranges[$0] })
    func keep(_ budget: Int) throws(TamisError) {
      groups.keep(&words, budget: budget)
      label()
      if options.dropConsecutive { for i in open { dropRepeats(texts[i], ranges[i]) } }
      try write(texts, open, &result)
    }
    let labels = speakers.contains { !$0.isEmpty }
    let measures = counter != nil || labels || open.contains { json[$0] != nil } || options.dropConsecutive
    var budget = target
    var best: (budget: Int, tokens: Int)?
    var last = -1
    var (low, high) = (0, available + 1)
    for _ in 0..<(labels ? 16 : measures ? 6 : 1) {
      try keep(budget)
      let tokens = open.reduce(0) { $0 + result.contexts[$1].compressedTokens }
      last = budget
      if isBetter(tokens, than: best?.tokens, target) { best = (budget, tokens) }
      if tokens <= target && target - tokens <= target / 200 { break }
      if tokens <= target { low = max(low, budget) } else { high = min(high, budget) }
      var next = min(max(0, budget + target - tokens), available)
      // a label more or less moves many tokens at once: corrections that jump past what is known are halved
      if labels, next <= low || next >= high { next = (low + high) / 2 }
      if next == budget { break }
      budget = next
    }
    if let best, best.budget != last { try keep(best.budget) }
  }

  private mutating func label() {
    for labels in speakers { labels.apply(&words) }
  }

  /// The most tokens that fit; without any that fit, the fewest.
  private func isBetter(_ tokens: Int, than best: Int?, _ target: Int) -> Bool {
    guard let best else { return true }
    if (tokens <= target) != (best <= target) { return tokens <= target }
    return tokens <= target ? tokens > best : tokens < best
  }

  /// Drops a forced token that would follow the same forced token.
  private mutating func dropRepeats(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
    var previous: Int?
    for i in range where words[i].isKept {
      if let last = previous, words[i].flags.contains(.forceToken), words[last].flags.contains(.forceToken),
        text[Int(words[i].start)..<Int(words[i].end)].elementsEqual(text[Int(words[last].start)..<Int(words[last].end)])
      {
        words[i].flags.remove(.kept)
      } else {
        previous = i
      }
    }
  }

  // MARK: use

  /// Text, spans and counts of the open contexts from the words that are kept.
  private func write(_ texts: [UnsafeBufferPointer<UInt8>], _ open: [Int], _ result: inout Compression) throws(TamisError) {
    for i in open {
      let kept = words[ranges[i]]
      var assembly = SpanAssembly(texts[i], lineBreaks: lineBreaks)
      if let members = json[i] {
        assembly.assemble(spans: members.spans(texts[i], keeps: keeps(members, kept)))
      } else {
        assembly.assemble(kept)
      }
      result.contexts[i].spans = assembly.spans
      result.contexts[i].text = assembly.output
      let isWhole = assembly.output.count == texts[i].count
      if isWhole {
        result.contexts[i].compressedTokens = originTokens[i]
      } else if counter != nil || json[i] != nil {
        result.contexts[i].compressedTokens = try (counter ?? tokenizer).count(assembly.output)
      } else {
        result.contexts[i].compressedTokens = kept.reduce(0) { $0 + ($1.isKept ? Int($1.tokens) : 0) }
      }
    }
  }

  private func keeps(_ members: JSONMembers, _ words: ArraySlice<CompressionWord>) -> [Bool] {
    var word = words.startIndex
    return members.leaves.map { leaf in
      while word < words.endIndex, words[word].end <= Int64(leaf.lowerBound) { word += 1 }
      return word < words.endIndex && words[word].start < Int64(leaf.upperBound) && words[word].isKept
    }
  }

  /// Hands the words over, from the last text to the first.
  private mutating func publish(_ result: inout Compression) {
    for i in ranges.indices.reversed() {
      var list: [CompressionWord] = []
      if i == 0 {
        swap(&list, &words)  // the first text's are what is left: no copy of a long text's words
      } else {
        list = Array(words[ranges[i]])
        words.removeLast(list.count)
      }
      var cursor = RangeCursor(result.contexts[i].spans)
      for w in list.indices {
        list[w].flags.formIntersection(.published)
        if json[i] != nil, result.contexts[i].kept {
          // a bracket is kept when something inside it is
          if cursor.overlapping(Int(list[w].start), Int(list[w].end)) == nil { list[w].flags.remove(.kept) }
        }
        if !result.contexts[i].kept { list[w].flags.remove(.kept) }
      }
      result.contexts[i].words = list
    }
  }
}
