import TamisCore

/// Byte-level BPE by rank: a line each of base64(bytes) SPACE rank (OpenAI tiktoken). Special tokens and the splitting pattern
/// are not in the
/// file.
enum Tiktoken {
  struct Known {
    let pattern: [UInt8]
    let specials: [(name: String, id: Int32)]

    /// Of an encoding by its name.
    init?(_ name: String) {
      switch name {
      case "r50k_base", "gpt2":
        pattern = Array(Self.gpt2.utf8)
        specials = [("<|endoftext|>", 50256)]
      case "p50k_base":
        pattern = Array(Self.gpt2.utf8)
        specials = [("<|endoftext|>", 50256)]
      case "cl100k_base":
        pattern = Array(Self.cl100k.utf8)
        specials = [
          ("<|endoftext|>", 100257), ("<|fim_prefix|>", 100258), ("<|fim_middle|>", 100259), ("<|fim_suffix|>", 100260),
          ("<|endofprompt|>", 100276),
        ]
      case "o200k_base":
        pattern = Array(Self.o200k.utf8)
        specials = [("<|endoftext|>", 199999), ("<|endofprompt|>", 200018)]
      default: return nil
      }
    }

    init?(fileName: String) {
      for name in ["r50k_base", "p50k_base", "cl100k_base", "o200k_base"] where fileName.hasPrefix(name) {
        self.init(name)
        return
      }
      return nil
    }

    private static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    private static let cl100k =
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let o200k =
      #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
      + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
      + #"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  }

  static func read(
    _ text: UnsafeBufferPointer<UInt8>, _ pattern: [UInt8], _ specials: [(name: String, id: Int32)]
  ) throws(TamisError) -> TokenizerParts {
    let raw = Vocabulary(expecting: text.count / 16, bytes: text.count / 2)
    let vocabulary = Vocabulary(expecting: text.count / 16, bytes: text.count / 2)
    var piece: [UInt8] = []
    try VocabularyFiles.eachLine(text) { (line, index) throws(TamisError) in
      if line.isEmpty { return }
      piece.removeAll(keepingCapacity: true)
      guard let cut = line.firstIndex(of: 0x20), let bytes = Base64.decode(line[..<cut]), !bytes.isEmpty,
        let rank = Int(String(decoding: line[(cut + 1)...], as: UTF8.self)), rank >= 0
      else { throw TamisError(.format, "tiktoken, line \(index + 1): expected base64, a space and a rank") }
      try raw.add(rank, bytes)
      ByteAlphabet.encode(bytes, into: &piece)
      try vocabulary.add(rank, piece)
    }
    guard raw.count > 0 else { throw TamisError(.format, "tiktoken: no ranks") }
    let merges = MergeTable.implied(by: raw, byScalar: false) { UInt32($0) }
    var options = BPE.Options()
    options.byteLevel = true
    options.ignoreMerges = true
    var parts = TokenizerParts(model: try BPE(vocabulary, merges, options), kind: .bpe)
    parts.isByteLevel = true
    parts.preTokenizer = try makePreTokenizer(
      VocabularyFiles.object([
        ("type", .string("Split")),
        ("pattern", VocabularyFiles.object([("Regex", .string(String(decoding: pattern, as: UTF8.self)))])),
        ("behavior", .string("Isolated")), ("invert", .bool(false)),
      ]))
    parts.decoder = DecoderChain([.byteLevel])
    parts.added = specials.map { AddedToken(id: $0.id, content: Array($0.name.utf8)) }
    return parts
  }
}
