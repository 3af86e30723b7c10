public import TamisCore

/// The pre-tokenizer that a tokenizer.json names; null: none.
/// - Throws: `unsupported` with the name of a type or an option that is not known; `format` for what is malformed.
public func makePreTokenizer(_ json: JSON) throws(TamisError) -> any PreTokenizer {
  if json == .null { return IdentityPreTokenizer() }
  var options = try ComponentOptions(json, role: "pre_tokenizer")
  let preTokenizer: any PreTokenizer
  switch options.type {
  case "Sequence":
    guard let parts = options.take("pretokenizers")?.array else { throw options.missing("pretokenizers") }
    var preTokenizers: [any PreTokenizer] = []
    for part in parts { preTokenizers.append(try makePreTokenizer(part)) }
    preTokenizer = SequencePreTokenizer(preTokenizers)
  case "BertPreTokenizer": preTokenizer = BertPreTokenizer()
  case "Whitespace": preTokenizer = WhitespacePreTokenizer()
  case "WhitespaceSplit": preTokenizer = WhitespaceSplitPreTokenizer()
  case "Punctuation": preTokenizer = PunctuationPreTokenizer(try options.choice("behavior", SplitBehavior.isolated))
  case "Digits": preTokenizer = DigitsPreTokenizer(individually: try options.bool("individual_digits"))
  case "CharDelimiterSplit": preTokenizer = CharDelimiterPreTokenizer(try options.scalar("delimiter"))
  case "FixedLength":
    let length = options.take("length") ?? .integer(5)
    guard let length = length.integer, length > 0, length <= Int32.max else {
      throw options.wrong("length", "a positive number")
    }
    preTokenizer = FixedLengthPreTokenizer(Int(length))
  case "Split":
    let pattern = try options.pattern("pattern")
    preTokenizer = SplitPreTokenizer(pattern, try options.choice("behavior"), inverts: try options.bool("invert"))
  case "ByteLevel":
    preTokenizer = ByteLevelPreTokenizer(
      addsPrefixSpace: try options.bool("add_prefix_space"), splits: try options.bool("use_regex", true))
    // Cuts white space from offsets, after the model: the post-processor's business.
    _ = try options.bool("trim_offsets")
  case "Metaspace": preTokenizer = try makeMetaspace(&options)
  default: throw options.unknownType()
  }
  try options.finish()
  return preTokenizer
}

/// Files older than `prepend_scheme` say `add_prefix_space`; some say both.
private func makeMetaspace(_ options: inout ComponentOptions) throws(TamisError) -> MetaspacePreTokenizer {
  let replacement = try options.scalar("replacement")
  var prepend = try options.choice("prepend_scheme", MetaspacePreTokenizer.Prepend.always)
  if try options.optionalBool("add_prefix_space") == false {
    if prepend == .first { throw options.wrong("add_prefix_space", "what prepend_scheme says") }
    prepend = .never
  }
  _ = options.take("str_rep")
  return MetaspacePreTokenizer(replacement: replacement, prepend: prepend, splits: try options.optionalBool("split") ?? true)
}
