public import TamisCore
public import TamisDevice

/// What a sparse prefill method sees: one batch element, rotated queries and keys.
public struct SparseInput: @unchecked Sendable {
  /// [heads, queries, headDim]; f32, f16 or bf16.
  public var q: TensorView
  /// [kvHeads, keys, headDim]; f32, f16, bf16 or i8, rows contiguous.
  public var k: TensorView
  /// scale, soft cap and window.
  public var rule: AttentionRule
  /// causal and queryOffset.
  public var mask: DenseMask

  public init(q: TensorView, k: TensorView, rule: AttentionRule, mask: DenseMask) {
    self.q = q
    self.k = k
    self.rule = rule
    self.mask = mask
  }

  public var heads: Int { q.shape[0] }
  public var kvHeads: Int { k.shape[0] }
  public var group: Int { heads / kvHeads }
  public var queries: Int { q.shape[1] }
  public var keys: Int { k.shape[1] }
  public var headDim: Int { q.shape[2] }

  /// Keys that query i may see.
  public func legal(_ i: Int) -> Range<Int> { mask.seen(by: i, window: rule.window, of: keys) }
}

/// A method of sparse prefill: scores key tiles and spends a budget on them; it never attends. One file each.
///
/// Called with the context's lock held. Rows of lists are independent tasks: `backend.parallel` runs them, and what they write
/// must not depend on their order.
public protocol TileSelector: Sendable {
  var queryBlock: Int { get }
  var keyBlock: Int { get }
  /// 1, kvHeads or heads of the input.
  func listHeads(_ input: SparseInput) -> Int
  /// `listHeads * ceil(queries / queryBlock)` lists, head major, each strictly ascending, without a tile that no query of the
  /// block may see (but for the literal `compat` forms).
  /// - Throws: `invalidArgument`, `outOfMemory`, `cancelled`.
  func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection
}

public struct TileSelection {
  public var rows: [ContiguousArray<Int32>]
  /// DHSA: chunk boundaries from 0 to keys.
  public var boundaries: [Int64] = []

  public init(rows: [ContiguousArray<Int32>], boundaries: [Int64] = []) {
    self.rows = rows
    self.boundaries = boundaries
  }
}
