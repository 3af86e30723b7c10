import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// What a token tells, given what came before: I(x_t) = -ln p(x_t | x_<t) (arXiv 2310.06201, eq. 1), in nats.
public enum SelfInformation {
  /// logits [n, vocabulary] in any float dtype with contiguous rows: row t is what the model said before it saw ids[t].
  /// out[t] = ln sum_v exp(z_tv) - z_t,ids[t], sums in f64. A NaN in a row gives NaN, a row of -inf too.
  public static func of(
    _ ids: UnsafeBufferPointer<Int32>, logits: TensorView, into out: UnsafeMutablePointer<Float>, context: Context
  ) throws(TamisError) {
    let vocabulary = logits.shape[1]
    for t in 0..<ids.count {
      try require(
        ids[t] >= 0 && Int(ids[t]) < vocabulary, "ids[\(t)] is \(ids[t]); expected 0 to \(vocabulary - 1), the vocabulary")
    }
    let table = Kernels.active
    nonisolated(unsafe) let out = out
    try context.withLock { () throws(TamisError) in
      context.backend.parallel((ids.count + 15) / 16) { task in
        let row = UnsafeMutablePointer<Float>.allocate(capacity: vocabulary)
        defer { row.deallocate() }
        for t in task * 16..<min(ids.count, task * 16 + 16) {
          TensorRows.load(
            logits.data + t * logits.stride[0] * logits.dtype.size, logits.dtype, stride: logits.stride[1], scale: 1,
            count: vocabulary, to: row, table)
          out[t] = Float(information(UnsafeBufferPointer(start: row, count: vocabulary), Int(ids[t])))
        }
      }
    }
  }

  private static func information(_ z: UnsafeBufferPointer<Float>, _ id: Int) -> Double {
    var top = -Float.infinity
    for v in z {
      if v.isNaN { return .nan }
      if v > top { top = v }
    }
    // An infinite logit is the whole distribution; two of them share it.
    if top == .infinity {
      let certain = z.reduce(0) { $0 + ($1 == .infinity ? 1 : 0) }
      return z[id] == .infinity ? log(Double(certain)) : .infinity
    }
    var sum = 0.0
    for v in z { sum += exp(Double(v) - Double(top)) }
    return log(sum) + (Double(top) - Double(z[id]))
  }
}
