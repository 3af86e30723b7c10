import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// One call of `ACT.attend`, the context's lock held: attention, column sums, sinks, and each row put right.
struct ACTCall {
  /// Rows of more mass m in S are made of attention over S and over the rest. To take o_S from the whole, as other rows do,
  /// would magnify its rounding errors by 1 / (1 - m).
  static let mostSubtracted = 0.75
  /// A row with less mass than this outside S stays as it is.
  static let leastRest = 1e-6
  /// Rows that are put right at a time.
  private static let block = 4096
  /// Up to so many queries, a step of decoding, memory stays with the state.
  private static let fewQueries = 8
  /// Outputs that are not f32 are made in f32 first: all heads at once up to this many bytes, else one KV head after the other.
  private static let mostWide = 64 << 20

  let backend: any Backend
  let q, k, v: TensorView
  let rule: AttentionRule
  let mask: DenseMask
  let options: ACT.Options
  let calibrated: [Bool]
  let state: ACTState
  let out: TensorView
  let lse: TensorView?

  private var c: Int { q.shape[1] }
  private var d: Int { q.shape[2] }
  private var keys: Int { k.shape[1] }
  private var group: Int { q.shape[0] / k.shape[0] }

  func run(_ progress: Progress?) throws(TamisError) {
    let heads = q.shape[0]
    let isWide = out.dtype == .f32
    let slices = isWide || c <= Self.fewQueries || heads * c * d * 4 <= Self.mostWide ? 1 : k.shape[0]
    let perSlice = heads / slices
    let scratch = c <= Self.fewQueries ? state.scratch : Scratch()
    let memory = Memory(
      scratch, sums: calibrated.count { $0 } * keys, lse: lse == nil ? perSlice * c : 0, wide: isWide ? 0 : perSlice * c * d,
      rows: min(c, Self.block), d: d, keys: keys)
    let rows = ACTState.Rows(columns: keys, offset: mask.queryOffset, queries: c, window: rule.window)
    var sums = memory.sums
    for slice in 0..<slices {
      let part: Progress? = progress.map { whole in { done in whole((Double(slice) + done) / Double(slices)) } }
      let range = slice * perSlice..<(slice + 1) * perSlice
      try run(range, rows, &sums, memory, part)
    }
    state.commit(rows, calibrated: calibrated, sums: memory.sums)
  }

  private struct Memory {
    let sums: UnsafeMutablePointer<Double>
    let lse, wide, sinkOut, sinkLSE, restOut, restLSE: UnsafeMutablePointer<Float>
    let rest: UnsafeMutablePointer<Int32>
    let isDense: UnsafeMutablePointer<Bool>

    init(_ scratch: Scratch, sums: Int, lse: Int, wide: Int, rows: Int, d: Int, keys: Int) {
      func bytes(_ floats: Int) -> Int { Scratch.bytes(Float.self, floats) }
      scratch.reset(
        reserving: Scratch.bytes(Double.self, sums) + bytes(lse) + bytes(wide) + 2 * bytes(rows * d) + 2 * bytes(rows)
          + Scratch.bytes(Int32.self, keys) + Scratch.bytes(Bool.self, rows))
      func floats(_ count: Int) -> UnsafeMutablePointer<Float> { scratch.take(Float.self, count) }
      self.sums = scratch.take(Double.self, sums)
      self.sums.initialize(repeating: 0, count: sums)
      (self.lse, self.wide) = (floats(lse), floats(wide))
      (sinkOut, restOut, sinkLSE, restLSE) = (floats(rows * d), floats(rows * d), floats(rows), floats(rows))
      rest = scratch.take(Int32.self, keys)
      isDense = scratch.take(Bool.self, rows)
    }
  }

  /// The heads of a slice; `sums` moves past those it calibrates.
  private func run(
    _ heads: Range<Int>, _ rows: ACTState.Rows, _ sums: inout UnsafeMutablePointer<Double>, _ memory: Memory,
    _ progress: Progress?
  ) throws(TamisError) {
    let (first, n) = (heads.lowerBound, heads.count)
    let q = q.narrowed(0, from: first, count: n)
    let (k, v) = (k.narrowed(0, from: first / group, count: n / group), v.narrowed(0, from: first / group, count: n / group))
    let lse = lse?.narrowed(0, from: first, count: n) ?? TensorView(memory.lse, .f32, shape: [n, c])
    let result = out.narrowed(0, from: first, count: n)
    let wide = out.dtype == .f32 ? result : TensorView(memory.wide, .f32, shape: [n, c, d])
    var rule = rule
    rule.keyZeroBias = rule.keyZeroBias.map { $0 + first }
    func share(_ from: Double, _ to: Double) -> Progress? {
      progress.map { whole in { done in whole(from + done * (to - from)) } }
    }
    try backend.attend(q: q, k: k, v: v, rule: rule, mask: mask, out: wide, lse: lse, progress: share(0, 0.5))
    let chosen = (0..<n).filter { calibrated[first + $0] }
    if !chosen.isEmpty {
      try backend.addColumnSums(
        q: q, k: k, rule: rule, mask: mask, lse: lse, heads: chosen, to: sums, stride: keys, progress: share(0.5, 0.9))
    }
    for h in chosen {
      state.findSinks(
        head: first + h, rows, adding: sums, threshold: options.threshold, minRows: options.minRows)
      sums += keys
      if options.beta != 1 && !state.next[first + h].isEmpty {
        var one = rule
        one.keyZeroBias = rule.keyZeroBias.map { $0 + h }
        try calibrate(
          q: q.narrowed(0, from: h, count: 1), k: k.narrowed(0, from: h / group, count: 1),
          v: v.narrowed(0, from: h / group, count: 1), rule: one, sinks: state.next[first + h],
          out: wide.narrowed(0, from: h, count: 1), lse: lse.narrowed(0, from: h, count: 1), memory)
      }
      if let progress, !progress(0.9 + 0.1 * Double(h + 1) / Double(n)) {
        throw TamisError(.cancelled, "progress returned 0")
      }
    }
    if out.dtype != .f32 { store(wide, to: result) }
  }

  private func store(_ wide: TensorView, to out: TensorView) {
    let (heads, c, d) = (wide.shape[0], c, d)
    backend.parallel(heads) { h in
      for i in 0..<c {
        TensorRows.store(
          wide.row(h, i).assumingMemoryBound(to: Float.self), count: d, to: out.row(h, i), out.dtype, stride: out.stride[2],
          Kernels.active)
      }
    }
  }

  // MARK: one head

  private func calibrate(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, sinks: [Int32], out: TensorView, lse: TensorView,
    _ memory: Memory
  ) throws(TamisError) {
    var restCount = 0
    for start in stride(from: 0, to: c, by: Self.block) {
      let n = min(Self.block, c - start)
      var mask = mask
      mask.queryOffset += start
      if mask.queryOffset + n <= Int(sinks[0]) { continue }  // none of these rows sees a sink
      let (q, out, lse) = (
        q.narrowed(1, from: start, count: n), out.narrowed(1, from: start, count: n), lse.narrowed(1, from: start, count: n))
      try attend(q, k, v, sinks.span, rule, mask, memory.sinkOut, memory.sinkLSE)
      subtract(n, out, lse, memory)

      // The rows whose mass is mostly in S, in runs: a row's answer does not depend on those around it.
      var row = 0
      while row < n {
        if !memory.isDense[row] {
          row += 1
          continue
        }
        var (end, next) = (row + 1, row + 1)
        while next < min(n, end + 32) {
          next += 1
          if memory.isDense[next - 1] { end = next }
        }
        if restCount == 0 { restCount = listRest(sinks, memory) }
        var at = mask
        at.queryOffset += row
        let rest = UnsafeBufferPointer(start: memory.rest, count: restCount)
        try attend(
          q.narrowed(1, from: row, count: end - row), k, v, rest.span, rule, at, memory.restOut, memory.restLSE)
        for i in row..<end where memory.isDense[i] { combine(i, rest: i - row, out, memory) }
        row = end
      }
    }
  }

  /// Attention of q [1, n, d] over listed keys, to packed rows.
  private func attend(
    _ q: TensorView, _ k: TensorView, _ v: TensorView, _ tokens: Span<Int32>, _ rule: AttentionRule, _ mask: DenseMask,
    _ out: UnsafeMutablePointer<Float>, _ lse: UnsafeMutablePointer<Float>
  ) throws(TamisError) {
    let n = q.shape[1]
    let (out, lse) = (TensorView(out, .f32, shape: [1, n, d]), TensorView(lse, .f32, shape: [1, n]))
    try tokens.withUnsafeBufferPointer { (tokens) throws(TamisError) in
      try backend.attend(q: q, k: k, v: v, tokens: tokens, rule: rule, mask: mask, out: out, lse: lse)
    }
  }

  /// All columns but S.
  private func listRest(_ sinks: [Int32], _ memory: Memory) -> Int {
    var (count, next) = (0, 0)
    for j in 0..<keys {
      if next < sinks.count && Int(sinks[next]) == j {
        next += 1
      } else {
        memory.rest[count] = Int32(truncatingIfNeeded: j)
        count += 1
      }
    }
    return count
  }

  /// o' = beta o_S + w (o - o_S) = w o + (beta - w) o_S with w = 1 + (1 - beta) m / (1 - m), o_S = m times attention over S.
  private func subtract(_ n: Int, _ out: TensorView, _ lse: TensorView, _ memory: Memory) {
    let (beta, d, piece) = (Double(options.beta), d, 256)
    backend.parallel((n + piece - 1) / piece) { task in
      for i in task * piece..<min(n, (task + 1) * piece) {
        let all = Double(lse.row(0, i).load(as: Float.self))
        let m = exp(Double(memory.sinkLSE[i]) - all)
        memory.isDense[i] = m > Self.mostSubtracted
        if !(m > 0) || memory.isDense[i] { continue }
        let w = 1 + (1 - beta) * m / (1 - m)
        let (a, b) = (Float(w), Float((beta - w) * m))
        let (o, step) = (out.row(0, i).assumingMemoryBound(to: Float.self), out.stride[2])
        let s = memory.sinkOut + i * d
        for x in 0..<d { o[x * step] = a * o[x * step] + b * s[x] }
      }
    }
  }

  /// o' = beta m a_S + (1 - beta m) a_R, from attention over S and over the rest, each normalised by itself.
  private func combine(_ i: Int, rest: Int, _ out: TensorView, _ memory: Memory) {
    let outside = 1 / (1 + exp(Double(memory.sinkLSE[i]) - Double(memory.restLSE[rest])))
    if !(outside >= Self.leastRest) { return }
    let sink = Double(options.beta) * (1 - outside)
    let (a, b) = (Float(sink), Float(1 - sink))
    let (o, step) = (out.row(0, i).assumingMemoryBound(to: Float.self), out.stride[2])
    let (s, r) = (memory.sinkOut + i * d, memory.restOut + rest * d)
    for x in 0..<d { o[x * step] = a * s[x] + b * r[x] }
  }
}
