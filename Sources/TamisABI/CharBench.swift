// include/tamis/charbench.h
import CTamis
import Tamis

extension tamis_charbench_options: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, min_length: 4, max_length: 10, rows: 6250, seed: 42, progress: nil, progress_user: nil)
  }
}

extension tamis_charbench_row: VersionedStruct {
  static var firstSize: Int { 32 }
  static var defaults: Self { Self() }
}

extension tamis_charbench_features: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_charbench_options_init(_ options: UnsafeMutablePointer<tamis_charbench_options>!) {
  options?.initialize(to: .defaults)
}

/// Rows with words that stay where they are, NUL-terminated.
private final class CharBenchRows {
  let rows: [CharBenchRow]
  private let words: ByteStrings

  init(_ bench: CharBench) {
    rows = bench.rows
    words = ByteStrings(bench.rows.map(\.word))
  }

  func word(_ i: Int) -> UnsafePointer<CChar> { words[i] }
}

/// Strings in one block of memory, NUL-terminated, and their addresses.
final class ByteStrings {
  let addresses: UnsafeMutableBufferPointer<UnsafePointer<CChar>?>
  private let block: UnsafeMutablePointer<CChar>

  init(_ strings: [[UInt8]]) {
    block = .allocate(capacity: strings.reduce(1) { $0 + $1.count + 1 })
    addresses = .allocate(capacity: strings.count)
    var at = 0
    for (i, string) in strings.enumerated() {
      addresses.initializeElement(at: i, to: UnsafePointer(block + at))
      for byte in string {
        (block + at).initialize(to: CChar(bitPattern: byte))
        at += 1
      }
      (block + at).initialize(to: 0)
      at += 1
    }
  }

  subscript(i: Int) -> UnsafePointer<CChar> { addresses[i]! }

  deinit {
    addresses.deallocate()
    block.deallocate()
  }
}

private func row(_ handle: OpaquePointer?, _ i: Int64) throws(TamisError) -> (CharBenchRow, UnsafePointer<CChar>) {
  let bench = try Handle<CharBenchRows>.object(handle, .charbench, "bench")
  try require(i >= 0 && i < Int64(bench.rows.count), "i is \(i); expected 0 to \(bench.rows.count - 1)")
  return (bench.rows[Int(i)], bench.word(Int(i)))
}

@c @implementation public func tamis_charbench_create(
  _ options: UnsafePointer<tamis_charbench_options>!, _ text: UnsafePointer<CChar>!, _ starts: UnsafePointer<Int64>!,
  _ count: Int64, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let out = try need(out, "out")
    let raw = try read(options, "options")
    try require(
      raw.min_length >= 1 && raw.min_length <= raw.max_length && raw.max_length <= Int32(CharBenchOptions.longestWord),
      "options->min_length is \(raw.min_length) and max_length \(raw.max_length); expected 1 <= min_length <= max_length <= "
        + "\(CharBenchOptions.longestWord)")
    var options = CharBenchOptions()
    options.lengths = Int(raw.min_length)...Int(raw.max_length)
    options.rows = try TamisABI.count(raw.rows, "options->rows", from: 1)
    options.seed = raw.seed
    let texts = try TamisABI.count(count, "count")
    let (bytes, borders) = try textRun(text, starts, texts)
    var words = CharBenchWords(lengths: options.lengths)
    var report = TextProgress(progress(raw.progress, raw.progress_user), total: bytes.count)
    for i in 0..<texts {
      words.add(UnsafeBufferPointer(rebasing: bytes[borders[i]..<borders[i + 1]]))
      try report.reached(borders[i + 1])
    }
    out.pointee = Handle.make(CharBenchRows(try CharBench(words, options)), .charbench)
  }
}

@c @implementation public func tamis_charbench_destroy(_ bench: OpaquePointer!) {
  Handle<CharBenchRows>.destroy(bench, .charbench)
}

@c @implementation public func tamis_charbench_count(_ bench: OpaquePointer!) -> Int64 {
  Int64((try? Handle<CharBenchRows>.object(bench, .charbench, "bench"))?.rows.count ?? 0)
}

@c @implementation public func tamis_charbench_get(
  _ bench: OpaquePointer!, _ i: Int64, _ out: UnsafeMutablePointer<tamis_charbench_row>!
) -> tamis_status {
  status { () throws(TamisError) in
    let (row, word) = try row(bench, i)
    try checkOutput(out, "row")
    write(
      tamis_charbench_row(
        struct_size: 0, task: row.task.rawValue, word: word, word_length: Int32(row.word.count),
        character: Int32(row.character), gold: Int32(row.gold), unique_characters: Int32(row.uniqueCharacters)),
      to: out)
  }
}

@c @implementation public func tamis_charbench_prompt(
  _ bench: OpaquePointer!, _ i: Int64, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in try write(try row(bench, i).0.prompt, to: buffer, capacity, needed) }
}

@c @implementation public func tamis_charbench_features_of(
  _ bench: OpaquePointer!, _ i: Int64, _ tokenLengths: UnsafePointer<Int32>!, _ tokens: Int64,
  _ out: UnsafeMutablePointer<tamis_charbench_features>!
) -> tamis_status {
  status { () throws(TamisError) in
    let (row, _) = try row(bench, i)
    let lengths = try array(tokenLengths, try TamisABI.count(tokens, "n_tokens"), "token_lengths")
    try checkOutput(out, "features")
    let found = try CharBenchFeatures(row, tokenLengths: lengths)
    write(
      tamis_charbench_features(
        struct_size: 0, word_length: Int32(row.word.count), number_of_tokens: Int32(found.tokens),
        target_token_length: Int32(found.targetTokenLength), gold: Int32(row.gold),
        unique_characters: Int32(row.uniqueCharacters), compression_rate: found.compressionRate, gold_share: found.goldShare),
      to: out)
  }
}

@c @implementation public func tamis_charbench_score(
  _ reply: UnsafePointer<CChar>!, _ length: Int, _ gold: Int64, _ correct: UnsafeMutablePointer<Int32>!,
  _ parsed: UnsafeMutablePointer<Int32>!, _ value: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let reply = try text(reply, length, "reply", "n_bytes")
    let correct = try need(correct, "correct")
    let (parsed, value) = (try allow(parsed, "parsed"), try allow(value, "value"))
    let found = CharBenchScores.integer(reply)
    correct.pointee = found.map { Int64($0) == gold } == true ? 1 : 0
    parsed?.pointee = found == nil ? 0 : 1
    value?.pointee = Int64(found ?? 0)
  }
}

/// Bytes of 0 or 1.
private func flags(_ pointer: UnsafePointer<UInt8>?, _ n: Int, _ name: StaticString) throws(TamisError) -> [Bool] {
  let raw = try array(pointer, n, name)
  for i in 0..<n { try require(raw[i] <= 1, "\(name)[\(i)] is \(raw[i]); expected 0 or 1") }
  return raw.map { $0 == 1 }
}

private func features(_ pointer: UnsafePointer<Double>?, _ n: Int) throws(TamisError) -> UnsafeBufferPointer<Double> {
  let raw = try array(pointer, n, "feature")
  for i in 0..<n { try require(raw[i].isFinite, "feature[\(i)] is \(raw[i]); expected a finite number") }
  return raw
}

@c @implementation public func tamis_charbench_correlation(
  _ feature: UnsafePointer<Double>!, _ correct: UnsafePointer<UInt8>!, _ n: Int64, _ r: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try TamisABI.count(n, "n")
    let (x, y) = (try features(feature, n), try flags(correct, n, "correct"))
    try need(r, "r").pointee = CharBenchScores.correlation(x, y)
  }
}

@c @implementation public func tamis_charbench_accuracy_by_value(
  _ feature: UnsafePointer<Double>!, _ correct: UnsafePointer<UInt8>!, _ n: Int64, _ values: UnsafeMutablePointer<Double>!,
  _ counts: UnsafeMutablePointer<Int64>!, _ accuracy: UnsafeMutablePointer<Double>!,
  _ standardError: UnsafeMutablePointer<Double>!, _ capacity: Int64, _ found: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try TamisABI.count(n, "n")
    let groups = CharBenchScores.accuracyByValue(try features(feature, n), try flags(correct, n, "correct"))
    let found = try need(found, "found")
    guard capacity >= Int64(groups.count) else {
      found.pointee = Int64(groups.count)
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(groups.count)")
    }
    let values = try room(values, groups.count, "values")
    let counts = try room(counts, groups.count, "counts")
    let accuracy = try room(accuracy, groups.count, "accuracy")
    let errors = try room(standardError, groups.count, "standard_error")
    for (i, group) in groups.enumerated() {
      values[i] = group.value
      counts[i] = Int64(group.count)
      accuracy[i] = group.accuracy
      errors[i] = group.standardError
    }
    found.pointee = Int64(groups.count)
  }
}

@c @implementation public func tamis_charbench_error_overlap(
  _ a: UnsafePointer<UInt8>!, _ b: UnsafePointer<UInt8>!, _ n: Int64, _ jaccard: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try TamisABI.count(n, "n")
    let (x, y) = (try flags(a, n, "correct_a"), try flags(b, n, "correct_b"))
    try need(jaccard, "jaccard").pointee = CharBenchScores.errorOverlap(x, y)
  }
}

@c @implementation public func tamis_charbench_bias(
  _ values: UnsafePointer<Int64>!, _ gold: UnsafePointer<Int64>!, _ parsed: UnsafePointer<UInt8>!, _ n: Int64,
  _ bias: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try TamisABI.count(n, "n")
    let (said, right) = (try array(values, n, "values"), try array(gold, n, "gold"))
    let isParsed = parsed == nil ? nil : try flags(parsed, n, "parsed")
    try need(bias, "bias").pointee = CharBenchScores.bias(said, gold: right, isParsed: isParsed)
  }
}
