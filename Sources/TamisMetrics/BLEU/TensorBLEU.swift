import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// TensorBLEU (arXiv 2510.05485) as its code computes, in float32: `exp` is a floor of 1e-12 for sentences and a halving for
/// a corpus, add-k adds to 1-grams too, and 1e-12 is inside the logarithm.
struct TensorBLEU {
  let options: BLEUOptions

  func sentence(_ row: NGramStatistics.Row, weights: [Double]?) -> Double {
    let smoothing = options.smoothing ?? .exponential
    var sum: Float = 0
    for n in 1...options.orders {
      let (c, t) = (Float(row.matches(n)), Float(row.total(n)))
      var p: Float
      switch smoothing {
      case .floor: p = (c == 0 ? Float(options.value ?? 0.1) : c) / (t == 0 ? 1 : t)
      case .addK: p = (c + Float(options.value ?? 1)) / (t + Float(options.value ?? 1))
      default:
        p = t > 0 ? c / t : 0
        if smoothing == .exponential && p == 0 { p = 1e-12 }
      }
      sum += weight(n, weights) * logf(p + 1e-12)
    }
    return Double(penalty(row) * expf(sum))
  }

  /// Counts of a corpus from which the orders and reference columns that the code skips are left out already.
  func corpus(_ row: NGramStatistics.Row, weights: [Double]?) -> Double {
    let smoothing = options.smoothing ?? .exponential
    var previous: Float = 0
    var sum: Float = 0
    for n in 1...options.orders {
      let (c, t) = (Float(row.matches(n)), Float(row.total(n)))
      var p: Float
      switch smoothing {
      case .floor: p = (c == 0 ? Float(options.value ?? 0.1) : c) / (t == 0 ? 1 : t)
      case .addK: p = (c + Float(options.value ?? 1)) / (t + Float(options.value ?? 1))
      default:
        if smoothing == .none && t == 0 { return 0 }
        p = t > 0 ? c / t : 0
        if smoothing == .exponential && p == 0 { p = n == 1 ? 1e-12 : previous / 2 }
      }
      previous = p
      sum += weight(n, weights) * logf(smoothing == .none ? p + 1e-12 : p)
    }
    return Double(penalty(row) * expf(sum))
  }

  /// Rows of a corpus as the code counts it: an order is dropped when any hypothesis is shorter, and a reference column is
  /// dropped
  /// from an order when any of its rows is shorter.
  func corpusStatistics(
    _ batch: ScoredBatch, _ counting: NGramStatistics.Options, context: Context, progress: Progress?
  ) throws(TamisError) -> NGramStatistics {
    var counting = counting
    var shortest = Int64.max
    for i in 0..<batch.hypotheses.count {
      shortest = min(shortest, NGramStatistics.length(batch.hypotheses[i], counting.excluded))
    }
    var columns: [Int32] = []
    for s in 0..<batch.segments {
      for (j, index) in batch.references(of: s).enumerated() {
        let length = Int32(clamping: NGramStatistics.length(batch.references[index], counting.excluded))
        if j < columns.count { columns[j] = min(columns[j], length) } else { columns.append(length) }
      }
    }
    counting.columnOrders = columns
    var statistics = try NGramStatistics.count(batch, counting, context: context, progress: progress)
    let orders = statistics.orders
    for n in 1...orders where Int64(n) > shortest {
      for i in 0..<statistics.count {
        statistics.rows[i * statistics.width + 1 + n] = 0
        statistics.rows[i * statistics.width + 1 + orders + n] = 0
      }
    }
    return statistics
  }

  private func weight(_ n: Int, _ weights: [Double]?) -> Float {
    guard let weights else { return 1 / Float(options.orders) }
    return n <= weights.count ? Float(weights[n - 1]) : 0
  }

  private func penalty(_ row: NGramStatistics.Row) -> Float {
    let (h, r) = (Float(row.length), Float(row.referenceLength))
    return h == 0 ? 0 : h < r ? expf(1 - r / h) : 1
  }
}
