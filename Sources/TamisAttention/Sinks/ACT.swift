public import TamisCore
public import TamisDevice

/// Attention calibration (ACT, arXiv 2406.15765): in chosen heads, weights of sinks other than token 0 times beta, the freed
/// mass to the other tokens in proportion to their weights,
///
///     c_j = mean over the rows that see j of p_ij,   S = {j >= 1 : c_j > threshold},   m_i = sum over S of p_ij
///     p'_ij = beta p_ij (j in S),   p_ij (1 + (1 - beta) m_i / (1 - m_i)) (j not in S)
///
/// No table of weights: attention once, which gives the log-sum-exps; column sums of exp(z - lse) from scores computed again;
/// and attention over the few columns of S, o_S, by which each row is put right.
public enum ACT {
  public struct Options: Sendable {
    public var threshold: Float = 0.1
    public var beta: Float = 0.4
    /// Tokens that fewer rows have seen are no sinks.
    public var minRows = 1
    /// Which query heads are calibrated; nil: all.
    public var heads: [Bool]?

    public init() {}

    func check(heads count: Int) throws(TamisError) {
      try require(threshold.isFinite && threshold >= 0, "threshold is \(threshold); expected a finite number of at least 0")
      try require(beta >= 0 && beta <= 1, "beta is \(beta); expected 0 to 1")
      try require(minRows >= 1, "min_rows is \(minRows); expected at least 1")
      try require(
        heads == nil || heads!.count == count, "heads has \(heads?.count ?? 0) flags; expected one per query head (\(count))")
    }
  }

  /// One sequence: q [qHeads, qLen, headDim], k and v [kvHeads, kLen, headDim], out as q, lse [qHeads, qLen] of the attention
  /// before calibration.
  /// - Parameters:
  ///   - rule, mask: as of `Dense.attend`; causal.
  ///   - state: of the calls before, whose keys are the first of k; nil: the statistics are of this call's rows.
  /// - Throws: `invalidArgument`, `unsupported`, `outOfMemory`, `cancelled`. A state is then as it was.
  public static func attend(
    _ context: Context, q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, options: Options,
    state: ACTState? = nil, out: TensorView, lse: TensorView?, progress: Progress? = nil
  ) throws(TamisError) {
    try require(q.ndim == 3, "q has \(q.ndim) dimensions; expected 3: one sequence")
    let heads = q.shape[0]
    try options.check(heads: heads)
    if !mask.causal { throw TamisError(.unsupported, "causal is 0; expected 1: the calibration of ACT is of causal attention") }
    let isContinued = state != nil
    let state = if let state { state } else { try ACTState(context: context, qHeads: heads) }
    if isContinued {
      try require(state.context === context, "state was made on another context; expected one of this context")
      try require(state.qHeads == heads, "q has \(heads) heads; expected \(state.qHeads), those of state")
    }
    let flags = options.heads ?? .init(repeating: true, count: heads)
    let call = AttentionCall(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress)
    try Dense.forEachElement(of: call, context) { (backend, _, x) throws(TamisError) in
      if isContinued {
        try state.requireContinuation(
          offset: mask.queryOffset, qLen: q.shape[1], kLen: k.shape[1], calibrated: flags)
      }
      let call = ACTCall(
        backend: backend, q: x.q, k: x.k, v: x.v, rule: x.rule, mask: x.mask, options: options, calibrated: flags, state: state,
        out: x.out, lse: x.lse)
      try call.run(x.progress)
    }
  }
}
