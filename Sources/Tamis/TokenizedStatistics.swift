extension TokenStatistics {
  /// Counts what a tokenizer makes of texts, on the threads of a context: text i is bytes [offsets[i], offsets[i + 1]). The
  /// unknown token is the tokenizer's where these statistics name none.
  /// - Throws: as `Tokenizer.encodeBatch`; nothing is counted then.
  public mutating func encode(
    _ texts: UnsafeBufferPointer<UInt8>, offsets: [Int], with tokenizer: Tokenizer,
    _ options: EncodeOptions = .init(addSpecialTokens: false, parseSpecialTokens: false), context: Context,
    progress: Progress? = nil
  ) throws(TamisError) {
    try require(!options.countsCharacters, "options.countsCharacters is true; expected offsets in bytes")
    let encodings = try tokenizer.encodeBatch(texts, offsets: offsets, options, context: context, progress: progress)
    var counted = TokenStatistics()
    let unknown = unknownID ?? tokenizer.unknownId
    for (i, encoding) in encodings.enumerated() {
      let text = UnsafeBufferPointer(rebasing: texts[offsets[i]..<offsets[i + 1]])
      try encoding.ids.withUnsafeBufferPointer { (ids) throws(TamisError) in
        try encoding.starts.withUnsafeBufferPointer { (starts) throws(TamisError) in
          try encoding.ends.withUnsafeBufferPointer { (ends) throws(TamisError) in
            try counted.add(text, ids: ids, starts: starts, ends: ends, unknownID: unknown)
          }
        }
      }
    }
    merge(counted)
  }
}
