public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Rates of some counted tokens; NaN where the count below the line is 0. Entropies are in bits.
public struct TokenReport: Sendable {
  public var fertility = 0.0
  public var continuedWordRate = 0.0
  public var wholeWordRate = 0.0
  public var bytesPerToken = 0.0
  public var codePointsPerToken = 0.0
  public var unknownRate = 0.0
  public var tokensPerText = 0.0
  public var shannonEntropy = 0.0
  public var shannonEfficiency = 0.0
  public var renyiEntropy = 0.0
  public var renyiEfficiency = 0.0
  public var percentileFrequency = 0.0
  public var bits = 0.0
}

public struct TokenReportOptions: Sendable {
  /// Order of the Renyi entropy.
  public var alpha = 3.0
  /// The size that efficiencies are taken of; nil: the different ids seen.
  public var vocabulary: Int?
  /// Share of the ids by falling frequency.
  public var percentiles = (from: 0.03, to: 0.83)
  public init() {}
}

/// Entropies of a distribution given by counts (Zouhar et al. 2023, tokenization-scorer 1.1.8), in bits.
public enum TokenEntropy {
  /// log2(sum p^alpha) / (1 - alpha); alpha 1: - sum p log2 p; infinity: - log2 of the largest p. NaN of no count.
  public static func renyi(_ counts: [Int], alpha: Double) -> Double {
    let total = Double(counts.reduce(0, +))
    guard total > 0, let largest = counts.max() else { return .nan }
    if alpha == 1 {
      var sum = 0.0
      for count in counts where count > 0 {
        let p = Double(count) / total
        sum -= p * log2(p)
      }
      return sum + 0  // no negative zero
    }
    let top = Double(largest) / total
    if alpha == .infinity { return 0 - log2(top) }
    // (p / top)^alpha keeps large orders from underflowing.
    var sum = 0.0
    for count in counts where count > 0 { sum += pow(Double(count) / Double(largest), alpha) }
    return max((log2(sum) + alpha * log2(top)) / (1 - alpha), 0)
  }

  /// An entropy over that of `vocabulary` equal shares; 0 for one.
  public static func efficiency(_ entropy: Double, vocabulary: Int) -> Double {
    vocabulary == 1 ? 0 : entropy / log2(Double(vocabulary))
  }

  /// Share of the tokens whose ids hold places [int(n from), int(n to)) of n by falling frequency, with the package's rule for
  /// ranges that reach the end or are empty.
  public static func percentileFrequency(_ falling: [Int], from: Double, to: Double) -> Double {
    let total = Double(falling.reduce(0, +))
    guard total > 0 else { return .nan }
    let last = falling.count - 1
    var start = min(Int(Double(falling.count) * from), last)
    var end = min(Int(Double(falling.count) * to), last)
    if start == end { start = max(0, start - 1) }
    if start == end { end = min(last, end + 1) }
    return start < end ? Double(falling[start..<end].reduce(0, +)) / total : 0
  }
}

extension TokenReportOptions {
  /// - Throws: `invalidArgument`, in the words of the C header.
  public func validate() throws(TamisError) {
    try require(alpha >= 0, "options->alpha is \(alpha); expected a number of at least 0")
    try require(vocabulary.map { $0 >= 1 } ?? true, "options->vocabulary is \(vocabulary ?? 0); expected at least 0")
    try require(
      percentiles.from >= 0 && percentiles.from <= percentiles.to && percentiles.to <= 1,
      "options->percentile_from is \(percentiles.from) and percentile_to \(percentiles.to); expected 0 <= from <= to <= 1")
  }
}

extension TokenStatistics {
  /// - Throws: `invalidArgument`: an option out of its range.
  public func report(_ options: TokenReportOptions = .init()) throws(TamisError) -> TokenReport {
    try options.validate()
    func ratio(_ a: Int, _ b: Int) -> Double { b == 0 ? .nan : Double(a) / Double(b) }
    let falling = frequencies.map(\.count)
    let size = options.vocabulary ?? falling.count
    var report = TokenReport()
    report.fertility = ratio(sums.tokens, sums.words)
    report.continuedWordRate = ratio(sums.continuedWords, sums.alignedWords)
    report.wholeWordRate = ratio(sums.wholeWords, sums.alignedWords)
    report.bytesPerToken = ratio(sums.bytes, sums.tokens)
    report.codePointsPerToken = ratio(sums.codePoints, sums.tokens)
    report.unknownRate = ratio(sums.unknownTokens, sums.tokens)
    report.tokensPerText = ratio(sums.tokens, sums.texts)
    report.shannonEntropy = TokenEntropy.renyi(falling, alpha: 1)
    report.shannonEfficiency = TokenEntropy.efficiency(report.shannonEntropy, vocabulary: size)
    report.renyiEntropy = TokenEntropy.renyi(falling, alpha: options.alpha)
    report.renyiEfficiency = TokenEntropy.efficiency(report.renyiEntropy, vocabulary: size)
    report.percentileFrequency = TokenEntropy.percentileFrequency(
      falling, from: options.percentiles.from, to: options.percentiles.to)
    report.bits = falling.isEmpty ? .nan : 0 - Double(sums.tokens) * log2(Double(falling.count))
    return report
  }
}
