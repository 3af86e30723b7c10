public import TamisCore

/// Shape of a cache's pages. A page holds `pageTokens` tokens of every layer.
public struct KVLayout: Sendable, Equatable {
  public var layers: Int
  public var kvHeads: Int
  public var headDim: Int
  public var dtype: DType
  public var pageTokens: Int
  public var maxPages: Int
  /// A second copy of the keys, laid out for scoring only: nil, bf16 or i8.
  public var scoringCopy: DType?

  public init(
    layers: Int, kvHeads: Int, headDim: Int, dtype: DType, pageTokens: Int, maxPages: Int, scoringCopy: DType? = nil
  ) {
    self.layers = layers
    self.kvHeads = kvHeads
    self.headDim = headDim
    self.dtype = dtype
    self.pageTokens = pageTokens
    self.maxPages = maxPages
    self.scoringCopy = scoringCopy
  }

  /// Elements of K (or V) of one layer of a page: [kvHeads][pageTokens][headDim].
  public var pageElements: Int { kvHeads * pageTokens * headDim }
  /// Rows of K (or V) of one layer of a page.
  public var pageRows: Int { kvHeads * pageTokens }
  /// Canonical bytes of one layer of a page, as snapshots hold them:
  /// K [kvHeads][pageTokens][headDim], V likewise, then for i8 the scales of K and of V [kvHeads][pageTokens] f32.
  public var layerPageBytes: Int { 2 * pageElements * dtype.size + (dtype == .i8 ? 2 * pageRows * 4 : 0) }
  /// Bytes of the scoring copy of one layer of a page: rows in the copy's dtype; i8 adds one f32 scale per row.
  public var layerScoringBytes: Int {
    switch scoringCopy {
    case .i8: pageElements + pageRows * 4
    case .bf16: pageElements * 2
    default: 0
    }
  }
  public var pageBytes: Int { layers * (layerPageBytes + layerScoringBytes) }
}

/// The pages of a cache, resident on the device. Page numbers are 0 ..< maxPages; memory of a page is taken when it is first
/// written and may be returned when it is released. Who uses a page is the cache's business (TamisAttention/KVCache).
public protocol KVStore: AnyObject {
  var layout: KVLayout { get }

  /// Writes rows [start, start + count) of k and v [kvHeads, n, headDim] (f32, f16, bf16 or i8) to tokens
  /// [slot, slot + count) of a page. Keeps the scoring copy in step.
  func write(layer: Int, page: Int32, slot: Int, count: Int, k: TensorView, v: TensorView, from start: Int) throws(TamisError)

  /// Reads tokens [slot, slot + count) into rows [start, ..) of k and v (f32, f16 or bf16), either nil.
  func read(layer: Int, page: Int32, slot: Int, count: Int, k: TensorView?, v: TensorView?, at start: Int) throws(TamisError)

  /// Copies all layers of a page.
  func copyPage(from: Int32, to: Int32) throws(TamisError)

  /// Copies one layer of a page out of / into canonical bytes (`KVLayout.layerPageBytes`). Import rebuilds the scoring copy.
  func exportPage(layer: Int, page: Int32, to bytes: UnsafeMutableRawPointer) throws(TamisError)
  func importPage(layer: Int, page: Int32, from bytes: UnsafeRawPointer) throws(TamisError)

  /// Nothing in the page is needed any more.
  func releasePage(_ page: Int32)
}
