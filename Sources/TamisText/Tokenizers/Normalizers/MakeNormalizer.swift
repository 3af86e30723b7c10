public import TamisCore

/// The normaliser that a tokenizer.json names; null: none.
/// - Throws: `unsupported` with the name of a type or an option that is not known; `format` for what is malformed.
public func makeNormalizer(_ json: JSON) throws(TamisError) -> any Normalizer {
  if json == .null { return IdentityNormalizer() }
  let options = try Component(json, role: "normalizer")
  let normalizer: any Normalizer
  switch options.type {
  case "Sequence":
    var normalizers: [any Normalizer] = []
    for part in try options.array("normalizers") { normalizers.append(try makeNormalizer(part)) }
    normalizer = SequenceNormalizer(normalizers)
  case "BertNormalizer":
    normalizer = BertNormalizer(
      cleanText: try options.flag("clean_text"), handlesChineseCharacters: try options.flag("handle_chinese_chars"),
      stripsAccents: try options.optionalFlag("strip_accents"), lowercases: try options.flag("lowercase"))
  case "NFC": normalizer = NormalFormNormalizer(.nfc)
  case "NFD": normalizer = NormalFormNormalizer(.nfd)
  case "NFKC": normalizer = NormalFormNormalizer(.nfkc)
  case "NFKD": normalizer = NormalFormNormalizer(.nfkd)
  case "Lowercase": normalizer = LowercaseNormalizer()
  case "StripAccents": normalizer = StripAccentsNormalizer()
  case "Strip": normalizer = StripNormalizer(left: try options.flag("strip_left"), right: try options.flag("strip_right"))
  case "Nmt": normalizer = NmtNormalizer()
  case "Prepend": normalizer = PrependNormalizer(try options.bytes("prepend"))
  case "Replace":
    normalizer = ReplaceNormalizer(try options.pattern("pattern"), with: try options.bytes("content"))
  case "Precompiled":
    let text = try options.text("precompiled_charsmap", "")
    normalizer = try PrecompiledNormalizer(base64: text)
  case "ByteLevel": normalizer = ByteLevelNormalizer()
  default: throw options.unknownType
  }
  try options.finish()
  return normalizer
}
