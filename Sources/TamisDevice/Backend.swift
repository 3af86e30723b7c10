public import TamisCore

/// A compute device: the handful of operations that every method is made of. Domains hold a `Backend` and never ask which.
/// The CPU backend is the oracle of the others.
///
/// Not thread-safe: the context's lock serialises calls. Shapes, dtypes and sizes are validated before they come here; what
/// a backend throws is what the device says (`device`, `outOfMemory`, `unsupported`), or `cancelled`.
public protocol Backend: AnyObject {
  var name: String { get }
  /// Threads one call may use, the caller's included.
  var threads: Int { get }

  // MARK: tensors in host memory

  /// Exact attention over tensors [heads, n, d]: `tamis_attention` for one batch element.
  func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError)

  /// The same over the keys of listed tiles only: `tamis_sparse_attention` for one batch element. A query with no legal listed
  /// key gives 0 and -inf; lists that leave out no legal key give the bits of dense attention. Cost is proportional to the
  /// tiles listed.
  func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, tiles: TileLists, out: TensorView,
    lse: TensorView?, progress: Progress?
  ) throws(TamisError)

  /// Attention over the keys `tokens`, ascending and at least one, and no others. Default: `unsupported`.
  func attend(
    q: TensorView, k: TensorView, v: TensorView, tokens: UnsafeBufferPointer<Int32>, rule: AttentionRule, mask: DenseMask,
    out: TensorView, lse: TensorView?
  ) throws(TamisError)

  /// What the columns of attention weights p add up to: sums[i * stride + j] += sum over queries of p_qj, for query head
  /// heads[i] and j in 0 ..< kLen. `lse` [qHeads, qLen] f32 is that of attention with the same arguments. A weight that is NaN
  /// counts as 0. Default: `unsupported`.
  func addColumnSums(
    q: TensorView, k: TensorView, rule: AttentionRule, mask: DenseMask, lse: TensorView, heads: [Int],
    to sums: UnsafeMutablePointer<Double>, stride: Int, progress: Progress?
  ) throws(TamisError)

  // MARK: KV caches

  func makeStore(_ layout: KVLayout) throws(TamisError) -> any KVStore
  func makeScores() -> any TokenScores
  func makeSelection() -> any TokenSelection

  /// Score: the vote of every candidate token for the query q' ([qHeads][headDim] f32, rotated already) against un-rotated
  /// keys, without the softmax scale. NaN logits count as -inf; infinite ones as the largest finite number.
  func score(
    query: UnsafePointer<Float>, qHeads: Int, over keys: CachedKeys, candidates: Range<Int>, rule: VoteRule,
    into scores: any TokenScores
  ) throws(TamisError)

  /// Spend: the k best of the scored candidates, ascending, as token indices. Ties go to the lower index; NaN is -inf.
  func select(_ k: Int, from scores: any TokenScores, into selection: any TokenSelection) throws(TamisError)

  /// Use: attention of the last c tokens of the sequence, q [qHeads, c, headDim], over `tokens`. Query i stands at
  /// keys.count - c + i and sees the listed tokens up to its own. out [qHeads, c, headDim], lse [qHeads, c].
  func attend(
    q: TensorView, over keys: CachedKeys, tokens: AttendedTokens, rule: AttentionRule, out: TensorView, lse: TensorView?
  ) throws(TamisError)

  // MARK: encoders

  /// Packs the weights, which need not outlive the call. Default: `unsupported`.
  func makeEncoder(_ weights: EncoderWeights, precision: LinearPrecision) throws(TamisError) -> any EncoderProgram

  // MARK: linear layers

  /// Packs y = x W^T + b, which need not outlive the call, for products over rows in host memory. Default: on the CPU, whatever
  /// the device.
  func makeLinear(_ layer: LinearView, precision: LinearPrecision) throws(TamisError) -> any LinearProgram

  // MARK: n-grams

  /// Whether `store` takes token ids. Default: false.
  var countsNGrams: Bool { get }
  /// A copy of the batch on the device. Default: `unsupported`.
  func store(_ batch: TokenBatch) throws(TamisError) -> any StoredTokens

  // MARK: logits

  /// Statistics of rows of logits: into[i] is what `job` asks of row rows.lowerBound + i. Skipped rows get a new `LogitRow`.
  /// Default: on the CPU, whatever the device.
  func summarise(_ job: LogitJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitRow>) throws(TamisError)

  /// Two models' rows against each other. Default: on the CPU.
  func compare(_ job: LogitPairJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitPairRow>) throws(TamisError)

  // MARK: host work

  /// Work of the host beside the device's operations: tokenizing, clustering, spans. Runs `body(task)` for every task in
  /// 0 ..< tasks, on the worker threads if there are any. What the tasks write must not depend on their order. The context's
  /// lock is held. Default: one after another.
  func parallel(_ tasks: Int, _ body: (_ task: Int) -> Void)
}

/// Called with the share done; returns whether to go on.
public typealias Progress = (Double) -> Bool

/// Which keys of a tensor a query may see.
public struct DenseMask: Sendable {
  public var causal: Bool
  /// Position of query 0 among the keys; may be negative.
  public var queryOffset: Int
  /// The plain form through OpenBLAS (sgemm, softmax, sgemm): the reference of the tiled form.
  public var blas: Bool
  /// Forbids bf16 products.
  public var f32Products: Bool
  /// L > 0: a backend may skip the values of a run of keys where every probability in it is below exp(-L) of the running
  /// maximum (SpargeAttn, arXiv 2502.18137, section 3.5). 0: none.
  public var pvThreshold: Float

  public init(
    causal: Bool, queryOffset: Int, blas: Bool = false, f32Products: Bool = false, pvThreshold: Float = 0
  ) {
    self.causal = causal
    self.queryOffset = queryOffset
    self.blas = blas
    self.f32Products = f32Products
    self.pvThreshold = pvThreshold
  }

  /// Which of `keys` keys query i may see; a window of 0 is none.
  public func seen(by i: Int, window: Int, of keys: Int) -> Range<Int> {
    let token = queryOffset + i
    let high = causal ? min(max(token + 1, 0), keys) : keys
    let low = window > 0 ? min(max(token - window + 1, 0), keys) : 0
    return low..<max(low, high)
  }
}

/// One layer of one sequence, as a device sees it.
public struct CachedKeys {
  public var store: any KVStore
  public var layer: Int
  /// Page of tokens [i * pageTokens, (i+1) * pageTokens). Host memory, valid during the call.
  public var pages: UnsafePointer<Int32>
  /// Tokens N that this call may see; the rest of the last page is not read.
  public var count: Int

  public init(store: any KVStore, layer: Int, pages: UnsafePointer<Int32>, count: Int) {
    self.store = store
    self.layer = layer
    self.pages = pages
    self.count = count
  }
}

/// Scores of candidate tokens, where the device keeps them. Grows; reused from call to call.
public protocol TokenScores: AnyObject {
  /// The tokens of the last `score`.
  var candidates: Range<Int> { get }
  /// Copies candidates.count scores.
  func read(into host: UnsafeMutablePointer<Float>) throws(TamisError)
}

/// Ascending token indices, where the device keeps them. Grows; reused from call to call.
public protocol TokenSelection: AnyObject {
  var count: Int { get }
  func read(into host: UnsafeMutablePointer<Int32>) throws(TamisError)
  func assign(_ tokens: UnsafePointer<Int32>, count: Int) throws(TamisError)
}

/// The list a query attends: [0, sinks) ++ selected ++ recent, ascending and unique. `selected` may be nil.
public struct AttendedTokens {
  public var sinks: Int
  public var selected: (any TokenSelection)?
  public var recent: Range<Int>

  public init(sinks: Int, selected: (any TokenSelection)?, recent: Range<Int>) {
    self.sinks = sinks
    self.selected = selected
    self.recent = recent
  }

  /// Every token of a sequence of n.
  public static func all(_ n: Int) -> AttendedTokens { AttendedTokens(sinks: 0, selected: nil, recent: 0..<n) }

  public var count: Int { sinks + (selected?.count ?? 0) + recent.count }
}

extension TileLists {
  /// Whether every query block has every key that one of its queries may see.
  func leaveNothingOut(_ mask: DenseMask, window: Int, queries: Int, keys: Int) -> Bool {
    for block in 0..<blocks {
      let last = min((block + 1) * queryBlock, queries) - 1
      let low = mask.seen(by: block * queryBlock, window: window, of: keys).lowerBound
      let high = mask.seen(by: last, window: window, of: keys).upperBound
      for head in 0..<heads {
        if !ListedPlaces(tiles: row(head, block), tileKeys: keyBlock, keys: keys).holdsAll(low, high) { return false }
      }
    }
    return true
  }
}
