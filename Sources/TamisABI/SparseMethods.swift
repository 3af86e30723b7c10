// The options of sparse_prefill.h as the Swift methods they name.
import CTamis
import Tamis

/// Here a number of the C API becomes a method.
struct SparseMethod {
  let selector: any TileSelector
  let shareGroup: Bool
  /// Of tamis_sparse_attention.
  let pvThreshold: Float

  init(_ raw: tamis_sparse_options, q: TensorView, k: TensorView, mask: DenseMask) throws(TamisError) {
    shareGroup = try flag(raw.share_group, "options->share_group")
    let sparge = raw.method == TAMIS_SPARSE_SPARGE
    let threshold = try finite(raw.pv_threshold, "options->pv_threshold", from: -1)
    try require(
      threshold == -1 || threshold >= 0, "options->pv_threshold is \(threshold); expected -1 (off), 0 (the method's own) or more")
    pvThreshold = threshold == -1 ? 0 : threshold == 0 ? (sparge ? 50 : 0) : threshold
    do throws(TamisError) {
      selector = try Self.selector(raw, heads: q.shape[q.ndim - 3])
    } catch {
      // The methods name their fields as the struct does.
      throw TamisError(error.status, "options->" + error.message)
    }
  }

  private static func selector(_ raw: tamis_sparse_options, heads: Int) throws(TamisError) -> any TileSelector {
    let fields = Fields(raw, heads: heads)
    switch raw.method {
    case TAMIS_SPARSE_DENSE:
      return try AllTiles(queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64))
    case TAMIS_SPARSE_DHSA_TOPK, TAMIS_SPARSE_DHSA_A:
      return try StructuredTopK(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), density: fields.density, score: fields.score(),
        forced: raw.method == TAMIS_SPARSE_DHSA_A ? .last : .diagonal,
        rowBudgets: raw.method == TAMIS_SPARSE_DHSA_A ? nil : fields.rowBudgets())
    case TAMIS_SPARSE_BLOCK:
      return try BlockSparse(queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), budget: fields.blockBudget())
    case TAMIS_SPARSE_XATTENTION:
      return try XAttention(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(128), stride: fields.number(raw.stride, "stride", 8),
        coverage: fields.share(raw.coverage, 0.9), headCoverage: fields.headCoverage())
    default:
      throw .invalid("method is \(raw.method); expected one of TAMIS_SPARSE_DENSE to TAMIS_SPARSE_COMPAT_DHSA_VSB")
    }
  }
}

/// Fields as the methods take them: 0 is the method's own default. What remains to be checked the methods check.
private struct Fields {
  let raw: tamis_sparse_options
  let heads: Int

  init(_ raw: tamis_sparse_options, heads: Int) {
    self.raw = raw
    self.heads = heads
  }

  func queryBlock(_ own: Int = 128) -> Int { raw.query_block == 0 ? own : Int(raw.query_block) }
  func keyBlock(_ own: Int) -> Int { raw.key_block == 0 ? own : Int(raw.key_block) }
  var density: Float { share(raw.density, 0.125) }

  func share(_ value: Float, _ own: Float) -> Float { value == 0 ? own : value }

  func number(_ value: Int32, _ name: String, _ own: Int) throws(TamisError) -> Int {
    try require(value >= 0, "\(name) is \(value); expected at least 0 (\(own))")
    return value == 0 ? own : Int(value)
  }

  func score() throws(TamisError) -> BlockScore {
    guard let score = BlockScore(rawValue: raw.score) else {
      throw .invalid("score is \(raw.score); expected TAMIS_BLOCK_SCORE_LSE8 or TAMIS_BLOCK_SCORE_MEAN")
    }
    return score
  }

  func rowBudgets() throws(TamisError) -> RowBudgets? {
    if raw.row_min == 0 && raw.row_max == 0 { return nil }
    return try RowBudgets(lower: raw.row_min, upper: raw.row_max)
  }

  func blockBudget() throws(TamisError) -> BlockSparse.Budget {
    if raw.budget == -1 { return .all }
    if raw.budget == 0 { return .density(density) }
    return .tokens(Int(min(raw.budget, Int64(Int32.max))))
  }

  func headCoverage() throws(TamisError) -> [Float]? {
    guard let shares = raw.head_coverage else { return nil }
    try requireAligned(shares, 4, "head_coverage")
    try requireExtent(shares, heads, "head_coverage")
    return Array(UnsafeBufferPointer(start: shares, count: heads))
  }
}
