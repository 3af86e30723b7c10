public import TamisCore
public import TamisDevice

/// Exact attention over lists of key tiles (include/tamis/sparse_attention.h).
public enum SparseAttention {
  /// o_i = sum_j softmax_j(z_ij) v_j over the legal keys of the tiles listed for query i's block, normalised over those alone.
  /// - Parameters:
  ///   - q: [batch, qHeads, qLen, headDim] or without batch; f32, f16 or bf16. `out` likewise.
  ///   - k: [batch, kvHeads, kLen, headDim]; f32, f16, bf16 or i8, rows contiguous. `v` has the same shape and dtype.
  ///   - tiles: checked lists of batch element 0, with 1, kvHeads or qHeads heads; those of the other elements follow them.
  ///     nil: dense.
  ///   - lse: [batch, qHeads, qLen] f32: natural log of sum_j exp(z_ij). A query with no legal listed key gives 0 and -inf.
  /// - Throws: `invalidArgument`, `unsupported`, `outOfMemory`, `device`, `cancelled`.
  public static func attend(
    _ context: Context, q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, tiles: TileLists?,
    out: TensorView, lse: TensorView?, progress: Progress?
  ) throws(TamisError) {
    if mask.blas {
      throw TamisError(.unsupported, "compute is TAMIS_COMPUTE_BLAS; expected TAMIS_COMPUTE_AUTO or TAMIS_COMPUTE_F32")
    }
    guard let tiles else {
      try Dense.attend(context, q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress)
      return
    }
    try Dense.forEachElement(
      of: AttentionCall(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress), context
    ) { (backend, batch, x) throws(TamisError) in
      let (heads, kvHeads) = (x.q.shape[0], x.k.shape[0])
      try require(
        tiles.heads == 1 || tiles.heads == kvHeads || tiles.heads == heads,
        "tiles have \(tiles.heads) heads; expected 1, \(kvHeads) (those of k) or \(heads) (those of q)")
      let blocks = (x.q.shape[1] + tiles.queryBlock - 1) / tiles.queryBlock
      try require(tiles.blocks == blocks, "tiles have \(tiles.blocks) query blocks; expected \(blocks)")
      try backend.attend(
        q: x.q, k: x.k, v: x.v, rule: x.rule, mask: x.mask, tiles: tiles.element(batch), out: x.out, lse: x.lse,
        progress: x.progress)
    }
  }
}
