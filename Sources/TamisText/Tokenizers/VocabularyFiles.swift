import TamisCore

/// Vocabularies without a tokenizer.json: the rest of the pipeline is what their models were published with.
enum VocabularyFiles {
  /// vocab.txt of BERT: a piece a line.
  /// - Parameter lowercase: nil: unless an ordinary piece of the vocabulary has a capital letter.
  static func wordPiece(_ text: UnsafeBufferPointer<UInt8>, lowercase: Bool?) throws(TamisError) -> TokenizerParts {
    let vocabulary = Vocabulary(expecting: text.count / 8, bytes: text.count)
    try eachLine(text) { (line, index) throws(TamisError) in try vocabulary.add(index, line) }
    let options = WordPiece.Options()
    guard vocabulary.id(options.unknown) != nil else { throw TamisError(.format, "vocab.txt: no line says [UNK]") }
    var hasCapitals = false
    for id in 0..<vocabulary.size where lowercase == nil && !hasCapitals {
      hasCapitals = vocabulary.withPiece(id) { piece in
        piece.first != UInt8(ascii: "[") && piece.contains { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") }
      } ?? false
    }
    var parts = TokenizerParts(model: WordPiece(vocabulary, options), kind: .wordPiece)
    parts.normalizer = try makeNormalizer(
      object([
        ("type", .string("BertNormalizer")), ("clean_text", .bool(true)), ("handle_chinese_chars", .bool(true)),
        ("strip_accents", .null), ("lowercase", .bool(lowercase ?? !hasCapitals)),
      ]))
    parts.preTokenizer = try makePreTokenizer(object([("type", .string("BertPreTokenizer"))]))
    parts.decoder = DecoderChain([.wordPiece(prefix: options.prefix, cleanup: true)])
    parts.added = specials(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], vocabulary)
    if let cls = vocabulary.id("[CLS]"), let sep = vocabulary.id("[SEP]") {
      parts.postProcessor.single = [.special([cls], type: 0), .text(0, type: 0), .special([sep], type: 0)]
      parts.postProcessor.pair = parts.postProcessor.single + [.text(1, type: 1), .special([sep], type: 1)]
    }
    return parts
  }

  /// vocab.json and merges.txt of GPT-2, and of RoBERTa, which is told by its <s> and </s>.
  static func byteLevel(
    _ text: UnsafeBufferPointer<UInt8>, merges file: UnsafeRawBufferPointer
  ) throws(TamisError) -> TokenizerParts {
    let vocabulary = Vocabulary(expecting: text.count / 16, bytes: text.count)
    var scanner = try JSONScanner(text)
    try scanner.object { (scanner) throws(TamisError) in
      let id = try scanner.integer()
      try vocabulary.add(id, scanner.bytes)
    }
    scanner.skipSpace()
    guard scanner.at == text.count else { throw scanner.broken("more text after the value") }
    let lines = file.bindMemory(to: UInt8.self)
    var builder = MergeTable.Builder(vocabulary, prefixLength: 0, expecting: lines.count / 8)
    try eachLine(lines) { (line, index) throws(TamisError) in
      if line.isEmpty || line.starts(with: Array("#version".utf8)) { return }
      guard let cut = line.firstIndex(of: 0x20), !line[(cut + 1)...].contains(0x20) else {
        throw TamisError(.format, "merges.txt, line \(index + 1): expected two pieces")
      }
      try builder.add(UnsafeBufferPointer(rebasing: line[..<cut]), UnsafeBufferPointer(rebasing: line[(cut + 1)...]))
    }
    var options = BPE.Options()
    options.byteLevel = true
    var parts = TokenizerParts(model: try BPE(vocabulary, builder.table, options), kind: .bpe)
    parts.isByteLevel = true
    parts.preTokenizer = try makePreTokenizer(
      object([
        ("type", .string("ByteLevel")), ("add_prefix_space", .bool(false)), ("trim_offsets", .bool(true)),
        ("use_regex", .bool(true)),
      ]))
    parts.decoder = DecoderChain([.byteLevel])
    parts.added = specials(["<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>"], vocabulary)
    if let cls = vocabulary.id("<s>"), let sep = vocabulary.id("</s>") {
      parts.postProcessor.single = [.special([cls], type: 0), .text(0, type: 0), .special([sep], type: 0)]
      parts.postProcessor.pair = parts.postProcessor.single
        + [.special([sep], type: 0), .text(1, type: 0), .special([sep], type: 0)]
      parts.postProcessor.trimsOffsets = true
      for i in parts.added.indices where parts.added[i].content == Array("<mask>".utf8) { parts.added[i].leftStrip = true }
    }
    return parts
  }

  private static func specials(_ names: [StaticString], _ vocabulary: Vocabulary) -> [AddedToken] {
    names.compactMap { name in
      vocabulary.id(name).map { AddedToken(id: $0, content: Array(String(describing: name).utf8)) }
    }
  }

  static func object(_ members: [(String, JSON)]) -> JSON {
    .object(members.map { JSON.Member(name: $0.0, value: $0.1) })
  }

  /// Calls `each` with every line, without its end and the whitespace before that.
  static func eachLine(
    _ text: UnsafeBufferPointer<UInt8>, _ each: (UnsafeBufferPointer<UInt8>, Int) throws(TamisError) -> Void
  ) throws(TamisError) {
    if let base = text.baseAddress {
      let valid = UTF8Input.validPrefix(base, text.count)
      guard valid == text.count else { throw TamisError(.format, "the vocabulary is not UTF-8 at byte \(valid)") }
    }
    var first = 0
    var index = 0
    while first < text.count {
      let end = text[first...].firstIndex(of: 0x0a) ?? text.count
      var last = end
      while last > first, text[last - 1] == 0x0d || text[last - 1] == 0x20 || text[last - 1] == 0x09 { last -= 1 }
      try each(UnsafeBufferPointer(rebasing: text[first..<last]), index)
      first = end + 1
      index += 1
    }
  }
}
