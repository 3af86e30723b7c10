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

  public var json: String {
    let contexts = result.contexts.map { context in
      "{\"kept\": \(context.kept), \"text\": \(quoted(context.text)), \"origin_tokens\": \(context.originTokens), "
        + "\"compressed_tokens\": \(context.compressedTokens), \"spans\": ["
        + context.spans.map { "[\($0.lowerBound), \($0.upperBound)]" }.joined(separator: ", ") + "]}"
    }
    return "{\"text\": \(quoted(result.text)), \"origin_tokens\": \(result.originTokens), "
      + "\"compressed_tokens\": \(result.compressedTokens), \"rate\": \(share), \"words\": \(result.wordCount), "
      + "\"words_kept\": \(result.keptWords), \"seconds\": \(result.seconds), \"contexts\": [\(contexts.joined(separator: ", "))]}"
  }

  private func tenths(_ x: Double) -> String { decimal(x, 10) }
  private func hundredths(_ x: Double) -> String { decimal(x, 100) }
  private func decimal(_ x: Double, _ scale: Double) -> String {
    guard x.isFinite, x < 1e12 else { return "many" }
    return "\((x * scale).rounded() / scale)"
  }

  private func quoted(_ bytes: [UInt8]) -> String {
    var out = "\""
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }
}
