public import TamisCore

/// The normaliser that a tokenizer.json names; null: none.
/// - Throws: `unsupported` with the name of a type or an option that is not known; `format` for what is malformed.
public func makeNormalizer(_ json: JSON) throws(TamisError) -> any Normalizer {
  if json == .null { return IdentityNormalizer() }
  var options = try ComponentOptions(json, role: "normalizer")
  let normalizer: any Normalizer
  switch options.type {
  case "Sequence":
    guard let parts = options.take("normalizers")?.array else { throw options.missing("normalizers") }
    var normalizers: [any Normalizer] = []
    for part in parts { normalizers.append(try makeNormalizer(part)) }
    normalizer = SequenceNormalizer(normalizers)
  case "BertNormalizer":
    normalizer = BertNormalizer(
      cleanText: try options.bool("clean_text"), handlesChineseCharacters: try options.bool("handle_chinese_chars"),
      stripsAccents: try options.optionalBool("strip_accents"), lowercases: try options.bool("lowercase"))
  case "NFC": normalizer = NormalFormNormalizer(.nfc)
  case "NFD": normalizer = NormalFormNormalizer(.nfd)
  case "NFKC": normalizer = NormalFormNormalizer(.nfkc)
  case "NFKD": normalizer = NormalFormNormalizer(.nfkd)
  case "Lowercase": normalizer = LowercaseNormalizer()
  case "StripAccents": normalizer = StripAccentsNormalizer()
  case "Strip": normalizer = StripNormalizer(left: try options.bool("strip_left"), right: try options.bool("strip_right"))
  case "Nmt": normalizer = NmtNormalizer()
  case "Prepend": normalizer = PrependNormalizer(Array(try options.text("prepend").utf8))
  case "Replace":
    normalizer = ReplaceNormalizer(try options.pattern("pattern"), with: Array(try options.text("content").utf8))
  case "Precompiled":
    let text = try options.text("precompiled_charsmap", "")
    normalizer = try PrecompiledNormalizer(base64: text)
  case "ByteLevel": normalizer = ByteLevelNormalizer()
  default: throw options.unknownType()
  }
  try options.finish()
  return normalizer
}
