import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

extension CPUBackend {
  /// Attention as it is written: S = Q K^T by sgemm, softmax of the rows, O = P V by sgemm, for one head and a block of queries
  /// at a time. The reference of the tiled form and the baseline of its benchmarks.
  func attendPlain(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError) {
    try blas.load()
    let d = q.shape[2]
    let n = k.shape[1]
    let c = q.shape[1]
    let group = q.shape[0] / k.shape[0]
    let block = 64
    shared.reset(
      reserving: 2 * Scratch.bytes(Float.self, n * d) + 2 * Scratch.bytes(Float.self, block * d)
        + Scratch.bytes(Float.self, block * n))
    let keys = shared.take(Float.self, n * d)
    let values = shared.take(Float.self, n * d)
    let queries = shared.take(Float.self, block * d)
    let o = shared.take(Float.self, block * d)
    let s = shared.take(Float.self, block * n)
    for h in 0..<q.shape[0] {
      if h % group == 0 {
        for t in 0..<n {
          k.loadRow(h / group, t, to: keys + t * d, kernels)
          v.loadRow(h / group, t, to: values + t * d, kernels)
        }
      }
      var first = 0
      while first < c {
        let rows = min(block, c - first)
        for i in 0..<rows { q.loadRow(h, first + i, to: queries + i * d, kernels) }
        if n > 0 { blas.multiply(rows, n, d, queries, d, keys, d, transposedB: true, s, n) }
        for i in 0..<rows {
          let token = mask.queryOffset + first + i
          let high = mask.causal ? min(max(token + 1, 0), n) : n
          let low = rule.window > 0 ? min(max(token - rule.window + 1, 0), n) : 0
          let row = s + i * n
          var m = -Float.infinity
          var l: Float = 0
          if low < high {
            kernels.pointee.scale_cap(row + low, high - low, rule.scale, rule.softcap)
            if low == 0, let bias = rule.keyZeroBias { row[0] += bias[h] }
            _ = kernels.pointee.softmax_block(row + low, high - low, 1.442_695_04, &m, &l)
            kernels.pointee.scale_by(row + low, high - low, 1 / l)
          }
          for t in 0..<min(low, n) { row[t] = 0 }
          for t in max(high, low)..<n { row[t] = 0 }
          if let lse {
            let value = l == 0 ? -Float.infinity : Float((Double(m) + log2(Double(l))) * 0.693_147_180_559_945_3)
            lse.data.assumingMemoryBound(to: Float.self)[h * lse.stride[0] + (first + i) * lse.stride[1]] = value
          }
        }
        if n > 0 {
          blas.multiply(rows, d, n, s, n, values, d, transposedB: false, o, d)
        } else {
          for i in 0..<rows * d { o[i] = 0 }
        }
        for i in 0..<rows { out.storeRow(h, first + i, from: o + i * d, kernels) }
        first += rows
      }
      if let progress, !progress(Double(h + 1) / Double(q.shape[0])) { throw TamisError(.cancelled, "progress returned 0") }
    }
  }
}
