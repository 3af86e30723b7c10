#if canImport(Glibc)
import Glibc
#endif

/// torchmetrics 1.9.0 `bleu_score` on counts, in float32: 0 as soon as one order has no match, whatever the smoothing; add-k is
/// its `smooth`: (c + 1) / (t + 1) for n above 1.
struct TorchMetricsBLEU {
  let options: BLEUOptions

  func score(_ row: NGramStatistics.Row, weights: [Double]?) -> Double {
    let orders = options.orders
    if (1...orders).contains(where: { row.matches($0) == 0 }) { return 0 }
    var sum: Float = 0
    for n in 1...orders {
      var (c, t) = (Float(row.matches(n)), Float(row.total(n)))
      if options.smoothing == .addK && n > 1 {
        c += 1
        t += 1
      }
      let w = weights.map { n <= $0.count ? $0[n - 1] : 0 } ?? 1 / Double(orders)
      sum += Float(w) * logf(c / t)
    }
    let (h, r) = (Float(row.length), Float(row.referenceLength))
    return Double((h > r ? 1 : expf(1 - r / h)) * expf(sum))
  }
}
