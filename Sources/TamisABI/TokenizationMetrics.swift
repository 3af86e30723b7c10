// include/tamis/tokenization_metrics.h
import CTamis
import Tamis

extension tamis_token_sums: VersionedStruct {
  static var firstSize: Int { 96 }
  static var defaults: Self { Self() }
}

extension tamis_token_report: VersionedStruct {
  static var firstSize: Int { 112 }
  static var defaults: Self { Self() }
}

extension tamis_token_report_options: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self {
    Self(struct_size: currentSize, reserved: 0, alpha: 3, vocabulary: 0, percentile_from: 0.03, percentile_to: 0.83)
  }
}

@c @implementation public func tamis_token_report_options_init(_ options: UnsafeMutablePointer<tamis_token_report_options>!) {
  options?.initialize(to: .defaults)
}

/// What a handle holds: a value that calls replace whole, so that one that fails leaves it as it was.
private final class CountedTokens {
  var statistics: TokenStatistics
  init(_ statistics: TokenStatistics) { self.statistics = statistics }
}

private func counted(_ handle: OpaquePointer?, _ name: StaticString) throws(TamisError) -> CountedTokens {
  try Handle<CountedTokens>.object(handle, .token_statistics, name)
}

/// Texts in one run of bytes of at most 2^31 - 1, told apart by ascending offsets from 0 on.
func textRun(
  _ text: UnsafePointer<CChar>?, _ starts: UnsafePointer<Int64>?, _ count: Int
) throws(TamisError) -> (bytes: UnsafeBufferPointer<UInt8>, starts: [Int]) {
  let raw = try array(starts, count + 1, "starts")
  try require(raw[0] == 0, "starts[0] is \(raw[0]); expected 0")
  for i in 0..<count {
    try require(
      raw[i + 1] >= raw[i] && raw[i + 1] <= Int64(countLimit),
      "starts[\(i + 1)] is \(raw[i + 1]) after \(raw[i]); expected ascending offsets up to \(countLimit)")
  }
  return (try bytes(UnsafeRawPointer(text), Int(raw[count]), "text"), raw.map { Int($0) })
}

/// Tells a callback of work on many texts, about once a megabyte.
struct TextProgress {
  private let progress: Progress?
  private let total: Int
  private var next = 1 << 20

  init(_ progress: Progress?, total: Int) {
    self.progress = progress
    self.total = total
  }

  mutating func reached(_ bytes: Int) throws(TamisError) {
    guard let progress, bytes >= next || bytes == total else { return }
    next = bytes + 1 << 20
    guard progress(total == 0 ? 1 : Double(bytes) / Double(total)) else {
      throw TamisError(.cancelled, "progress returned 0 after \(bytes) of \(total) bytes")
    }
  }
}

@c @implementation public func tamis_token_statistics_create(
  _ unknownID: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let out = try need(out, "out")
    try require(unknownID >= -1, "unknown_id is \(unknownID); expected an id, or -1 for none")
    out.pointee = Handle.make(
      CountedTokens(TokenStatistics(unknownID: unknownID < 0 ? nil : unknownID)), .token_statistics)
  }
}

@c @implementation public func tamis_token_statistics_destroy(_ statistics: OpaquePointer!) {
  Handle<CountedTokens>.destroy(statistics, .token_statistics)
}

@c @implementation public func tamis_token_statistics_add(
  _ handle: OpaquePointer!, _ tokens: UnsafePointer<tamis_token_lists>!, _ text: UnsafePointer<CChar>!,
  _ starts: UnsafePointer<Int64>!, _ tokenStarts: UnsafePointer<Int32>!, _ tokenEnds: UnsafePointer<Int32>!,
  _ callback: tamis_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let counted = try counted(handle, "statistics")
    let lists = try tokenLists(tokens, "tokens")
    let (bytes, borders) = try textRun(text, starts, lists.count)
    let raw = tokens.pointee
    let room = raw.starts.map { Int($0[lists.count]) } ?? lists.count * Int(raw.width)
    try require(
      (tokenStarts == nil) == (tokenEnds == nil),
      "\(tokenStarts == nil ? "token_starts" : "token_ends") is NULL and the other is not; expected both or neither")
    var offsets: (starts: UnsafeBufferPointer<Int32>, ends: UnsafeBufferPointer<Int32>)?
    if tokenStarts != nil {
      offsets = (try array(tokenStarts, room, "token_starts"), try array(tokenEnds, room, "token_ends"))
    }
    var added = TokenStatistics(unknownID: counted.statistics.unknownID)
    var report = TextProgress(progress(callback, user), total: bytes.count + 4 * lists.total)
    for i in 0..<lists.count {
      let text = UnsafeBufferPointer(rebasing: bytes[borders[i]..<borders[i + 1]])
      let ids = lists[i]
      let first = raw.starts.map { Int($0[i]) } ?? i * Int(raw.width)
      func part(_ all: UnsafeBufferPointer<Int32>?) -> UnsafeBufferPointer<Int32>? {
        all.map { UnsafeBufferPointer(rebasing: $0[first..<first + ids.count]) }
      }
      do throws(TamisError) {
        try added.add(text, ids: ids, starts: part(offsets?.starts), ends: part(offsets?.ends))
      } catch {
        throw TamisError(error.status, "text \(i): \(error.message)")
      }
      try report.reached(added.sums.bytes + 4 * added.sums.tokens)
    }
    counted.statistics.merge(added)
  }
}

@c @implementation public func tamis_token_statistics_encode(
  _ handle: OpaquePointer!, _ contextHandle: OpaquePointer!, _ tokenizerHandle: OpaquePointer!,
  _ options: UnsafePointer<tamis_encode_options>!, _ text: UnsafePointer<CChar>!, _ starts: UnsafePointer<Int64>!,
  _ count: Int64, _ callback: tamis_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let counted = try counted(handle, "statistics")
    let context = try context(contextHandle)
    let tokenizer = try tokenizer(tokenizerHandle)
    var encoding = EncodeOptions(addSpecialTokens: false, parseSpecialTokens: false)
    if options != nil { encoding = try EncodeOptions(options) }
    try require(
      !encoding.countsCharacters, "options->offsets is TAMIS_OFFSETS_CHARACTERS; expected TAMIS_OFFSETS_BYTES")
    let texts = try TamisABI.count(count, "count")
    let (bytes, borders) = try textRun(text, starts, texts)
    try counted.statistics.encode(
      bytes, offsets: borders, with: tokenizer, encoding, context: context, progress: progress(callback, user))
  }
}

@c @implementation public func tamis_token_statistics_merge(
  _ handle: OpaquePointer!, _ other: OpaquePointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let into = try counted(handle, "statistics")
    into.statistics.merge(try counted(other, "other").statistics)
  }
}

@c @implementation public func tamis_token_statistics_sums(
  _ handle: OpaquePointer!, _ sums: UnsafeMutablePointer<tamis_token_sums>!
) -> tamis_status {
  status { () throws(TamisError) in
    let statistics = try counted(handle, "statistics").statistics
    try checkOutput(sums, "sums")
    let found = statistics.sums
    write(
      tamis_token_sums(
        struct_size: 0, reserved: 0, texts: Int64(found.texts), empty_texts: Int64(found.emptyTexts),
        tokens: Int64(found.tokens), unknown_tokens: Int64(found.unknownTokens), bytes: Int64(found.bytes),
        code_points: Int64(found.codePoints), words: Int64(found.words), aligned_words: Int64(found.alignedWords),
        continued_words: Int64(found.continuedWords), whole_words: Int64(found.wholeWords),
        vocabulary: Int64(statistics.vocabulary)),
      to: sums)
  }
}

@c @implementation public func tamis_token_statistics_frequencies(
  _ handle: OpaquePointer!, _ ids: UnsafeMutablePointer<Int32>!, _ counts: UnsafeMutablePointer<Int64>!, _ capacity: Int64,
  _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let statistics = try counted(handle, "statistics").statistics
    let n = try need(n, "n")
    guard capacity >= Int64(statistics.vocabulary) else {
      n.pointee = Int64(statistics.vocabulary)
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(statistics.vocabulary)")
    }
    let ids = try room(ids, statistics.vocabulary, "ids")
    let counts = try room(counts, statistics.vocabulary, "counts")
    for (i, entry) in statistics.frequencies.enumerated() { (ids[i], counts[i]) = (entry.id, Int64(entry.count)) }
    n.pointee = Int64(statistics.vocabulary)
  }
}

@c @implementation public func tamis_token_statistics_report(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_token_report_options>!,
  _ report: UnsafeMutablePointer<tamis_token_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let statistics = try counted(handle, "statistics").statistics
    let raw = try read(options, "options")
    try checkOutput(report, "report")
    var options = TokenReportOptions()
    options.alpha = raw.alpha
    try require(raw.vocabulary >= 0, "options->vocabulary is \(raw.vocabulary); expected at least 0")
    options.vocabulary = raw.vocabulary == 0 ? nil : Int(raw.vocabulary)
    options.percentiles = (raw.percentile_from, raw.percentile_to)
    let found = try statistics.report(options)
    write(
      tamis_token_report(
        struct_size: 0, reserved: 0, fertility: found.fertility, continued_word_rate: found.continuedWordRate,
        whole_word_rate: found.wholeWordRate, bytes_per_token: found.bytesPerToken,
        code_points_per_token: found.codePointsPerToken, unknown_rate: found.unknownRate,
        tokens_per_text: found.tokensPerText, shannon_entropy: found.shannonEntropy,
        shannon_efficiency: found.shannonEfficiency, renyi_entropy: found.renyiEntropy,
        renyi_efficiency: found.renyiEfficiency, percentile_frequency: found.percentileFrequency, bits: found.bits),
      to: report)
  }
}

@c @implementation public func tamis_token_premium(
  _ a: OpaquePointer!, _ b: OpaquePointer!, _ corpus: UnsafeMutablePointer<Double>!, _ mean: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let (a, b) = (try counted(a, "a").statistics, try counted(b, "b").statistics)
    let (corpus, mean) = (try allow(corpus, "corpus"), try allow(mean, "mean"))
    let found = try a.premium(over: b)
    corpus?.pointee = found.corpus
    mean?.pointee = found.mean
  }
}

@c @implementation public func tamis_tokens_to_characters(
  _ handle: OpaquePointer!, _ tokens: Int64, _ characters: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let statistics = try counted(handle, "statistics").statistics
    let out = try need(characters, "characters")
    out.pointee = Int64(try statistics.characters(ofTokens: Int(tokens)))
  }
}

@c @implementation public func tamis_characters_to_tokens(
  _ handle: OpaquePointer!, _ characters: Int64, _ tokens: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let statistics = try counted(handle, "statistics").statistics
    let out = try need(tokens, "tokens")
    out.pointee = Int64(try statistics.tokens(ofCharacters: Int(characters)))
  }
}
