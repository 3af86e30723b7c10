// include/tamis/compression.h: one call
import CTamis
import Tamis

extension tamis_compress_options: VersionedStruct {
  static var firstSize: Int { 136 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, mode: TAMIS_COMPRESS_NATIVE, rate: 0.5, target_token: -1, threshold: -1,
      scope: TAMIS_SCOPE_CONTEXT, token_to_word: TAMIS_WORD_MEAN, force_reserve_digit: 0, drop_consecutive: 0,
      use_token_level_filter: 1, use_context_level_filter: 0, target_context: -1, protect: 0, context_level_rate: 1,
      context_level_target_token: -1, force_tokens: nil, chunk_end_tokens: nil, force_context_ids: nil, n_force_tokens: 0,
      n_chunk_end_tokens: 0, n_force_context_ids: 0, line_breaks: TAMIS_LINE_BREAKS_FOLLOW, progress: nil, progress_user: nil)
  }
}

@c @implementation public func tamis_compress_options_init(_ options: UnsafeMutablePointer<tamis_compress_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_compress(
  _ handle: OpaquePointer!, _ texts: UnsafePointer<UnsafePointer<CChar>?>!, _ lengths: UnsafePointer<Int>!, _ n: Int64,
  _ options: UnsafePointer<tamis_compress_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let compressor = try compressor(handle)
    let texts = try contexts(texts, lengths, try count(n, "n", from: 1))
    let raw = try read(options, "options")
    let wishes = try CompressionOptions(raw, texts: texts.count)
    let out = try need(out, "out")
    let result = try compressor.compress(texts, wishes, progress: progress(raw.progress, raw.progress_user))
    out.pointee = Handle.make(CompressionBuffers(result), .compression)
  }
}

private func contexts(
  _ texts: UnsafePointer<UnsafePointer<CChar>?>?, _ lengths: UnsafePointer<Int>?, _ n: Int
) throws(TamisError) -> [UnsafeBufferPointer<UInt8>] {
  let texts = try need(texts, "texts")
  try requireExtent(texts, n, "texts")
  if let lengths {
    try requireAligned(lengths, MemoryLayout<Int>.alignment, "lengths")
    try requireExtent(lengths, n, "lengths")
  }
  var list: [UnsafeBufferPointer<UInt8>] = []
  list.reserveCapacity(n)
  for i in 0..<n {
    if let lengths {
      list.append(try bytes(UnsafeRawPointer(texts[i]), lengths[i], "texts"))
    } else {
      let text = try need(texts[i], "texts")
      var length = 0
      while text[length] != 0 { length += 1 }
      list.append(try bytes(UnsafeRawPointer(text), length, "texts"))
    }
  }
  return list
}

extension CompressionOptions {
  fileprivate init(_ raw: tamis_compress_options, texts: Int) throws(TamisError) {
    self.init()
    mode = try choice(raw.mode, "options->mode", CompressionMode.self, "TAMIS_COMPRESS_NATIVE or TAMIS_COMPRESS_COMPAT")
    rate = raw.rate
    targetTokens = try wish(raw.target_token, "options->target_token")
    if raw.threshold != -1 { threshold = raw.threshold }
    scope = try choice(raw.scope, "options->scope", ThresholdScope.self, "TAMIS_SCOPE_CHUNK to TAMIS_SCOPE_PROMPT")
    tokenToWord = try choice(
      raw.token_to_word, "options->token_to_word", WordProbability.self, "TAMIS_WORD_MEAN or TAMIS_WORD_FIRST")
    forceReserveDigit = try flag(raw.force_reserve_digit, "options->force_reserve_digit")
    dropConsecutive = try flag(raw.drop_consecutive, "options->drop_consecutive")
    useTokenLevelFilter = try flag(raw.use_token_level_filter, "options->use_token_level_filter")
    useContextLevelFilter = try flag(raw.use_context_level_filter, "options->use_context_level_filter")
    targetContexts = try wish(Int64(raw.target_context), "options->target_context")
    try require(
      raw.protect & ~Protection.all.rawValue == 0, "options->protect is \(raw.protect); expected TAMIS_PROTECT_ bits")
    protect = Protection(rawValue: raw.protect)
    contextLevelRate = raw.context_level_rate
    contextLevelTargetTokens = try wish(raw.context_level_target_token, "options->context_level_target_token")
    forceTokens = try strings(raw.force_tokens, raw.n_force_tokens, "options->force_tokens", "options->n_force_tokens")
    if raw.chunk_end_tokens != nil {
      chunkEndTokens = try strings(
        raw.chunk_end_tokens, raw.n_chunk_end_tokens, "options->chunk_end_tokens", "options->n_chunk_end_tokens")
    }
    let forced = try count(raw.n_force_context_ids, "options->n_force_context_ids")
    if forced > 0 {
      let ids = try need(raw.force_context_ids, "options->force_context_ids")
      try requireExtent(ids, forced, "options->force_context_ids")
      forceContexts = Set((0..<forced).map { Int(ids[$0]) })
    }
    lineBreaks = try choice(
      raw.line_breaks, "options->line_breaks", LineBreaks.self, "TAMIS_LINE_BREAKS_FOLLOW or TAMIS_LINE_BREAKS_KEEP")
  }
}

/// A number of at least 0; -1 is none.
private func wish(_ value: Int64, _ name: StaticString) throws(TamisError) -> Int? {
  if value == -1 { return nil }
  try require(value >= 0 && value <= 1 << 46, "\(name) is \(value); expected -1 for none, or at least 0")
  return Int(value)
}

private func strings(
  _ list: UnsafePointer<UnsafePointer<CChar>?>?, _ n: Int32, _ name: StaticString, _ countName: StaticString
) throws(TamisError) -> [String] {
  let n = try count(n, countName)
  if n == 0 { return [] }
  try require(n <= 1 << 16, "\(countName) is \(n); expected at most \(1 << 16)")
  let list = try need(list, name)
  try requireExtent(list, n, name)
  var strings: [String] = []
  for i in 0..<n { strings.append(try string(list[i], name)) }
  return strings
}
