import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// What a corpus came to.
public struct BLEUScore: Sendable {
  public var score: Double
  public var brevityPenalty: Double
  /// Percent for sacreBLEU, 0 to 1 otherwise; 0 beyond the orders that exist.
  public var precisions: [Double]
  /// As the score used them: add-k has added.
  public var matches: [Double]
  public var totals: [Double]
  public var length: Int64
  public var referenceLength: Int64
}

/// sacreBLEU 2.6.0 `compute_bleu`, bit by bit where the sum of logarithms is taken from left to right (CPython up to 3.11).
/// With weights, which the package lacks, sum w_n ln p_n / sum w_n over the orders in use.
struct SacreBLEU {
  let options: BLEUOptions

  func score(_ row: NGramStatistics.Row, weights: [Double]?) -> BLEUScore {
    let orders = options.orders
    var matches = (1...orders).map { Double(row.matches($0)) }
    var totals = (1...orders).map { Double(row.total($0)) }
    var precisions = [Double](repeating: 0, count: orders)
    let (h, r) = (row.length, row.referenceLength)
    var penalty = 1.0
    if h < r { penalty = h > 0 ? exp(1 - Double(r) / Double(h)) : 0 }
    func result(_ score: Double) -> BLEUScore {
      BLEUScore(
        score: score, brevityPenalty: penalty, precisions: precisions, matches: matches, totals: totals, length: h,
        referenceLength: r)
    }
    guard matches.contains(where: { $0 > 0 }) else { return result(0) }
    let smoothing = options.smoothing ?? .exponential
    var factor = 1.0
    var used = orders
    for n in 0..<orders {
      if smoothing == .addK && n > 0 {
        matches[n] += options.value ?? 1
        totals[n] += options.value ?? 1
      }
      if totals[n] == 0 { break }
      if options.effectiveOrder { used = n + 1 }
      if matches[n] == 0 {
        if smoothing == .exponential {
          factor *= 2
          precisions[n] = quotient(100, factor * totals[n])
        } else if smoothing == .floor {
          precisions[n] = quotient(100 * (options.value ?? 0.1), totals[n])
        }
      } else {
        precisions[n] = quotient(100 * matches[n], totals[n])
      }
    }
    var sum = 0.0
    var weight = 0.0
    for n in 0..<used {
      let logarithm = precisions[n] == 0 ? -9_999_999_999 : log(precisions[n])
      guard let weights else {
        sum += logarithm
        continue
      }
      if n < weights.count && weights[n] != 0 {
        sum += weights[n] * logarithm
        weight += weights[n]
      }
    }
    if weights == nil { weight = Double(used) }
    return result(weight == 0 ? 0 : penalty * exp(sum / weight))
  }

  private func quotient(_ a: Double, _ b: Double) -> Double {
    options.singlePrecision ? Double(Float(a) / Float(b)) : a / b
  }
}
