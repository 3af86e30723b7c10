public import TamisCore

/// What a compression saved, as a line and as JSON.
public struct CompressionReport {
  private let result: Compression

  public init(_ result: Compression) { self.result = result }

  private var share: Double {
    result.originTokens == 0 ? 1 : Double(result.compressedTokens) / Double(result.originTokens)
  }

  /// "1234 tokens -> 617 (50.0 %, 2.0x), 980 words -> 488, 0.05 s".
  public var line: String {
    let ratio = share > 0 ? "\(tenths(1 / share))x" : "nothing left"
    return "\(result.originTokens) tokens -> \(result.compressedTokens) (\(tenths(100 * share)) %, \(ratio)), "
      + "\(result.originTokens - result.compressedTokens) saved, \(result.wordCount) words -> \(result.keptWords), "
      + "\(hundredths(result.seconds)) s"
  }

  /// Texts that are no UTF-8 carry U+FFFD.
  public var json: JSON {
    .members([
      "text": .string(String(decoding: result.text, as: UTF8.self)), "origin_tokens": .integer(Int64(result.originTokens)),
      "compressed_tokens": .integer(Int64(result.compressedTokens)), "rate": .number(share),
      "words": .integer(Int64(result.wordCount)), "words_kept": .integer(Int64(result.keptWords)),
      "seconds": .number(result.seconds), "contexts": .array(result.contexts.map(json)),
    ])
  }

  private func json(_ context: CompressedContext) -> JSON {
    let spans = context.spans.map { JSON.array([.integer(Int64($0.lowerBound)), .integer(Int64($0.upperBound))]) }
    return .members([
      "kept": .bool(context.kept), "text": .string(String(decoding: context.text, as: UTF8.self)),
      "origin_tokens": .integer(Int64(context.originTokens)), "compressed_tokens": .integer(Int64(context.compressedTokens)),
      "spans": .array(spans),
    ])
  }

  private func tenths(_ x: Double) -> String { decimal(x, 10) }
  private func hundredths(_ x: Double) -> String { decimal(x, 100) }
  private func decimal(_ x: Double, _ scale: Double) -> String {
    guard x.isFinite, x < 1e12 else { return "many" }
    return "\((x * scale).rounded() / scale)"
  }
}
