public import TamisCore
public import TamisDevice

/// Which keys each block of queries of a prompt needs, by a method, and exact attention over those (include/tamis/sparse_prefill.h).
public enum SparsePrefill {
  /// The tiles that a method chooses.
  /// - Parameters:
  ///   - q: [batch, heads, queries, headDim] or without batch; f32, f16 or bf16.
  ///   - k: [batch, kvHeads, keys, headDim]; f32, f16, bf16 or i8, rows contiguous.
  ///   - shareGroup: one list per KV head, the union of those of its query heads.
  /// - Throws: `invalidArgument`, `unsupported`, `outOfMemory`, `cancelled`.
  public static func select(
    _ context: Context, _ selector: any TileSelector, shareGroup: Bool = false, q: TensorView, k: TensorView,
    rule: AttentionRule, mask: DenseMask, progress: Progress?
  ) throws(TamisError) -> TileMask {
    try require(rule.scale.isFinite && rule.scale > 0, "scale is \(rule.scale); expected a finite number above 0")
    let batch = q.ndim == 4 ? q.shape[0] : 1
    return try context.withLock { () throws(TamisError) in
      var rows: [ContiguousArray<Int32>] = []
      var boundaries: [Int64] = []
      var heads = 0
      for b in 0..<batch {
        let input = SparseInput(
          q: q.ndim == 4 ? q.slice(b) : q, k: k.ndim == 4 ? k.slice(b) : k, rule: rule, mask: mask)
        let part: Progress? = progress.map { whole in { done in whole((Double(b) + done) / Double(batch)) } }
        let chosen = try selector.select(input, on: context.backend, progress: part)
        heads = selector.listHeads(input)
        if shareGroup && heads == input.heads && input.group > 1 {
          rows += unions(chosen.rows, group: input.group, blocks: input.blocks(of: selector.queryBlock))
          heads = input.kvHeads
        } else {
          rows += chosen.rows
        }
        boundaries = chosen.boundaries
      }
      return TileMask(
        batch: batch, heads: heads, queries: q.shape[q.ndim - 2], keys: k.shape[k.ndim - 2], queryBlock: selector.queryBlock,
        keyBlock: selector.keyBlock, rows: rows, boundaries: boundaries)
    }
  }

  /// Lists of `group` consecutive heads become one.
  private static func unions(_ rows: [ContiguousArray<Int32>], group: Int, blocks: Int) -> [ContiguousArray<Int32>] {
    (0..<rows.count / group).map { r in
      let (kvHead, block) = (r / blocks, r % blocks)
      var union = rows[kvHead * group * blocks + block]
      for h in 1..<group { union = merged(union, rows[(kvHead * group + h) * blocks + block]) }
      return union
    }
  }
}

/// Two ascending lists as one.
func merged(_ a: ContiguousArray<Int32>, _ b: ContiguousArray<Int32>) -> ContiguousArray<Int32> {
  var list = ContiguousArray<Int32>()
  list.reserveCapacity(a.count + b.count)
  var (i, j) = (0, 0)
  while i < a.count || j < b.count {
    let next = i == a.count ? b[j] : j == b.count ? a[i] : min(a[i], b[j])
    if i < a.count && a[i] == next { i += 1 }
    if j < b.count && b[j] == next { j += 1 }
    list.append(next)
  }
  return list
}
