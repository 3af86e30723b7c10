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
    parts.normalizer = BertNormalizer(lowercases: lowercase ?? !hasCapitals)
    parts.preTokenizer = BertPreTokenizer()
    parts.decoder = DecoderChain([.wordPiece(prefix: options.prefix, cleanup: true)])
    parts.added = specials(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], vocabulary)
    if let cls = vocabulary.id("[CLS]"), let sep = vocabulary.id("[SEP]") { parts.postProcessor.useBERT(cls, sep) }
    return parts
  }

  /// vocab.json and merges.txt of GPT-2, and of RoBERTa, which is told by its <s> and </s>.
  static func byteLevel(
    _ text: UnsafeBufferPointer<UInt8>, merges file: UnsafeRawBufferPointer
  ) throws(TamisError) -> TokenizerParts {
    let vocabulary = Vocabulary(expecting: text.count / 16, bytes: text.count)
    var scanner = try JSONScanner(text)
    try scanner.pieces(into: vocabulary)
    try scanner.end()
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
    var parts = TokenizerParts(model: BPE(vocabulary, builder.table, options), kind: .bpe)
    parts.isByteLevel = true
    parts.preTokenizer = ByteLevelPreTokenizer(addsPrefixSpace: false)
    parts.decoder = DecoderChain([.byteLevel])
    parts.added = specials(["<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>"], vocabulary)
    if let cls = vocabulary.id("<s>"), let sep = vocabulary.id("</s>") {
      parts.postProcessor.useRoBERTa(cls, sep)
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
