public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Which keys each block of queries of a prompt needs, by a method, and exact attention over those
/// (include/tamis/sparse_prefill.h).
public enum SparsePrefill {
  /// Prompts with fewer keys gain nothing from a selection.
  public static let denseBelow = 4096

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
    let (rule, mask) = Dense.bounded(rule, mask, queries: q.shape[q.ndim - 2], keys: k.shape[k.ndim - 2])
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

  /// `select` and exact attention over what it chose; dense where there are fewer than `denseBelow` keys.
  /// - Parameters:
  ///   - v: as `k`. out: as `q`. lse: [batch, heads, queries] f32.
  /// - Returns: the tiles, nil where the call was dense, and what was done.
  /// - Throws: `invalidArgument`, `unsupported`, `outOfMemory`, `device`, `cancelled`.
  public static func attend(
    _ context: Context, _ selector: any TileSelector, shareGroup: Bool = false, denseBelow: Int = SparsePrefill.denseBelow,
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError) -> (mask: TileMask?, stats: SparseStats) {
    var stats = SparseStats()
    let start = nanoseconds()
    var chosen: TileMask?
    if k.shape[k.ndim - 2] >= denseBelow {
      let part: Progress? = progress.map { whole in { whole(0.1 * $0) } }
      chosen = try select(
        context, selector, shareGroup: shareGroup, q: q, k: k, rule: rule, mask: mask, progress: part)
    }
    let middle = nanoseconds()
    let part: Progress? = progress.map { whole in { whole(0.1 + 0.9 * $0) } }
    try SparseAttention.attend(
      context, q: q, k: k, v: v, rule: rule, mask: mask, tiles: chosen?.lists(), out: out, lse: lse, progress: part)
    stats.attendNanoseconds = nanoseconds() - middle
    let heads = q.shape[q.ndim - 3]
    if let chosen {
      stats.selectNanoseconds = middle - start
      stats.isSparse = true
      stats.counts = chosen.counts(mask, window: rule.window, heads: heads)
    } else {
      stats.counts = legalCounts(selector, q: q, k: k, rule: rule, mask: mask)
    }
    return (chosen, stats)
  }

  /// What dense attention attends, in the method's tiles: all that is legal.
  private static func legalCounts(
    _ selector: any TileSelector, q: TensorView, k: TensorView, rule: AttentionRule, mask: DenseMask
  ) -> TileCounts {
    let queries = q.shape[q.ndim - 2]
    let blocks = (queries + selector.queryBlock - 1) / selector.queryBlock
    let none = TileMask(
      batch: q.ndim == 4 ? q.shape[0] : 1, heads: 1, queries: queries, keys: k.shape[k.ndim - 2],
      queryBlock: selector.queryBlock, keyBlock: selector.keyBlock,
      rows: .init(repeating: [], count: blocks * (q.ndim == 4 ? q.shape[0] : 1)))
    var counts = none.counts(mask, window: rule.window, heads: q.shape[q.ndim - 3])
    (counts.tilesListed, counts.pairsAttended) = (counts.tilesLegal, counts.pairsLegal)
    return counts
  }

  private static func nanoseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
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

/// What one call of `SparsePrefill.attend` did.
public struct SparseStats: Sendable, Equatable {
  /// False: dense, by `denseBelow`.
  public var isSparse = false
  public var counts = TileCounts()
  public var selectNanoseconds: Int64 = 0
  public var attendNanoseconds: Int64 = 0
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
