public import TamisCore
public import TamisDevice

extension PromptCompressor {
  /// From parts that are loaded.
  public convenience init(
    encoder: TextEncoder, tokenizer: Tokenizer, counting: Tokenizer? = nil, chunkTokens: Int = 0, batchChunks: Int = 50,
    maxForceTokens: Int = 100
  ) throws(TamisError) {
    guard encoder.config.labels.count == 2 else {
      throw TamisError(
        .unsupported, "encoder has a head of \(encoder.config.labels.count) labels; expected 2, of which label 1 is \"keep\"")
    }
    try self.init(
      scorer: encoder, tokenizer: tokenizer, counter: counting, chunkTokens: chunkTokens, batchChunks: batchChunks,
      maxForceTokens: maxForceTokens)
  }

  /// From a folder with an encoder and its tokenizer; nil: the compressor that comes with the library.
  /// - Parameters:
  ///   - counting: a tokenizer, or a .tiktoken file of ranks, to count with; nil: the encoder's tokens.
  ///   - placeholders: adds rows for the placeholders of compat mode to the encoder.
  public convenience init(
    path: String? = nil, counting: String? = nil, context: Context, precision: LinearPrecision? = nil, chunkTokens: Int = 0,
    batchChunks: Int = 50, maxForceTokens: Int = 100, placeholders: Bool = false, progress: Progress? = nil
  ) throws(TamisError) {
    try Self.check(maxForceTokens: maxForceTokens)
    let folder = if let path { path } else { try DefaultModel.path() }
    let tokenizer = try Tokenizer(path: folder)
    let counter: Tokenizer? = if let counting { try Tokenizer(path: counting) } else { nil }
    let encoder = try TextEncoder(
      path: folder, context: context, precision: precision, addedRows: placeholders ? maxForceTokens : 0, progress: progress)
    try self.init(
      encoder: encoder, tokenizer: tokenizer, counting: counter, chunkTokens: chunkTokens, batchChunks: batchChunks,
      maxForceTokens: maxForceTokens)
  }
}
