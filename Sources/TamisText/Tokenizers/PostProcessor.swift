import TamisCore

/// What comes after the model: the template's tokens, the segment ids, and offsets without the spaces of byte-level tokens.
struct PostProcessor: Sendable {
  enum Part: Sendable, Equatable {
    /// The first or second text.
    case text(Int, type: Int32)
    case special([Int32], type: Int32)
  }

  var single: [Part] = [.text(0, type: 0)]
  var pair: [Part]? = [.text(0, type: 0), .text(1, type: 1)]
  /// Offsets of tokens that begin or end with spaces leave these out.
  var trimsOffsets = false
  /// A space that a prefix space stands for was never in the text.
  var addsPrefixSpace = false

  init() {}

  init(_ json: JSON?) throws(TamisError) {
    var templates = 0
    if let json, json != .null { try add(json, &templates) }
  }

  private mutating func add(_ json: JSON, _ templates: inout Int) throws(TamisError) {
    let part = try Component(json, role: "post_processor")
    switch part.type {
    case "Sequence":
      for processor in try part.array("processors") { try add(processor, &templates) }
      return
    case "ByteLevel":
      try readTrimming(part)
      return
    case "TemplateProcessing":
      let specials = try Self.specials(part)
      single = try Self.template(part, "single", specials)
      let both = try Self.template(part, "pair", specials)
      pair = both.count(of: 0) == 1 && both.count(of: 1) == 1 ? both : nil
      guard single.count(of: 0) == 1, single.count(of: 1) == 0 else {
        throw TamisError(.unsupported, "tokenizer.json: a TemplateProcessing that leaves the text out or repeats it")
      }
    case "BertProcessing", "RobertaProcessing":
      let cls = try Self.token(part, "cls")
      let sep = try Self.token(part, "sep")
      if part.type == "BertProcessing" {
        useBERT(cls, sep)
      } else {
        useRoBERTa(cls, sep)
        try readTrimming(part)
      }
    default: throw part.unknownType
    }
    templates += 1
    if templates > 1 { throw TamisError(.unsupported, "tokenizer.json: a post_processor Sequence with two templates") }
  }

  /// [CLS] text [SEP], [CLS] text [SEP] pair [SEP]
  mutating func useBERT(_ cls: Int32, _ sep: Int32) {
    single = [.special([cls], type: 0), .text(0, type: 0), .special([sep], type: 0)]
    pair = single + [.text(1, type: 1), .special([sep], type: 1)]
  }

  /// <s> text </s>, <s> text </s> </s> pair </s>
  mutating func useRoBERTa(_ cls: Int32, _ sep: Int32) {
    single = [.special([cls], type: 0), .text(0, type: 0), .special([sep], type: 0)]
    pair = single + [.special([sep], type: 0), .text(1, type: 0), .special([sep], type: 0)]
  }

  private mutating func readTrimming(_ part: Component) throws(TamisError) {
    guard try part.flag("trim_offsets", true) else { return }
    trimsOffsets = true
    addsPrefixSpace = try part.flag("add_prefix_space", true)
  }

  private static func token(_ part: Component, _ name: String) throws(TamisError) -> Int32 {
    guard let pair = part[name]?.array, pair.count == 2, let id = pair[1].integer, (0...Int64(Int32.max)).contains(id) else {
      throw part.wrong(name, "[token, id]")
    }
    return Int32(id)
  }

  private static func specials(_ part: Component) throws(TamisError) -> [(name: String, ids: [Int32])] {
    var specials: [(name: String, ids: [Int32])] = []
    guard let members = part["special_tokens"]?.object else { return specials }
    for member in members {
      var ids: [Int32] = []
      for id in member.value["ids"]?.array ?? [] {
        guard let id = id.integer, (0...Int64(Int32.max)).contains(id) else {
          throw part.wrong("special_tokens", "a map to ids")
        }
        ids.append(Int32(id))
      }
      specials.append((member.name, ids))
    }
    return specials
  }

  private static func template(
    _ part: Component, _ name: String, _ specials: [(name: String, ids: [Int32])]
  ) throws(TamisError) -> [Part] {
    var parts: [Part] = []
    for piece in try part.array(name) {
      if let text = piece["Sequence"] {
        guard let id = text["id"]?.string, id == "A" || id == "B", let type = text["type_id"]?.integer,
          (0...Int64(Int32.max)).contains(type)
        else { throw part.wrong(name, "a template of sequences A and B") }
        parts.append(.text(id == "A" ? 0 : 1, type: Int32(type)))
      } else if let special = piece["SpecialToken"] {
        guard let id = special["id"]?.string, let type = special["type_id"]?.integer, (0...Int64(Int32.max)).contains(type),
          let token = specials.first(where: { Array($0.name.utf8) == Array(id.utf8) })
        else { throw part.wrong(name, "a template of tokens that special_tokens lists") }
        parts.append(.special(token.ids, type: Int32(type)))
      } else {
        throw part.wrong(name, "a template")
      }
    }
    return parts
  }

  /// Tokens that a template adds.
  static func added(_ parts: [Part]) -> Int {
    parts.reduce(0) { if case .special(let ids, _) = $1 { $0 + ids.count } else { $0 } }
  }

  /// The ids before and after one text.
  var around: (prefix: [Int32], suffix: [Int32]) {
    var prefix: [Int32] = []
    var suffix: [Int32] = []
    var seen = false
    for part in single {
      switch part {
      case .text: seen = true
      case .special(let ids, _): if seen { suffix += ids } else { prefix += ids }
      }
    }
    return (prefix, suffix)
  }
}

extension [PostProcessor.Part] {
  fileprivate func count(of text: Int) -> Int {
    reduce(0) { if case .text(text, _) = $1 { $0 + 1 } else { $0 } }
  }
}
