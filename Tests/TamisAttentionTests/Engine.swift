import Tamis

#if canImport(Glibc)
import Glibc
#endif

/// What a test of the domain runs on: the plain loops, the CPU backend, and the first OpenCL device where there is one, with the
/// same assertions.
enum Engine: CaseIterable {
  case reference
  case cpu
  case openCL

  static let allCases: [Engine] = (try? device()) == nil ? [.reference, .cpu] : [.reference, .cpu, .openCL]

  func backend() throws -> any Backend {
    switch self {
    case .reference: ReferenceBackend()
    case .cpu: try CPUBackend(threads: 2)
    case .openCL: try Self.device()
    }
  }

  private struct Device: @unchecked Sendable { let backend: OpenCLBackend }
  private static let devices = Guarded<[UInt: Device]>([:])

  /// Loading a device's programs takes longer than most tests, and a backend serves one call at a time: so each thread has one,
  /// as a test runs on one thread from its start to its end.
  private static func device() throws -> any Backend {
    let thread = UInt(pthread_self())
    if let known = devices.withLock({ $0[thread] }) { return known.backend }
    let made = Device(backend: try OpenCLBackend(index: 0))
    devices.withLock { $0[thread] = made }
    return made.backend
  }
}

/// Passes every call on, and remembers what tests ask about.
final class SpyBackend: Backend {
  private let base: any Backend
  private(set) var scoreCalls = 0
  /// The list of the last `attend` over a cache.
  private(set) var lastTokens: [Int32] = []

  init(_ base: any Backend) { self.base = base }

  var name: String { base.name }
  var threads: Int { base.threads }
  func makeStore(_ layout: KVLayout) throws(TamisError) -> any KVStore { try base.makeStore(layout) }
  func makeScores() -> any TokenScores { base.makeScores() }
  func makeSelection() -> any TokenSelection { base.makeSelection() }

  func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError) {
    try base.attend(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress)
  }

  func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, tiles: TileLists, out: TensorView,
    lse: TensorView?, progress: Progress?
  ) throws(TamisError) {
    try base.attend(q: q, k: k, v: v, rule: rule, mask: mask, tiles: tiles, out: out, lse: lse, progress: progress)
  }

  func score(
    query: UnsafePointer<Float>, qHeads: Int, over keys: CachedKeys, candidates: Range<Int>, rule: VoteRule,
    into scores: any TokenScores
  ) throws(TamisError) {
    scoreCalls += 1
    try base.score(query: query, qHeads: qHeads, over: keys, candidates: candidates, rule: rule, into: scores)
  }

  func select(_ k: Int, from scores: any TokenScores, into selection: any TokenSelection) throws(TamisError) {
    try base.select(k, from: scores, into: selection)
  }

  func attend(
    q: TensorView, over keys: CachedKeys, tokens: AttendedTokens, rule: AttentionRule, out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    var selected = [Int32](repeating: 0, count: tokens.selected?.count ?? 0)
    if !selected.isEmpty { try tokens.selected?.read(into: &selected) }
    lastTokens = (0..<tokens.sinks).map(Int32.init) + selected + tokens.recent.map(Int32.init)
    try base.attend(q: q, over: keys, tokens: tokens, rule: rule, out: out, lse: lse)
  }
}
