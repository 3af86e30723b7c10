// include/tamis/sequence_metrics.h
import CTamis
import Tamis

extension tamis_chrf_options: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, char_order: 6, word_order: 0, eps_smoothing: 0, beta: 2, progress: nil, progress_user: nil)
  }
}

@c @implementation public func tamis_chrf_options_init(_ options: UnsafeMutablePointer<tamis_chrf_options>!) {
  options?.initialize(to: .defaults)
}

/// Room for an output that may be left out.
func optionalRoom<T>(
  _ pointer: UnsafeMutablePointer<T>?, _ count: Int, _ name: StaticString
) throws(TamisError) -> UnsafeMutableBufferPointer<T>? {
  pointer == nil ? nil : try room(pointer, count, name)
}

@c @implementation public func tamis_chrf(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_chrf_options>!, _ hypotheses: UnsafePointer<tamis_token_lists>!,
  _ references: UnsafePointer<tamis_token_lists>!, _ hypothesisWords: UnsafePointer<tamis_token_lists>!,
  _ referenceWords: UnsafePointer<tamis_token_lists>!, _ referenceStarts: UnsafePointer<Int64>!,
  _ scores: UnsafeMutablePointer<Double>!, _ corpus: UnsafeMutablePointer<Double>!,
  _ statistics: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let raw = try read(options, "options")
    var options = ChrF.Options()
    options.characterOrder = try count(raw.char_order, "options->char_order", from: 1)
    options.wordOrder = try count(raw.word_order, "options->word_order")
    options.epsilonSmoothing = try flag(raw.eps_smoothing, "options->eps_smoothing")
    options.beta = raw.beta
    let metric = try ChrF(options)
    let characters = try scoredBatch(hypotheses, references, referenceStarts, 1)
    let words = options.wordOrder == 0 ? nil : try scoredBatch(hypothesisWords, referenceWords, referenceStarts, 1)
    let n = characters.hypotheses.count
    let width = 3 * metric.orders
    let scores = try optionalRoom(scores, n, "scores")
    let corpus = try optionalRoom(corpus, 1, "corpus")
    let statistics = try optionalRoom(statistics, n * width, "statistics")
    let rows = try metric.count(
      characters: characters, words: words, context: context, progress: progress(raw.progress, raw.progress_user))
    if let statistics { fill(statistics, rows) }
    if let corpus { corpus[0] = metric.corpusScore(rows) }
    if let scores {
      rows.withUnsafeBufferPointer { rows in
        for i in 0..<n { scores[i] = metric.score(UnsafeBufferPointer(rebasing: rows[i * width..<(i + 1) * width])) }
      }
    }
  }
}

@c @implementation public func tamis_ter(
  _ handle: OpaquePointer!, _ hypotheses: UnsafePointer<tamis_token_lists>!, _ references: UnsafePointer<tamis_token_lists>!,
  _ referenceStarts: UnsafePointer<Int64>!, _ scores: UnsafeMutablePointer<Double>!, _ corpus: UnsafeMutablePointer<Double>!,
  _ edits: UnsafeMutablePointer<Int64>!, _ lengths: UnsafeMutablePointer<Double>!, _ progress: tamis_progress_fn!,
  _ progressUser: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let batch = try scoredBatch(hypotheses, references, referenceStarts, 1)
    let n = batch.hypotheses.count
    let scores = try optionalRoom(scores, n, "scores")
    let corpus = try optionalRoom(corpus, 1, "corpus")
    let edits = try optionalRoom(edits, n, "edits")
    let lengths = try optionalRoom(lengths, n, "lengths")
    let found = try TranslationEditRate.count(
      batch, context: context, progress: TamisABI.progress(progress, progressUser))
    if let edits { fill(edits, found.edits) }
    if let lengths { fill(lengths, found.lengths) }
    if let scores {
      for i in 0..<n { scores[i] = TranslationEditRate.score(edits: found.edits[i], length: found.lengths[i]) }
    }
    if let corpus {
      corpus[0] = TranslationEditRate.score(edits: found.edits.reduce(0, +), length: found.lengths.reduce(0, +))
    }
  }
}

/// Pairs of lists, one with one.
private func pairs(
  _ a: UnsafePointer<tamis_token_lists>?, _ b: UnsafePointer<tamis_token_lists>?, _ names: (StaticString, StaticString)
) throws(TamisError) -> (TokenLists, TokenLists) {
  let (first, second) = (try tokenLists(a, names.0), try tokenLists(b, names.1))
  try require(
    first.count == second.count,
    "\(names.0) has \(first.count) sequences and \(names.1) \(second.count); expected as many of both")
  return (first, second)
}

private func store(_ score: PrecisionRecall, _ out: UnsafeMutableBufferPointer<Double>, _ i: Int) {
  out[3 * i] = score.precision
  out[3 * i + 1] = score.recall
  out[3 * i + 2] = score.f
}

@c @implementation public func tamis_rouge(
  _ handle: OpaquePointer!, _ n: Int32, _ predictions: UnsafePointer<tamis_token_lists>!,
  _ targets: UnsafePointer<tamis_token_lists>!, _ scores: UnsafeMutablePointer<Double>!, _ progress: tamis_progress_fn!,
  _ progressUser: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    try require((0...TAMIS_BLEU_MAX_N).contains(n), "n is \(n); expected 0 (ROUGE-L) to \(TAMIS_BLEU_MAX_N)")
    let (predictions, targets) = try pairs(predictions, targets, ("predictions", "targets"))
    nonisolated(unsafe) let out = try room(scores, 3 * predictions.count, "scores")
    let tokens = predictions.total + targets.total
    try SegmentRounds.run(
      predictions.count, tokens: tokens, context: context, progress: TamisABI.progress(progress, progressUser)
    ) { range in
      let rouge = ROUGE()
      for i in range {
        store(
          n == 0 ? rouge.longest(predictions[i], targets[i]) : rouge.nGrams(Int(n), predictions, targets, i), out, i)
      }
    }
  }
}

/// [count + 1] ascending indices of all sequences of `lists`.
private func groups(
  _ pointer: UnsafePointer<Int64>?, _ count: Int, _ lists: TokenLists, _ name: StaticString
) throws(TamisError) -> UnsafeBufferPointer<Int64> {
  let starts = try array(pointer, count + 1, name)
  try require(starts[0] == 0, "\(name)[0] is \(starts[0]); expected 0")
  for i in 0..<count {
    try require(
      starts[i + 1] >= starts[i] && starts[i + 1] <= Int64(lists.count),
      "\(name)[\(i + 1)] is \(starts[i + 1]) after \(starts[i]); expected ascending up to \(lists.count)")
  }
  return starts
}

@c @implementation public func tamis_rouge_lsum(
  _ handle: OpaquePointer!, _ predictions: UnsafePointer<tamis_token_lists>!, _ predictionStarts: UnsafePointer<Int64>!,
  _ targets: UnsafePointer<tamis_token_lists>!, _ targetStarts: UnsafePointer<Int64>!, _ count: Int64,
  _ scores: UnsafeMutablePointer<Double>!, _ progress: tamis_progress_fn!, _ progressUser: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let texts = try TamisABI.count(count, "count")
    let predictions = try tokenLists(predictions, "predictions")
    let targets = try tokenLists(targets, "targets")
    nonisolated(unsafe) let predicted = try groups(predictionStarts, texts, predictions, "prediction_starts")
    nonisolated(unsafe) let wanted = try groups(targetStarts, texts, targets, "target_starts")
    nonisolated(unsafe) let out = try room(scores, 3 * texts, "scores")
    try SegmentRounds.run(
      texts, tokens: 16 * (predictions.total + targets.total), context: context,
      progress: TamisABI.progress(progress, progressUser)
    ) { range in
      let rouge = ROUGE()
      for i in range {
        let p = Int(predicted[i])..<Int(predicted[i + 1])
        let t = Int(wanted[i])..<Int(wanted[i + 1])
        store(rouge.summary(predictions, p, targets, t), out, i)
      }
    }
  }
}

@c @implementation public func tamis_meteor(
  _ handle: OpaquePointer!, _ hypotheses: UnsafePointer<tamis_token_lists>!, _ references: UnsafePointer<tamis_token_lists>!,
  _ referenceStarts: UnsafePointer<Int64>!, _ alpha: Double, _ beta: Double, _ gamma: Double,
  _ scores: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let batch = try scoredBatch(hypotheses, references, referenceStarts, 1)
    try require(alpha > 0 && alpha < 1, "alpha is \(alpha); expected a number between 0 and 1")
    try require(beta.isFinite && beta >= 0, "beta is \(beta); expected a finite number of at least 0")
    try require(gamma >= 0 && gamma <= 1, "gamma is \(gamma); expected 0 to 1")
    nonisolated(unsafe) let out = try room(scores, batch.hypotheses.count, "scores")
    var metric = METEOR()
    (metric.alpha, metric.beta, metric.gamma) = (alpha, beta, gamma)
    let meteor = metric
    try SegmentRounds.run(batch.segments, tokens: batch.total, context: context, progress: nil) { range in
      for i in range {
        out[i] = batch.references(of: i).reduce(0) { max($0, meteor.score(batch.hypotheses[i], batch.references[$1])) }
      }
    }
  }
}

@c @implementation public func tamis_token_f1(
  _ handle: OpaquePointer!, _ hypotheses: UnsafePointer<tamis_token_lists>!, _ references: UnsafePointer<tamis_token_lists>!,
  _ referenceStarts: UnsafePointer<Int64>!, _ exact: UnsafeMutablePointer<Double>!, _ f1: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let batch = try scoredBatch(hypotheses, references, referenceStarts, 1)
    nonisolated(unsafe) let exact = try optionalRoom(exact, batch.hypotheses.count, "exact")
    nonisolated(unsafe) let f1 = try optionalRoom(f1, batch.hypotheses.count, "f1")
    try SegmentRounds.run(batch.segments, tokens: batch.total, context: context, progress: nil) { range in
      for i in range {
        let (hypothesis, references) = (batch.hypotheses[i], batch.references(of: i))
        if let exact {
          exact[i] = references.contains { TokenOverlap.isExact(hypothesis, batch.references[$0]) } ? 1 : 0
        }
        if let f1 { f1[i] = references.reduce(0) { max($0, TokenOverlap.f1(hypothesis, batch.references[$1])) } }
      }
    }
  }
}

private enum EditKind: Int32 { case levenshtein = 0, indel, restrictedDamerau }

@c @implementation public func tamis_edit_distance(
  _ handle: OpaquePointer!, _ kind: tamis_edit_kind, _ references: UnsafePointer<tamis_token_lists>!,
  _ hypotheses: UnsafePointer<tamis_token_lists>!, _ distances: UnsafeMutablePointer<Int64>!,
  _ counts: UnsafeMutablePointer<Int64>!, _ progress: tamis_progress_fn!, _ progressUser: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let kind = try choice(kind, "kind", EditKind.self, "TAMIS_EDIT_LEVENSHTEIN to TAMIS_EDIT_OSA")
    let (references, hypotheses) = try pairs(references, hypotheses, ("references", "hypotheses"))
    nonisolated(unsafe) let out = try room(distances, references.count, "distances")
    nonisolated(unsafe) let counts = try optionalRoom(counts, 4 * references.count, "counts")
    try require(
      counts == nil || kind == .levenshtein,
      "counts is set for kind \(kind.rawValue); expected NULL but for TAMIS_EDIT_LEVENSHTEIN")
    if counts != nil {
      for i in 0..<references.count {
        guard EditDistance.canAlign(references[i].count, hypotheses[i].count) else {
          throw TamisError(
            .unsupported,
            "references[\(i)] has \(references[i].count) tokens for \(hypotheses[i].count); counts take a product up to 2^33")
        }
      }
    }
    try SegmentRounds.run(
      references.count, tokens: 4 * (references.total + hypotheses.total), context: context,
      progress: TamisABI.progress(progress, progressUser)
    ) { range in
      let edit = EditDistance()
      for i in range {
        let (a, b) = (references[i], hypotheses[i])
        if let counts {
          let found = (try? edit.counts(a, b)) ?? (matches: 0, substitutions: 0, deletions: 0, insertions: 0)
          counts[4 * i] = Int64(found.matches)
          counts[4 * i + 1] = Int64(found.substitutions)
          counts[4 * i + 2] = Int64(found.deletions)
          counts[4 * i + 3] = Int64(found.insertions)
          out[i] = counts[4 * i + 1] + counts[4 * i + 2] + counts[4 * i + 3]
          continue
        }
        switch kind {
        case .levenshtein: out[i] = Int64(edit.levenshtein(a, b))
        case .indel: out[i] = Int64(a.count + b.count - 2 * edit.longestCommonSubsequence(a, b))
        case .restrictedDamerau: out[i] = Int64(edit.restrictedDamerau(a, b))
        }
      }
    }
  }
}

@c @implementation public func tamis_edit_alignment(
  _ reference: UnsafePointer<Int32>!, _ referenceLength: Int64, _ hypothesis: UnsafePointer<Int32>!,
  _ hypothesisLength: Int64, _ steps: UnsafeMutablePointer<UInt8>!, _ capacity: Int64, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let a = try array(reference, try TamisABI.count(referenceLength, "reference_length"), "reference")
    let b = try array(hypothesis, try TamisABI.count(hypothesisLength, "hypothesis_length"), "hypothesis")
    let count = try need(count, "count")
    let found = try EditDistance().operations(a, b)
    guard capacity >= Int64(found.count) else {
      count.pointee = Int64(found.count)
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(found.count)")
    }
    let room = try room(steps, found.count, "steps")
    for (i, step) in found.enumerated() { room[i] = step.rawValue }
    count.pointee = Int64(found.count)
  }
}

private func orders(_ maxN: Int32) throws(TamisError) -> Int {
  try require((1...TAMIS_BLEU_MAX_N).contains(maxN), "max_n is \(maxN); expected 1 to \(TAMIS_BLEU_MAX_N)")
  return Int(maxN)
}

@c @implementation public func tamis_distinct_ngrams(
  _ lists: UnsafePointer<tamis_token_lists>!, _ maxN: Int32, _ each: UnsafeMutablePointer<Int64>!,
  _ all: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let lists = try tokenLists(lists, "lists")
    let n = try orders(maxN)
    let each = try optionalRoom(each, lists.count * n * 2, "each")
    let all = try optionalRoom(all, n * 2, "all")
    let found = Diversity.distinct(lists, maxN: n)
    if let each { fill(each, found.each) }
    if let all { fill(all, found.all) }
  }
}

@c @implementation public func tamis_self_bleu(
  _ lists: UnsafePointer<tamis_token_lists>!, _ maxN: Int32, _ scores: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let lists = try tokenLists(lists, "lists")
    let n = try orders(maxN)
    let out = try room(scores, lists.count, "scores")
    fill(out, try Diversity.selfBLEU(lists, maxN: n))
  }
}

@c @implementation public func tamis_repetition(
  _ lists: UnsafePointer<tamis_token_lists>!, _ window: Int64, _ counts: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let lists = try tokenLists(lists, "lists")
    let window = try count(window, "window", from: 1)
    let out = try room(counts, 3 * lists.count, "counts")
    for i in 0..<lists.count {
      out[3 * i] = Int64(Diversity.repeats(lists[i], window: window))
      out[3 * i + 1] = Int64(Diversity.longestRun(lists[i]))
      out[3 * i + 2] = Int64(Diversity.longestRepeat(lists[i]))
    }
  }
}
