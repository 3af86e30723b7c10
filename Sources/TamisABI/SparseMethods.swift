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
      threshold == -1 || threshold >= 0,
      "options->pv_threshold is \(threshold); expected -1 (off), 0 (the method's own) or more")
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
    case TAMIS_SPARSE_DHSA, TAMIS_SPARSE_COMPAT_DHSA:
      return try DHSA(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(32), granularity: fields.granularity(),
        chunks: fields.chunks(), pooling: fields.pooling(), budget: fields.chunkBudget(), sinks: fields.sinks(128),
        local: fields.tokens(raw.local, "local", 128), instructionTokens: fields.instructionTokens(),
        literal: raw.method == TAMIS_SPARSE_COMPAT_DHSA, headLists: flag(raw.head_lists, "head_lists"))
    case TAMIS_SPARSE_DHSA_TOPK, TAMIS_SPARSE_DHSA_A:
      return try StructuredTopK(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), density: fields.density, score: fields.score(),
        forced: raw.method == TAMIS_SPARSE_DHSA_A ? .last : .diagonal,
        rowBudgets: raw.method == TAMIS_SPARSE_DHSA_A ? nil : fields.rowBudgets())
    case TAMIS_SPARSE_BLOCK:
      return try BlockSparse(queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), budget: fields.blockBudget())
    case TAMIS_SPARSE_DHSA_VS:
      return try DHSAVerticalSlash(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), density: fields.density,
        ratio: fields.share(raw.vertical_ratio, 0.5),
        sampledRows: fields.number(raw.sampled_rows, "sampled_rows", min(64, max(1, fields.queryBlock()))))
    case TAMIS_SPARSE_DHSA_VSB, TAMIS_SPARSE_COMPAT_DHSA_VSB:
      return try DHSABlockSlash(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), density: fields.density,
        literal: raw.method == TAMIS_SPARSE_COMPAT_DHSA_VSB)
    case TAMIS_SPARSE_COMPAT_DHSA_TOPK:
      return try WholeRowTopK(queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), density: fields.density)
    case TAMIS_SPARSE_A_SHAPE:
      return try AShape(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), sinks: fields.sinks(128),
        local: fields.tokens(raw.local, "local", 3968))
    case TAMIS_SPARSE_VERTICAL_SLASH:
      return try VerticalSlash(
        queryBlock: fields.queryBlock(64), vertical: fields.number(raw.vertical, "vertical", 1000),
        slash: fields.number(raw.slash, "slash", 6096), lastQueries: fields.number(raw.sampled_rows, "sampled_rows", 64))
    case TAMIS_SPARSE_BLOCK_TOPK:
      return try BlockTopK(
        queryBlock: fields.queryBlock(64), keyBlock: fields.keyBlock(64),
        maxBlocks: fields.number(raw.max_blocks, "max_blocks", 100))
    case TAMIS_SPARSE_MINFERENCE:
      return try MInference(
        queryBlock: fields.queryBlock(64), patterns: fields.patterns(),
        lastQueries: fields.number(raw.sampled_rows, "sampled_rows", 64))
    case TAMIS_SPARSE_FLEXPREFILL:
      let most = try fields.tokens(raw.max_budget, "max_budget", Int.max)
      return try FlexPrefill(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(128), coverage: fields.share(raw.coverage, 0.9),
        distance: fields.similarity ?? 0.1, minBudget: fields.tokens(raw.min_budget, "min_budget", 1024),
        maxBudget: most == Int.max ? nil : most, sampledRows: fields.number(raw.sampled_rows, "sampled_rows", 128))
    case TAMIS_SPARSE_SPARGE:
      return try SpargeAttn(
        queryBlock: fields.queryBlock(), keyBlock: fields.keyBlock(64), budget: fields.spargeBudget(),
        similarity: fields.similarity, smoothKeys: fields.onOff(raw.smooth_keys, "smooth_keys"),
        keepsFirstTile: fields.onOff(raw.sinks, "sinks"))
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

  func tokens(_ value: Int64, _ name: String, _ own: Int) throws(TamisError) -> Int {
    try require(value >= 0, "\(name) is \(value); expected at least 0 (the method's own)")
    return value == 0 ? own : Int(value)
  }

  /// -1: none.
  func sinks(_ own: Int) throws(TamisError) -> Int {
    try require(raw.sinks >= -1, "sinks is \(raw.sinks); expected -1 (none), 0 (\(own)) or more")
    return raw.sinks == -1 ? 0 : raw.sinks == 0 ? own : Int(raw.sinks)
  }

  /// 0 and 1: on. -1: off.
  func onOff(_ value: Int32, _ name: String) throws(TamisError) -> Bool {
    try require((-1...1).contains(value), "\(name) is \(value); expected 1 (on) or -1 (off)")
    return value != -1
  }

  /// Below -1: the method's own.
  var similarity: Float? { raw.similarity < -1 ? nil : raw.similarity }

  func spargeBudget() throws(TamisError) -> SpargeAttn.Budget {
    if raw.coverage == 0 && raw.head_coverage == nil { return .topShare(share(raw.top_share, 0.5)) }
    return .coverage(share(raw.coverage, 0.98), heads: try headCoverage())
  }

  func patterns() throws(TamisError) -> [MInference.Pattern]? {
    guard let patterns = raw.patterns else { return nil }
    try requireAligned(patterns, MemoryLayout<tamis_head_pattern>.alignment, "patterns")
    try requireExtent(patterns, heads, "patterns")
    var list: [MInference.Pattern] = []
    for h in 0..<heads {
      let (first, second) = (Int(patterns[h].first), Int(patterns[h].second))
      switch patterns[h].method {
      case TAMIS_SPARSE_A_SHAPE: list.append(.aShape(sinks: first, local: second))
      case TAMIS_SPARSE_VERTICAL_SLASH: list.append(.verticalSlash(vertical: first, slash: second))
      case TAMIS_SPARSE_BLOCK_TOPK: list.append(.blockTopK(first))
      default:
        throw .invalid(
          "patterns[\(h)].method is \(patterns[h].method); expected TAMIS_SPARSE_A_SHAPE, VERTICAL_SLASH or BLOCK_TOPK")
      }
    }
    return list
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

  func granularity() throws(TamisError) -> DHSA.Granularity {
    guard let granularity = DHSA.Granularity(rawValue: raw.granularity) else {
      throw .invalid("granularity is \(raw.granularity); expected TAMIS_GRANULARITY_TILES or TAMIS_GRANULARITY_TOKENS")
    }
    return granularity
  }

  func pooling() throws(TamisError) -> ChunkPooling {
    guard let pooling = ChunkPooling(rawValue: raw.pooling) else {
      throw .invalid("pooling is \(raw.pooling); expected TAMIS_CHUNK_SQRT or TAMIS_CHUNK_MEAN")
    }
    return pooling
  }

  func chunkBudget() -> DHSA.Budget {
    if raw.budget == -1 { return .all }
    if raw.budget == 0 { return .density(density) }
    return .tokens(Int(min(raw.budget, Int64(Int32.max))))
  }

  /// -1: none.
  func instructionTokens() throws(TamisError) -> Int {
    let tokens = raw.instruction_tokens
    try require(tokens >= -1, "instruction_tokens is \(tokens); expected -1 (none), 0 (64) or more")
    return tokens == -1 ? 0 : tokens == 0 ? 64 : Int(tokens)
  }

  /// nil: chunks of key_block.
  func chunks() throws(TamisError) -> DHSA.Chunks? {
    if raw.predictor != nil {
      return .predicted(try boundaryPredictor(raw.predictor), try boundaryOptions(raw.boundary_options))
    }
    guard let boundaries = raw.boundaries else { return nil }
    try require(
      raw.n_boundaries >= 2 && raw.n_boundaries <= Int64(Int32.max), "n_boundaries is \(raw.n_boundaries); expected at least 2")
    try requireAligned(boundaries, 8, "boundaries")
    try requireExtent(boundaries, Int(raw.n_boundaries), "boundaries")
    return .boundaries(Array(UnsafeBufferPointer(start: boundaries, count: Int(raw.n_boundaries))))
  }

  func headCoverage() throws(TamisError) -> [Float]? {
    guard let shares = raw.head_coverage else { return nil }
    try requireAligned(shares, 4, "head_coverage")
    try requireExtent(shares, heads, "head_coverage")
    return Array(UnsafeBufferPointer(start: shares, count: heads))
  }
}
