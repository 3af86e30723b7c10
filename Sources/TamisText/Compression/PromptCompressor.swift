public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Shorter prompts: an encoder, its tokenizer and a tokenizer to count with (LLMLingua-2, arXiv 2403.12968;
/// include/tamis/compression.h). Any number of threads may use one.
public final class PromptCompressor: @unchecked Sendable {
  private let scorer: any KeepScorer
  private let tokenizer: any PieceTokenizer
  private let counter: (any PieceTokenizer)?
  private let chunkTokens: Int
  private let batchChunks: Int
  private let maxForceTokens: Int
  private let lock: UnsafeMutablePointer<pthread_mutex_t>
  /// The tokenizer with the placeholders of compat mode, made when it is first needed.
  private var withPlaceholders: (any PieceTokenizer)?

  /// - Parameters:
  ///   - counter: what tokens are counted with; nil: the encoder's tokens.
  ///   - chunkTokens: tokens per chunk, special tokens included; 0: as many as the encoder takes, at most 512.
  public init(
    scorer: any KeepScorer, tokenizer: any PieceTokenizer, counter: (any PieceTokenizer)? = nil, chunkTokens: Int = 0,
    batchChunks: Int = 50, maxForceTokens: Int = 100
  ) throws(TamisError) {
    let most = min(scorer.maxTokens, 512)
    try require(
      chunkTokens == 0 || (8...max(8, scorer.maxTokens)).contains(chunkTokens),
      "options->chunk_tokens is \(chunkTokens); expected 0, or 8 to \(scorer.maxTokens)")
    try require(
      (1...65536).contains(batchChunks), "options->batch_chunks is \(batchChunks); expected 1 to 65536")
    try Self.check(maxForceTokens: maxForceTokens)
    try require(
      tokenizer.pieceCount <= scorer.vocabularySize,
      "tokenizer has ids up to \(tokenizer.pieceCount - 1); expected at most \(scorer.vocabularySize - 1), the encoder's last "
        + "row")
    let template = tokenizer.template
    try require(
      !template.prefix.isEmpty && !template.suffix.isEmpty,
      "tokenizer has no [CLS] and [SEP] or <s> and </s>; expected the encoder's own tokenizer")
    try require(
      most > template.prefix.count + template.suffix.count + 4,
      "encoder takes \(scorer.maxTokens) tokens at a time; expected at least 8")
    self.scorer = scorer
    self.tokenizer = tokenizer
    self.counter = counter
    self.chunkTokens = chunkTokens == 0 ? most : chunkTokens
    self.batchChunks = batchChunks
    self.maxForceTokens = maxForceTokens
    lock = .allocate(capacity: 1)
    pthread_mutex_init(lock, nil)
  }

  static func check(maxForceTokens: Int) throws(TamisError) {
    try require(
      (0...10000).contains(maxForceTokens), "options->max_force_token is \(maxForceTokens); expected 0 to 10000")
  }

  deinit {
    pthread_mutex_destroy(lock)
    lock.deallocate()
  }

  /// Compresses the texts of a prompt.
  /// - Throws: `invalidArgument`, `outOfMemory`, `device`, `cancelled`.
  public func compress(
    _ texts: [UnsafeBufferPointer<UInt8>], _ options: CompressionOptions = .init(), progress: Progress? = nil
  ) throws(TamisError) -> Compression {
    try options.validate(maxForceTokens: maxForceTokens)
    for (i, text) in texts.enumerated() {
      try require(text.count <= Int(Int32.max), "texts[\(i)] has \(text.count) bytes; expected at most \(Int32.max)")
    }
    switch options.mode {
    case .native:
      var run = NativeCompression(
        scorer: scorer, tokenizer: tokenizer, counter: counter, options: options, chunkTokens: chunkTokens,
        batchChunks: batchChunks)
      return try run.run(texts, progress: progress)
    case .compat:
      var run = LLMLingua2(
        scorer: scorer, tokenizer: try placeholderTokenizer(), counter: counter ?? tokenizer, options: options,
        batchChunks: batchChunks)
      return try run.run(texts.map { Array($0) }, progress: progress)
    }
  }

  /// The same for one string.
  public func compress(_ text: String, _ options: CompressionOptions = .init(), progress: Progress? = nil) throws(TamisError)
    -> Compression
  {
    try compress(arrays: [Array(text.utf8)], options, progress: progress)
  }

  /// Tokens of a text as they are counted here.
  public func count(_ text: UnsafeBufferPointer<UInt8>) throws(TamisError) -> Int {
    text.isEmpty ? 0 : try (counter ?? tokenizer).count(text, parseSpecialTokens: false)
  }

  private func placeholderTokenizer() throws(TamisError) -> any PieceTokenizer {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    if let withPlaceholders { return withPlaceholders }
    let made = try tokenizer.addingSpecial((0..<maxForceTokens).map(LLMLingua2.placeholder))
    withPlaceholders = made
    return made
  }
}

extension PromptCompressor {
  /// Compresses texts in arrays.
  public func compress(arrays texts: [[UInt8]], _ options: CompressionOptions = .init(), progress: Progress? = nil)
    throws(TamisError) -> Compression
  {
    // one flat copy: a closure for each array would nest as deep as there are texts
    let total = texts.reduce(0) { $0 + $1.count }
    let flat = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, total))
    defer { flat.deallocate() }
    var list: [UnsafeBufferPointer<UInt8>] = []
    var at = 0
    for text in texts {
      let part = UnsafeMutableBufferPointer(rebasing: flat[at..<at + text.count])
      _ = part.initialize(from: text)
      list.append(UnsafeBufferPointer(part))
      at += text.count
    }
    return try compress(list, options, progress: progress)
  }
}
