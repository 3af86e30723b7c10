import Testing

@testable import TamisCore
@testable import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

struct Case: CustomStringConvertible, Sendable {
  var dtype = DType.f32
  var kvHeads = 2
  var group = 4
  var d = 64
  var n = 300
  var c = 1
  var page = 64
  var rope = RoPE.none
  var positions = AttentionRule.Positions.natural
  var window = 0
  var softcap: Float = 0
  var bias = false
  var list: (sinks: Int, selected: Int, recent: Int)?
  var level = Kernels.activeLevel
  var threads = 2
  var out = DType.f32
  /// nil: 1.3 / sqrt(d)
  var scale: Float?
  var description: String {
    "\(dtype) kv\(kvHeads)x\(group) d\(d) n\(n) c\(c) page\(page) \(rope.style) \(positions) w\(window) cap\(softcap)\(bias ? " bias" : "")\(scale.map { " scale\($0)" } ?? "") list\(String(describing: list)) out\(out) \(level)"
  }
}

/// Relative to the greatest expected output: what the dtype's products lose (docs/precision.md).
func tolerance(_ x: Case) -> Double {
  if x.out != .f32 { return x.out == .bf16 ? 8e-3 : 1e-3 }
  #if arch(x86_64)
  // Weights rounded to bf16, and queries too where keys do not turn; or two bytes each.
  if x.level == .v4x && x.dtype == .bf16 { return x.rope.isNone ? 8e-3 : 3e-3 }
  if x.level == .v4x && x.dtype == .i8 { return 2e-4 }
  #endif
  return x.rope.isNone ? 1e-5 : 2e-5
}

/// A cache of one layer filled with noise, pages in a shuffled order.
final class Cache {
  let store: CPUStore
  let pages: UnsafeMutablePointer<Int32>
  let k: Tensor
  let v: Tensor
  let n: Int

  init(
    _ backend: CPUBackend, _ x: Case, seed: UInt64 = 1, scoring: DType? = nil,
    edit: (inout [Float], inout [Float]) -> Void = { _, _ in }
  )
    throws
  {
    var noise = Noise(seed)
    var kv = noise.normals(x.kvHeads * x.n * x.d)
    var vv = noise.normals(x.kvHeads * x.n * x.d)
    edit(&kv, &vv)
    n = x.n
    let count = (x.n + x.page - 1) / x.page
    let layout = KVLayout(
      layers: 1, kvHeads: x.kvHeads, headDim: x.d, dtype: x.dtype, pageTokens: x.page, maxPages: count + 2, scoringCopy: scoring
    )
    store = try #require(try backend.makeStore(layout) as? CPUStore)
    var order = (0..<count + 2).map { Int32($0) }
    for i in order.indices.dropFirst() { order.swapAt(i, noise.below(i + 1)) }
    pages = .allocate(capacity: max(count, 1))
    pages.update(from: order, count: count)
    let source = (Tensor(kv, x.kvHeads, x.n, x.d, gap: 8), Tensor(vv, x.kvHeads, x.n, x.d))
    for p in 0..<count {
      let first = p * x.page
      let m = min(x.page, x.n - first)
      // two writes, so that slots other than 0 begin one
      let cut = m / 2
      try store.write(layer: 0, page: order[p], slot: 0, count: cut, k: source.0.view, v: source.1.view, from: first)
      try store.write(
        layer: 0, page: order[p], slot: cut, count: m - cut, k: source.0.view, v: source.1.view, from: first + cut)
    }
    // what the dtype keeps
    k = Tensor(kv, x.kvHeads, x.n, x.d, x.dtype)
    v = Tensor(vv, x.kvHeads, x.n, x.d, x.dtype)
  }
  deinit { pages.deallocate() }
  var keys: CachedKeys { CachedKeys(store: store, layer: 0, pages: pages, count: n) }
}

/// Tokens of a list, and the AttendedTokens that says it.
func attended(_ x: Case, _ backend: CPUBackend) throws -> ([Int], AttendedTokens) {
  guard let list = x.list else { return (Array(0..<x.n), .all(x.n)) }
  let middle = x.n - list.sinks - list.recent
  let chosen = (0..<list.selected).map { Int32(list.sinks + $0 * middle / list.selected) }
  let selection = backend.makeSelection()
  try selection.assign(chosen, count: chosen.count)
  let tokens = Array(0..<list.sinks) + chosen.map { Int($0) } + Array(x.n - list.recent..<x.n)
  return (tokens, AttendedTokens(sinks: list.sinks, selected: selection, recent: x.n - list.recent..<x.n))
}

/// Runs the case on a cache; returns outputs and the oracle's, [head][query].
func runCached(_ x: Case, seed: UInt64 = 1, edit: (inout [Float], inout [Float]) -> Void = { _, _ in }) throws
  -> (got: [[[Double]]], lse: [[Double]], want: [[(o: [Double], lse: Double)]])
{
  let backend = try CPUBackend(threads: x.threads, level: x.level)
  let cache = try Cache(backend, x, seed: seed, edit: edit)
  let heads = x.kvHeads * x.group
  var noise = Noise(seed + 77)
  let q = Tensor(noise.normals(heads * x.c * x.d), heads, x.c, x.d, gap: 3)
  let out = Tensor(zeros: heads, x.c, x.d, x.out)
  let lse = Tensor(zeros: heads, x.c, 1)
  var rule = AttentionRule(scale: x.scale ?? 1.3 / Float(x.d).squareRoot())
  rule.softcap = x.softcap
  rule.window = x.window
  rule.rope = x.rope
  rule.positions = x.positions
  let biases = (0..<heads).map { Float($0) * 0.7 - 1 }
  let (tokens, spec) = try attended(x, backend)
  try biases.withUnsafeBufferPointer {
    if x.bias { rule.keyZeroBias = $0.baseAddress }
    try backend.attend(q: q.view, over: cache.keys, tokens: spec, rule: rule, out: out.view, lse: lse.view)
  }
  let (k, v) = (cache.k.rows, cache.v.rows)
  let keys = k.map { rows in tokens.enumerated().map { rotated(rows[$1], x.rope, at: x.positions == .natural ? $1 : $0) } }
  let want = (0..<heads).map { h in
    (0..<x.c).map { i in
      let position = x.n - x.c + i
      let place = x.positions == .natural ? position : tokens.count - x.c + i
      return attention(
        rotated(q.row(h, i), x.rope, at: place), keys[h / x.group], tokens.map { v[h / x.group][$0] },
        tokens.map { $0 <= position && (x.window == 0 || $0 > position - x.window) }, rule: rule,
        bias: x.bias && tokens.first == 0 ? (0, Double(biases[h])) : nil)
    }
  }
  return (out.rows, lse.rows.map { $0.map { $0[0] } }, want)
}

func check(_ x: Case, within given: Double? = nil) throws {
  let r = try runCached(x)
  let bound = given ?? tolerance(x)
  let top = r.want.joined().map { $0.o.map { abs($0) }.max()! }.max()!
  var worst = 0.0
  var worstLSE = 0.0
  for h in r.want.indices {
    for i in r.want[h].indices {
      let w = r.want[h][i]
      for j in w.o.indices { worst = max(worst, abs(r.got[h][i][j] - w.o[j]) / top) }
      worstLSE =
        w.lse == -.infinity ? max(worstLSE, r.lse[h][i] == -.infinity ? 0 : 1) : max(worstLSE, abs(r.lse[h][i] - w.lse))
    }
  }
  #expect(worst <= bound, "\(x): \(worst)")
  #expect(worstLSE <= max(2e-5, bound), "\(x): lse \(worstLSE)")
}

let half64 = RoPE(style: .half, rotaryDims: 64)

@Suite struct AttendCached {
  @Test(arguments: Kernels.available) func everyLevelAndDtype(_ level: Kernels.Level) throws {
    for dtype in [DType.f32, .f16, .bf16, .i8] {
      try check(Case(dtype: dtype, level: level))
      try check(Case(dtype: dtype, kvHeads: 1, group: 3, d: 40, n: 129, c: 2, page: 16, level: level))
      try check(Case(dtype: dtype, n: 1100, rope: half64, positions: .compact, list: (70, 333, 130), level: level))
    }
  }
  @Test(arguments: [8, 16, 24, 32, 72, 80, 96, 128, 136, 192, 256]) func headDims(_ d: Int) throws {
    for dtype in [DType.f32, .bf16, .i8] { try check(Case(dtype: dtype, group: 5, d: d, n: 97, page: 16)) }
  }
  @Test(arguments: [1, 2, 3, 4, 7, 8, 9]) func groups(_ g: Int) throws { try check(Case(group: g, n: 200)) }
  @Test(arguments: [1, 15, 16, 63, 64, 65, 255, 256, 257, 1023]) func lengths(_ n: Int) throws {
    try check(Case(n: n))
    try check(Case(n: n, rope: half64))
  }
  @Test(arguments: [1, 2, 3, 9, 33]) func severalQueries(_ c: Int) throws {
    try check(Case(n: 150, c: c))
    try check(Case(n: 150, c: c, window: 20))
    try check(Case(n: 400, c: c, rope: half64, positions: .compact, list: (10, 50, 40)))
    try check(Case(n: 400, c: c, rope: half64, positions: .natural, list: (10, 50, 40)))
  }
  @Test func ropeStyles() throws {
    for style in [RoPE.Style.half, .interleaved] {
      for dims in [64, 48, 20, 2] {
        for positions in [AttentionRule.Positions.compact, .natural] {
          let rope = RoPE(style: style, rotaryDims: dims, base: 5000, scale: 0.5)
          try check(Case(dtype: .f16, n: 700, c: 2, rope: rope, positions: positions, list: (33, 90, 100)))
        }
      }
    }
  }
  @Test func rules() throws {
    try check(Case(n: 300, softcap: 2))
    try check(Case(n: 300, bias: true))
    try check(Case(n: 300, softcap: 3, bias: true, list: (0, 60, 20)))
    try check(Case(n: 300, c: 4, window: 7, softcap: 1, bias: true))
    try check(Case(n: 300, window: 1))
    try check(Case(n: 300, out: .bf16))
    try check(Case(n: 300, out: .f16))
    try check(Case(n: 300, page: 16, list: (20, 30, 40)))
  }
  @Test func sameBitsForAnyThreads() throws {
    for dtype in [DType.f32, .bf16, .i8] {
      let x = Case(dtype: dtype, n: 2000, c: 2)
      let runs = try [1, 2, 3].map { threads in
        var y = x
        y.threads = threads
        return try runCached(y).got
      }
      #expect(runs[0] == runs[1] && runs[0] == runs[2])
    }
  }
  @Test func nonFiniteStaysWithItsQueries() throws {
    // Query i of 3 sees tokens up to 197 + i; token 198 is NaN, token 199 has an infinite value row.
    let x = Case(n: 200, c: 3)
    let r = try runCached(x) { k, v in
      for h in 0..<2 {
        k[(h * 200 + 198) * 64] = .nan
        v[(h * 200 + 199) * 64 + 5] = .infinity
      }
    }
    for h in 0..<8 {
      #expect(r.got[h][0].allSatisfy(\.isFinite) && r.lse[h][0].isFinite)
      #expect(r.got[h][1].allSatisfy(\.isNaN) && r.lse[h][1].isNaN)
      #expect(r.got[h][2].allSatisfy { !$0.isFinite })
    }
  }
  @Test func nonFiniteQueriesKeepToThemselves() throws {
    let backend = try CPUBackend(threads: 2)
    for dtype in [DType.f32, .f16, .bf16, .i8] {
      var noise = Noise(2)
      var x = noise.normals(4 * 64)
      x[64 + 3] = .nan
      let q = Tensor(x, 4, 1, 64)
      let k = Tensor(noise.normals(2 * 90 * 64), 2, 90, 64, dtype)
      let out = Tensor(zeros: 4, 1, 64)
      try backend.attend(
        q: q.view, k: k.view, v: k.view, rule: AttentionRule(scale: 1), mask: DenseMask(causal: false, queryOffset: 0),
        out: out.view, lse: nil, progress: nil)
      for h in 0..<4 { #expect(out.row(h, 0).allSatisfy { h == 1 ? $0.isNaN : $0.isFinite }, "\(dtype) \(h)") }
    }
  }
  @Test func nothingLegal() throws {
    let backend = try CPUBackend(threads: 1)
    let q = Tensor(.init(repeating: 1, count: 16), 2, 1, 8)
    let k = Tensor(.init(repeating: .nan, count: 24), 1, 3, 8)
    let out = Tensor(.init(repeating: 5, count: 16), 2, 1, 8)
    let lse = Tensor([7, 7], 2, 1, 1)
    try backend.attend(
      q: q.view, k: k.view, v: k.view, rule: AttentionRule(scale: 1), mask: DenseMask(causal: true, queryOffset: -1),
      out: out.view, lse: lse.view, progress: nil)
    #expect(out.rows.joined().joined().allSatisfy { $0 == 0 })
    #expect(lse.rows.joined().joined().allSatisfy { $0 == -.infinity })
  }
}

@Suite struct AttendTensors {
  static func run(
    _ x: Case, causal: Bool, offset: Int, blas: Bool, queries: DType = .f32, f32Products: Bool = false,
    within given: Double? = nil
  ) throws {
    let bound = given ?? max(3e-5, 4 * tolerance(x))
    let backend = try CPUBackend(threads: x.threads, level: x.level)
    var noise = Noise(5)
    let heads = x.kvHeads * x.group
    let q = Tensor(noise.normals(heads * x.c * x.d), heads, x.c, x.d, queries, gap: 1)
    let k = Tensor(noise.normals(x.kvHeads * x.n * x.d), x.kvHeads, x.n, x.d, x.dtype, gap: 5)
    let v = Tensor(noise.normals(x.kvHeads * x.n * x.d), x.kvHeads, x.n, x.d, x.dtype, gap: 2)
    let out = Tensor(zeros: heads, x.c, x.d)
    let lse = Tensor(zeros: heads, x.c, 1)
    var rule = AttentionRule(scale: 0.3)
    rule.softcap = x.softcap
    rule.window = x.window
    try backend.attend(
      q: q.view, k: k.view, v: v.view, rule: rule,
      mask: DenseMask(causal: causal, queryOffset: offset, blas: blas, f32Products: f32Products),
      out: out.view, lse: lse.view, progress: nil)
    var worst = 0.0
    for h in 0..<heads {
      for i in 0..<x.c {
        let legal = (0..<x.n).map { (!causal || $0 <= offset + i) && (x.window == 0 || $0 > offset + i - x.window) }
        let w = attention(q.row(h, i), k.rows[h / x.group], v.rows[h / x.group], legal, rule: rule)
        for j in 0..<x.d { worst = max(worst, abs(out.row(h, i)[j] - w.o[j])) }
        let got = lse.row(h, i)[0]
        #expect(w.lse == got || abs(w.lse - got) < bound)
      }
    }
    #expect(worst < bound, "\(x): \(worst)")
  }

  @Test func decodeAndPrefillShapes() throws {
    for dtype in [DType.f32, .f16, .bf16, .i8] {
      for c in [1, 2, 21] {
        try Self.run(Case(dtype: dtype, d: 24, n: 70, c: c), causal: true, offset: 70 - c, blas: false)
        try Self.run(Case(dtype: dtype, d: 24, n: 70, c: c), causal: false, offset: 0, blas: false)
        try Self.run(Case(dtype: dtype, d: 24, n: 70, c: c, window: 9, softcap: 2), causal: true, offset: 3, blas: false)
        try Self.run(Case(dtype: dtype, d: 24, n: 70, c: c, window: 9), causal: true, offset: -4, blas: false)
      }
    }
  }
  /// Products are of f32 unless q, k and v are all bf16 and nobody asked for f32, whatever the level has instructions for.
  @Test(arguments: [1, 3, 40], Kernels.available) func f32ProductsOverBF16Keys(c: Int, level: Kernels.Level) throws {
    for (group, n) in [(1, 70), (4, 70), (2, 1100)] {
      if c * n > 4000 { continue }
      let x = Case(dtype: .bf16, group: group, d: 64, n: n, c: c, level: level)
      try Self.run(x, causal: true, offset: n - c, blas: false, within: 1e-5)
      try Self.run(x, causal: true, offset: n - c, blas: false, queries: .bf16, f32Products: true, within: 1e-5)
    }
  }
  @Test func plainForm() throws {
    guard dlopen("libopenblas.so.0", RTLD_NOW) != nil else {
      #expect(throws: TamisError.self) { try Self.run(Case(d: 24, n: 70, c: 3), causal: true, offset: 67, blas: true) }
      return
    }
    for c in [1, 70, 90] {
      try Self.run(Case(d: 24, n: 70, c: c), causal: true, offset: 70 - c, blas: true)
      try Self.run(Case(dtype: .bf16, d: 24, n: 70, c: c, window: 9, softcap: 2), causal: true, offset: 3, blas: true)
      try Self.run(Case(d: 24, n: 70, c: c), causal: false, offset: 0, blas: true)
    }
  }
}
