// Decode on the CPU backend: one query token, 32 query and 8 KV heads, d = 128, N tokens. Prints each step's time, its share of
// the measured read bandwidth and its ratio to dense f32.
//
//   swift run -c release tamis-bench-decode [tokens = 65536] [threads = 2] [only = substring of the dtypes' names]
//     [rows = substring of the row's name]
//
// `only` = kernels: what a block of 64 rows that lie in the first-level cache costs, four queries, in ns a row.
import CShims
import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// With TAMIS_BENCH_CLOCK=cpu the process's own time, all threads together: what one thread costs on a busy machine.
let clockID = getenv("TAMIS_BENCH_CLOCK").map { String(cString: $0) } == "cpu" ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC

@MainActor func now() -> Double {
  var t = timespec()
  clock_gettime(clockID, &t)
  return Double(t.tv_sec) + Double(t.tv_nsec) * 1e-9
}

/// Best and median seconds of `body` over about `budget` seconds, after one run to warm up. With `cold`, other memory is read
/// between runs, so that `body` finds the caches as a model's other layers leave them.
@MainActor func measure(budget: Double = 0.6, cold: Bool = false, _ body: () throws -> Void) rethrows -> (best: Double, median: Double) {
  try body()
  var times: [Double] = []
  let start = now()
  while times.count < 5 || (now() - start < budget && times.count < 1000) {
    if cold { evict() }
    let t = now()
    try body()
    times.append(now() - t)
  }
  times.sort()
  return (times[0], times[times.count / 2])
}

let evictor = UnsafeMutablePointer<Float>.allocate(capacity: 16 << 20)
evictor.update(repeating: 1, count: 16 << 20)
nonisolated(unsafe) var evicted: Float = 0
@MainActor func evict() {
  for i in stride(from: 0, to: 16 << 20, by: 16) { evicted += evictor[i] }
}

func padded(_ s: String, _ n: Int) -> String { s + String(repeating: " ", count: max(0, n - s.count)) }
func number(_ x: Double, _ digits: Int = 2) -> String {
  let scale = pow(10, Double(digits))
  let r = (x * scale).rounded() / scale
  return padded("\(r)", 8)
}

let arguments = CommandLine.arguments
let n = arguments.count > 1 ? Int(arguments[1])! : 65536
let threads = arguments.count > 2 ? Int(arguments[2])! : 2
let only = arguments.count > 3 ? arguments[3] : ""
let wanted = arguments.count > 4 ? arguments[4] : ""
let (qHeads, kvHeads, d, page) = (32, 8, 128, 64)

if only == "kernels" {
  measureKernels()
  exit(0)
}
let backend = try CPUBackend(threads: threads)

// MARK: the ceiling

let words = 128 << 20
let big = UnsafeMutablePointer<Float>.allocate(capacity: words)
backend.pool.run(64) { task, _ in (big + task * (words / 64)).update(repeating: 1, count: words / 64) }
var sums = [Float](repeating: 0, count: 64)
let read = sums.withUnsafeMutableBufferPointer { sums in
  let sums = sums.baseAddress!
  return measure {
    backend.pool.run(64) { task, _ in
      let p = UnsafeRawPointer(big + task * (words / 64))
      var (a, b, c, e) = (SIMD16<Float>(), SIMD16<Float>(), SIMD16<Float>(), SIMD16<Float>())
      var i = 0
      while i < words / 64 * 4 {
        a += p.loadUnaligned(fromByteOffset: i, as: SIMD16<Float>.self)
        b += p.loadUnaligned(fromByteOffset: i + 64, as: SIMD16<Float>.self)
        c += p.loadUnaligned(fromByteOffset: i + 128, as: SIMD16<Float>.self)
        e += p.loadUnaligned(fromByteOffset: i + 192, as: SIMD16<Float>.self)
        i += 256
      }
      sums[task] = (a + b + c + e).sum()
    }
  }
}
big.deallocate()
let bandwidth = Double(words * 4) / read.best
print("\(backend.name), \(threads) threads, N = \(n); read bandwidth \(number(bandwidth / 1e9, 1)) GB/s (best), \(number(Double(words * 4) / read.median / 1e9, 1)) (median)")

// MARK: caches

let pageCount = (n + page - 1) / page
let pages = UnsafeMutablePointer<Int32>.allocate(capacity: pageCount)
for p in 0..<pageCount { pages[p] = Int32(p) }
let noise = UnsafeMutablePointer<Float>.allocate(capacity: kvHeads * 4096 * d)
var state: UInt64 = 1
for i in 0..<kvHeads * 4096 * d {
  state = state &* 6364136223846793005 &+ 1442695040888963407
  noise[i] = (Float(state >> 40) / Float(1 << 23) - 1) * 1.7
}
let source = TensorView(noise, .f32, shape: [kvHeads, 4096, d])

@MainActor func makeStore(_ dtype: DType, _ copy: DType? = nil) throws -> any KVStore {
  let store = try backend.makeStore(
    KVLayout(layers: 1, kvHeads: kvHeads, headDim: d, dtype: dtype, pageTokens: page, maxPages: pageCount, scoringCopy: copy))
  for p in 0..<pageCount {
    try store.write(
      layer: 0, page: Int32(p), slot: 0, count: min(page, n - p * page), k: source, v: source, from: p * page % 4096)
  }
  return store
}

let query = UnsafeMutablePointer<Float>.allocate(capacity: qHeads * d)
for i in 0..<qHeads * d { query[i] = noise[i * 7] }
let q = TensorView(query, .f32, shape: [qHeads, 1, d])
let out = TensorView(UnsafeMutablePointer<Float>.allocate(capacity: qHeads * d), .f32, shape: [qHeads, 1, d])
let (sinks, recent, k) = (128, 512, 2048)
var denseF32: Double?

@MainActor func report(_ name: String, bytes: Double, cold: Bool = false, isUnit: Bool = false, _ body: () throws -> Void) throws {
  try body()
  if !wanted.isEmpty && !name.contains(wanted) { return }
  let t = try measure(cold: cold, body)
  if isUnit { denseF32 = t.best }
  let share = bytes / t.best / bandwidth * 100
  let ratio = denseF32.map { number($0 / t.best) + " x dense f32" } ?? ""
  print(padded(name, 44), number(t.best * 1e3, 3), number(t.median * 1e3, 3), "ms ", number(share, 1), "% of bandwidth ", ratio)
  fflush(nil)
}

print(padded("", 44), "best     median")
for (dtype, copy) in [(DType.f32, nil), (.f32, DType.i8), (.f32, .bf16), (.f16, nil), (.bf16, nil), (.i8, nil), (.i8, .i8)] {
  let label = dtype.name + (copy.map { " + \($0.name) scoring copy" } ?? "")
  if !(dtype == .f32 && copy == nil) && !label.contains(only) { continue }
  let store = try makeStore(dtype, copy)
  let keys = CachedKeys(store: store, layer: 0, pages: pages, count: n)
  var rule = AttentionRule(scale: 1 / Float(d).squareRoot())
  rule.positions = .natural
  let row = Double(kvHeads * (d * dtype.size + (dtype == .i8 ? 4 : 0)))
  if copy == nil {
    try report("dense, keys as given, \(label)", bytes: 2 * row * Double(n), isUnit: dtype == .f32) {
      try backend.attend(q: q, over: keys, tokens: .all(n), rule: rule, out: out, lse: nil)
    }
    rule.rope = RoPE(style: .half, rotaryDims: d)
    try report("dense, RoPE at use, \(label)", bytes: 2 * row * Double(n)) {
      try backend.attend(q: q, over: keys, tokens: .all(n), rule: rule, out: out, lse: nil)
    }
  }
  rule.rope = RoPE(style: .half, rotaryDims: d)
  rule.positions = .compact
  let scores = backend.makeScores()
  let selection = backend.makeSelection()
  let candidates = sinks..<n - recent
  let scored = Double(candidates.count) * (copy.map { Double(kvHeads * (d * $0.size + ($0 == .i8 ? 4 : 0))) } ?? row)
  func score() throws {
    try backend.score(query: query, qHeads: qHeads, over: keys, candidates: candidates, rule: VoteRule(), into: scores)
  }
  func attend() throws {
    try backend.attend(
      q: q, over: keys, tokens: AttendedTokens(sinks: sinks, selected: selection, recent: n - recent..<n), rule: rule, out: out,
      lse: nil)
  }
  func step() throws {
    try score()
    try backend.select(k, from: scores, into: selection)
    try attend()
  }
  try report("score and vote, \(label)", bytes: scored, score)
  try report("score and vote, caches cold, \(label)", bytes: scored, cold: true, score)
  try report("top-k of \(candidates.count), \(label)", bytes: Double(candidates.count * 4)) {
    try backend.select(k, from: scores, into: selection)
  }
  let attended = 2 * row * Double(sinks + k + recent)
  try report("attend \(sinks + k + recent) (selection-cache hit), \(label)", bytes: attended, attend)
  try report("attend, caches cold, \(label)", bytes: attended, cold: true, attend)
  try report("TokenSelect step, \(label)", bytes: scored + attended, step)
  try report("TokenSelect step, caches cold, \(label)", bytes: scored + attended, cold: true, step)
}
