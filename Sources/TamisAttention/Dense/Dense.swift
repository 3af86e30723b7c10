public import TamisCore
public import TamisDevice

/// Exact attention over tensors, and the merge of partial results (include/tamis/attention.h).
public enum Dense {
  /// o_i = sum_j softmax_j(z_ij) v_j over the keys the mask allows.
  /// - Parameters:
  ///   - q: [batch, qHeads, qLen, headDim] or without batch; f32, f16 or bf16. `out` likewise.
  ///   - k: [batch, kvHeads, kLen, headDim]; f32, f16, bf16 or i8, rows contiguous. `v` has the same shape and dtype.
  ///   - lse: [batch, qHeads, qLen] f32: natural log of sum_j exp(z_ij).
  /// - Throws: `invalidArgument`, `unsupported`, `outOfMemory`, `cancelled`.
  public static func attend(
    _ context: Context, q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView,
    lse: TensorView?, progress: Progress?
  ) throws(TamisError) {
    try forEachElement(
      of: AttentionCall(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress), context
    ) { (backend, _, x) throws(TamisError) in
      try backend.attend(
        q: x.q, k: x.k, v: x.v, rule: x.rule, mask: x.mask, out: x.out, lse: x.lse, progress: x.progress)
    }
  }

  /// Checks a call and hands `body` its batch elements one after another, with the context's lock held.
  static func forEachElement(
    of call: AttentionCall, _ context: Context,
    _ body: (_ backend: any Backend, _ batch: Int, _ element: AttentionCall) throws(TamisError) -> Void
  ) throws(TamisError) {
    try check(q: call.q, k: call.k, v: call.v, out: call.out, lse: call.lse)
    let rule = call.rule
    try require(rule.scale.isFinite && rule.scale > 0, "scale is \(rule.scale); expected a finite number above 0")
    try require(
      rule.softcap.isFinite && rule.softcap >= 0, "softcap is \(rule.softcap); expected 0 (none) or a finite number above 0")
    try require(rule.window >= 0, "window is \(rule.window); expected 0 (none) or more")
    var call = call
    (call.rule, call.mask) = bounded(
      call.rule, call.mask, queries: call.q.shape[call.q.ndim - 2], keys: call.k.shape[call.k.ndim - 2])
    let whole = call
    try context.withLock { () throws(TamisError) in
      if whole.q.ndim == 3 {
        try body(context.backend, 0, whole)
        return
      }
      let batch = whole.q.shape[0]
      for b in 0..<batch {
        var part = whole
        (part.q, part.k, part.v) = (whole.q.slice(b), whole.k.slice(b), whole.v.slice(b))
        (part.out, part.lse) = (whole.out.slice(b), whole.lse?.slice(b))
        part.progress = whole.progress.map { whole in { done in whole((Double(b) + done) / Double(batch)) } }
        try body(context.backend, b, part)
      }
    }
  }

  /// Query i sees keys with low < j - i <= offset. Beyond these ends nothing changes any more, and position arithmetic behind
  /// cannot overflow.
  static func bounded(
    _ rule: AttentionRule, _ mask: DenseMask, queries: Int, keys: Int
  ) -> (AttentionRule, DenseMask) {
    var (rule, mask) = (rule, mask)
    let offset = max(-queries, min(mask.queryOffset, keys + 1))
    if rule.window > 0 {
      let (low, overflow) = mask.queryOffset.subtractingReportingOverflow(rule.window)
      rule.window = offset - max(-queries - 1, min(overflow ? .min : low, keys))
    }
    mask.queryOffset = offset
    return (rule, mask)
  }

  private static func check(
    q: TensorView, k: TensorView, v: TensorView, out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    let n = q.ndim
    try require(n == 3 || n == 4, "q has \(n) dimensions; expected [heads, n, head_dim] or [batch, heads, n, head_dim]")
    for (x, name) in [(k, "k"), (v, "v"), (out, "out")] {
      try require(x.ndim == n, "\(name) has \(x.ndim) dimensions; expected \(n) as in q")
      try require(
        n == 3 || x.shape[0] == q.shape[0], "\(name): shape[0] is \(x.shape[0]); expected a batch of \(q.shape[0]) as in q")
      try require(
        x.shape[n - 1] == q.shape[n - 1],
        "\(name): shape[\(n - 1)] is \(x.shape[n - 1]); expected head_dim \(q.shape[n - 1]) as in q")
    }
    let d = q.shape[n - 1]
    if !(8...256).contains(d) || d % 8 != 0 {
      throw TamisError(.unsupported, "q: head_dim is \(d); expected a multiple of 8 from 8 to 256")
    }
    for i in 0..<n {
      try require(q.shape[i] >= 1, "q: shape[\(i)] is \(q.shape[i]); expected at least 1")
      try require(k.shape[i] >= 1, "k: shape[\(i)] is \(k.shape[i]); expected at least 1")
      try require(v.shape[i] == k.shape[i], "v: shape[\(i)] is \(v.shape[i]); expected \(k.shape[i]) as in k")
      try require(out.shape[i] == q.shape[i], "out: shape[\(i)] is \(out.shape[i]); expected \(q.shape[i]) as in q")
    }
    try require(
      q.shape[n - 3] % k.shape[n - 3] == 0,
      "q has \(q.shape[n - 3]) heads; expected a multiple of the \(k.shape[n - 3]) heads of k")
    for (x, name) in [(q, "q"), (out, "out")] where !x.dtype.isFloat {
      throw TamisError(.unsupported, "\(name) is \(x.dtype.name); expected f32, f16 or bf16")
    }
    for (x, name) in [(k, "k"), (v, "v")] {
      if !x.dtype.isFloat && x.dtype != .i8 {
        throw TamisError(.unsupported, "\(name) is \(x.dtype.name); expected f32, f16, bf16 or i8")
      }
      try require(
        x.stride[n - 1] == 1, "\(name): stride[\(n - 1)] is \(x.stride[n - 1]); expected 1, rows must be contiguous")
    }
    try require(v.dtype == k.dtype, "v is \(v.dtype.name); expected \(k.dtype.name) as in k")
    guard let lse else { return }
    try require(lse.dtype == .f32, "lse is \(lse.dtype.name); expected f32")
    try require(lse.ndim == n - 1, "lse has \(lse.ndim) dimensions; expected \(n - 1), those of q without the last")
    for i in 0..<n - 1 {
      try require(lse.shape[i] == q.shape[i], "lse: shape[\(i)] is \(lse.shape[i]); expected \(q.shape[i]) as in q")
    }
  }
}

/// The arguments of attention over tensors, of a batch or of one element of it.
struct AttentionCall {
  var q, k, v: TensorView
  var rule: AttentionRule
  var mask: DenseMask
  var out: TensorView
  var lse: TensorView?
  var progress: Progress?
}
