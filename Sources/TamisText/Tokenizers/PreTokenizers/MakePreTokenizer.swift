public import TamisCore

/// The pre-tokenizer that a tokenizer.json names; null: none.
/// - Throws: `unsupported` with the name of a type or an option that is not known; `format` for what is malformed.
public func makePreTokenizer(_ json: JSON) throws(TamisError) -> any PreTokenizer {
  if json == .null { return IdentityPreTokenizer() }
  let options = try Component(json, role: "pre_tokenizer")
  let preTokenizer: any PreTokenizer
  switch options.type {
  case "Sequence":
    var preTokenizers: [any PreTokenizer] = []
    for part in try options.array("pretokenizers") { preTokenizers.append(try makePreTokenizer(part)) }
    preTokenizer = SequencePreTokenizer(preTokenizers)
  case "BertPreTokenizer": preTokenizer = BertPreTokenizer()
  case "Whitespace": preTokenizer = WhitespacePreTokenizer()
  case "WhitespaceSplit": preTokenizer = WhitespaceSplitPreTokenizer()
  case "Punctuation": preTokenizer = PunctuationPreTokenizer(try options.choice("behavior", SplitBehavior.isolated))
  case "Digits": preTokenizer = DigitsPreTokenizer(individually: try options.flag("individual_digits"))
  case "CharDelimiterSplit": preTokenizer = CharDelimiterPreTokenizer(try options.scalar("delimiter"))
  case "FixedLength": preTokenizer = FixedLengthPreTokenizer(try options.count("length", 5, from: 1))
  case "Split":
    let pattern = try options.pattern("pattern")
    preTokenizer = SplitPreTokenizer(pattern, try options.choice("behavior"), inverts: try options.flag("invert"))
  case "ByteLevel":
    preTokenizer = ByteLevelPreTokenizer(
      addsPrefixSpace: try options.flag("add_prefix_space"), splits: try options.flag("use_regex", true))
    // Cuts white space from offsets, after the model: the post-processor's business.
    _ = try options.flag("trim_offsets")
  case "Metaspace": preTokenizer = try makeMetaspace(options)
  default: throw options.unknownType
  }
  try options.finish()
  return preTokenizer
}

private func makeMetaspace(_ options: Component) throws(TamisError) -> MetaspacePreTokenizer {
  let replacement = try options.scalar("replacement")
  let prepend = try MetaspacePreTokenizer.Prepend(options)
  _ = options["str_rep"]
  return MetaspacePreTokenizer(replacement: replacement, prepend: prepend, splits: try options.optionalFlag("split") ?? true)
}

extension MetaspacePreTokenizer.Prepend {
  /// Files older than `prepend_scheme` say `add_prefix_space`; some say both.
  init(_ options: Component) throws(TamisError) {
    let scheme = try options.choice("prepend_scheme", Self.always)
    guard try options.optionalFlag("add_prefix_space") == false else {
      self = scheme
      return
    }
    if scheme == .first { throw options.wrong("add_prefix_space", "what prepend_scheme says") }
    self = .never
  }
}
