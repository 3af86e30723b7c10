// include/tamis/bleu.h
import CTamis
import Tamis

extension tamis_bleu_options: VersionedStruct {
  static var firstSize: Int { 96 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, rule: TAMIS_BLEU_SACREBLEU, smoothing: TAMIS_BLEU_SMOOTH_DEFAULT, max_n: 4, effective_order: 0,
      auto_reweigh: 0, exact: 1, has_pad: 0, pad_id: 0, weight_lists: 0, value: -1, alpha: 5, k: 5, weights: nil,
      weight_counts: nil, progress: nil, progress_user: nil)
  }
}

extension tamis_bleu_report: VersionedStruct {
  static var firstSize: Int { 424 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_bleu_options_init(_ options: UnsafeMutablePointer<tamis_bleu_options>!) {
  options?.initialize(to: .defaults)
}

extension BLEUOptions {
  init(_ raw: tamis_bleu_options) throws(TamisError) {
    self.init()
    rule = try choice(raw.rule, "options->rule", BLEURule.self, "TAMIS_BLEU_SACREBLEU to TAMIS_BLEU_TENSORBLEU")
    if raw.smoothing != TAMIS_BLEU_SMOOTH_DEFAULT {
      smoothing = try choice(
        raw.smoothing, "options->smoothing", BLEUSmoothing.self, "TAMIS_BLEU_SMOOTH_DEFAULT to TAMIS_BLEU_SMOOTH_ADD_K")
    }
    orders = try count(raw.max_n, "options->max_n", from: 1)
    try require(orders <= Int(TAMIS_BLEU_MAX_N), "options->max_n is \(orders); expected 1 to \(TAMIS_BLEU_MAX_N)")
    effectiveOrder = try flag(raw.effective_order, "options->effective_order")
    autoReweigh = try flag(raw.auto_reweigh, "options->auto_reweigh")
    exact = try flag(raw.exact, "options->exact")
    value = raw.value == -1 ? nil : raw.value
    alpha = raw.alpha
    k = raw.k
    let lists = try count(raw.weight_lists, "options->weight_lists")
    let numbers = try array(raw.weights, lists * orders, "options->weights")
    let counts = raw.weight_counts == nil ? nil : try array(raw.weight_counts, lists, "options->weight_counts")
    for i in 0..<lists {
      let used = counts.map { Int($0[i]) } ?? orders
      try require(
        (1...orders).contains(used), "options->weight_counts[\(i)] is \(used); expected 1 to max_n, \(orders)")
      weights.append((0..<used).map { numbers[i * orders + $0] })
    }
    try validate()
  }
}

/// Rows as a caller hands them back: no counts below 0, no more matches than n-grams.
private func counted(
  _ pointer: UnsafePointer<Int64>?, _ count: Int64, _ orders: Int32
) throws(TamisError) -> NGramStatistics {
  let rows = try TamisABI.count(count, "count")
  try require((1...TAMIS_BLEU_MAX_N).contains(orders), "orders is \(orders); expected 1 to \(TAMIS_BLEU_MAX_N)")
  let width = NGramStatistics.width(Int(orders))
  let values = try array(pointer, rows * width, "statistics")
  var sums = [Int64](repeating: 0, count: width)
  for i in 0..<rows {
    for j in 0..<width {
      let value = values[i * width + j]
      try require(
        value >= 0 && value <= 1 << 53 && sums[j] <= (1 << 53) - value,
        "statistics[\(i)][\(j)] is \(value); expected at least 0, and at most 2^53 in the whole column")
      sums[j] += value
    }
    for n in 0..<Int(orders) {
      let (matches, total) = (values[i * width + 2 + n], values[i * width + 2 + Int(orders) + n])
      try require(
        matches <= total, "statistics[\(i)] has \(matches) matches of \(total) \(n + 1)-grams; expected no more than there are")
    }
  }
  return NGramStatistics(orders: Int(orders), rows: Array(values))
}

@c @implementation public func tamis_ngram_statistics(
  _ handle: OpaquePointer!, _ hypotheses: UnsafePointer<tamis_token_lists>!, _ references: UnsafePointer<tamis_token_lists>!,
  _ referenceStarts: UnsafePointer<Int64>!, _ candidates: Int64, _ maxN: Int32, _ rule: tamis_length_rule, _ hasPad: Int32,
  _ padID: Int32, _ statistics: UnsafeMutablePointer<Int64>!, _ progress: tamis_progress_fn!,
  _ progressUser: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let batch = try scoredBatch(hypotheses, references, referenceStarts, candidates)
    let options = try counting(maxN, rule, hasPad, padID)
    let out = try room(statistics, batch.hypotheses.count * NGramStatistics.width(Int(maxN)), "statistics")
    let found = try NGramStatistics.count(
      batch, options, context: context, progress: TamisABI.progress(progress, progressUser))
    fill(out, found.rows)
  }
}

@c @implementation public func tamis_token_batch_create(
  _ handle: OpaquePointer!, _ hypotheses: UnsafePointer<tamis_token_lists>!, _ references: UnsafePointer<tamis_token_lists>!,
  _ referenceStarts: UnsafePointer<Int64>!, _ candidates: Int64, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let out = try need(out, "out")
    let batch = try scoredBatch(hypotheses, references, referenceStarts, candidates)
    out.pointee = Handle.make(try StoredBatch(batch, context: context), .token_batch)
  }
}

@c @implementation public func tamis_token_batch_destroy(_ batch: OpaquePointer!) {
  Handle<StoredBatch>.destroy(batch, .token_batch)
}

@c @implementation public func tamis_token_batch_statistics(
  _ handle: OpaquePointer!, _ maxN: Int32, _ rule: tamis_length_rule, _ hasPad: Int32, _ padID: Int32,
  _ statistics: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let batch = try Handle<StoredBatch>.object(handle, .token_batch, "batch")
    let options = try counting(maxN, rule, hasPad, padID)
    let out = try room(statistics, batch.count * NGramStatistics.width(options.orders), "statistics")
    fill(out, try batch.count(options).rows)
  }
}

private func counting(
  _ maxN: Int32, _ rule: tamis_length_rule, _ hasPad: Int32, _ padID: Int32
) throws(TamisError) -> NGramStatistics.Options {
  var options = NGramStatistics.Options()
  try require((1...TAMIS_BLEU_MAX_N).contains(maxN), "max_n is \(maxN); expected 1 to \(TAMIS_BLEU_MAX_N)")
  options.orders = Int(maxN)
  options.lengthRule = try choice(
    rule, "rule", NGramStatistics.LengthRule.self, "TAMIS_LENGTH_SHORTEST or TAMIS_LENGTH_FIRST")
  if try flag(hasPad, "has_pad") { options.excluded = padID }
  return options
}

@c @implementation public func tamis_bleu_finish(
  _ options: UnsafePointer<tamis_bleu_options>!, _ statistics: UnsafePointer<Int64>!, _ count: Int64, _ orders: Int32,
  _ scores: UnsafeMutablePointer<Double>!, _ corpus: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let bleu = try BLEU(try BLEUOptions(try read(options, "options")))
    let rows = try counted(statistics, count, orders)
    try finish(bleu, rows, rows, scores, corpus)
  }
}

private func finish(
  _ bleu: BLEU, _ sentences: NGramStatistics?, _ corpus: NGramStatistics?, _ scores: UnsafeMutablePointer<Double>?,
  _ total: UnsafeMutablePointer<Double>?
) throws(TamisError) {
  let lists = bleu.options.weightLists
  var found: [Double] = []
  var whole: [Double] = []
  if scores != nil, let sentences {
    _ = try room(scores, sentences.count * lists, "scores")
    found = try bleu.sentences(sentences)
  }
  if total != nil, let corpus {
    _ = try room(total, lists, "corpus")
    whole = try bleu.corpus(corpus)
  }
  if scores != nil { fill(try room(scores, found.count, "scores"), found) }
  if total != nil { fill(try room(total, whole.count, "corpus"), whole) }
}

@c @implementation public func tamis_bleu(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_bleu_options>!, _ hypotheses: UnsafePointer<tamis_token_lists>!,
  _ references: UnsafePointer<tamis_token_lists>!, _ referenceStarts: UnsafePointer<Int64>!, _ candidates: Int64,
  _ scores: UnsafeMutablePointer<Double>!, _ corpus: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let raw = try read(options, "options")
    let bleu = try BLEU(try BLEUOptions(raw))
    let batch = try scoredBatch(hypotheses, references, referenceStarts, candidates)
    let excluded = try flag(raw.has_pad, "options->has_pad") ? raw.pad_id : nil
    let progress = progress(raw.progress, raw.progress_user)
    let isApart = bleu.options.rule == .tensorBLEU
    var sentences: NGramStatistics?
    var whole: NGramStatistics?
    if scores != nil || !isApart {
      sentences = try bleu.count(batch, excluded: excluded, context: context, progress: progress)
    }
    if corpus != nil {
      whole = isApart
        ? try bleu.count(batch, excluded: excluded, asCorpus: true, context: context, progress: progress) : sentences
    }
    try finish(bleu, sentences, whole, scores, corpus)
  }
}

@c @implementation public func tamis_bleu_details(
  _ options: UnsafePointer<tamis_bleu_options>!, _ statistics: UnsafePointer<Int64>!, _ count: Int64, _ orders: Int32,
  _ report: UnsafeMutablePointer<tamis_bleu_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let bleu = try sacreBLEU(options)
    try checkOutput(report, "report")
    let rows = try counted(statistics, count, orders)
    try require(
      rows.orders >= bleu.options.orders, "orders is \(orders); expected at least max_n, \(bleu.options.orders)")
    let score = bleu.details(rows.total)
    var raw = tamis_bleu_report.defaults
    raw.max_n = Int32(bleu.options.orders)
    raw.score = score.score
    raw.brevity_penalty = score.brevityPenalty
    raw.length = score.length
    raw.reference_length = score.referenceLength
    copy(score.precisions, to: &raw.precisions)
    copy(score.matches, to: &raw.matches)
    copy(score.totals, to: &raw.totals)
    write(raw, to: report)
  }
}

private func copy<Field>(_ values: [Double], to field: inout Field) {
  withUnsafeMutableBytes(of: &field) { bytes in values.withUnsafeBytes { bytes.copyMemory(from: $0) } }
}

private func sacreBLEU(_ options: UnsafePointer<tamis_bleu_options>?) throws(TamisError) -> BLEU {
  let bleu = try BLEU(try BLEUOptions(try read(options, "options")))
  try require(
    bleu.options.rule == .sacreBLEU, "options->rule is \(bleu.options.rule.rawValue); expected TAMIS_BLEU_SACREBLEU")
  try require(
    bleu.options.weights.count <= 1, "options->weight_lists is \(bleu.options.weights.count); expected 0 or 1")
  return bleu
}

@c @implementation public func tamis_bleu_resample(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_bleu_options>!, _ statistics: UnsafePointer<Int64>!,
  _ count: Int64, _ orders: Int32, _ resamples: UnsafePointer<Int32>!, _ nResamples: Int64, _ singlePrecision: Int32,
  _ scores: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    var options = try sacreBLEU(options).options
    options.singlePrecision = try flag(singlePrecision, "single_precision")
    let rows = try counted(statistics, count, orders)
    try require(rows.orders >= options.orders, "orders is \(orders); expected at least max_n, \(options.orders)")
    let samples = try TamisABI.count(nResamples, "n_resamples")
    let (total, overflow) = samples.multipliedReportingOverflow(by: rows.count)
    try require(!overflow, "n_resamples is \(samples) of \(rows.count) rows; expected a product inside the address space")
    let picks = try array(resamples, total, "resamples")
    for i in 0..<total {
      try require(
        picks[i] >= 0 && Int(picks[i]) < rows.count,
        "resamples[\(i / max(1, rows.count))][\(i % max(1, rows.count))] is \(picks[i]); expected 0 to \(rows.count - 1)")
    }
    let out = try room(scores, samples, "scores")
    fill(out, try BLEU(options).resampled(rows, picks, samples: samples, context: context))
  }
}
