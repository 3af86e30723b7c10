// The smallest use of Tamis from Swift: open a cache, append, retrieve, attend; and the same attention as a plain loop.
//
//   swift run --package-path examples/swift/minimal
import Glibc
import Tamis

let tokens = 300, kvHeads = 2, qHeads = 4, dim = 32, needle = 137
let group = qHeads / kvHeads

/// Small, repeatable numbers in [-1, 1).
struct Noise {
  var state: UInt32 = 1
  mutating func next() -> Float {
    state = state &* 1_664_525 &+ 1_013_904_223
    return Float(state >> 8) / 8_388_608 - 1
  }
}

/// Where the row of a token begins in k and v, for the KV head that query head h reads.
func row(_ h: Int, _ token: Int) -> Int { (h / group * tokens + token) * dim }

var noise = Noise()
let k: [Float] = (0..<kvHeads * tokens * dim).map { _ in noise.next() }
let v: [Float] = (0..<kvHeads * tokens * dim).map { _ in noise.next() }
// every query looks for the key of token `needle`
let q: [Float] = (0..<qHeads).flatMap { h in k[row(h, needle)..<row(h, needle) + dim] }

// A context (device, threads) and a cache on it, with one sequence.
let cache = try KVCache(context: Context(), options: KVCacheOptions(kvHeads: kvHeads, headDim: dim))
let sequence = try cache.makeSequence()

// Keys and values of all tokens, [kvHeads, tokens, dim] row-major; the last token is the one that asks.
try cache.append(sequence, layer: 0, k: k, v: v)

// TokenSelect: 4 sinks, the 8 tokens with the most votes, the 16 most recent.
let selector = try Selector(
  cache: cache, options: SelectorOptions(method: .tokenSelect, qHeads: qHeads, sinks: 4, recent: 16, topK: 8, chunk: 16))
let selected = try selector.retrieve(sequence, layer: 0, q: q)
print("attends \(selected.count) of \(tokens) tokens:", selected.map(String.init).joined(separator: " "))
let out = try selector.attend(sequence, layer: 0, q: q)

// The same in f64: softmax(q . k / sqrt(d)) v over the selected tokens.
var worst = 0.0
for h in 0..<qHeads {
  var sum = 0.0
  var expected = [Double](repeating: 0, count: dim)
  for token in selected {
    let at = row(h, Int(token))
    var logit = 0.0
    for d in 0..<dim { logit += Double(q[h * dim + d]) * Double(k[at + d]) }
    let p = exp(logit / Double(dim).squareRoot())
    sum += p
    for d in 0..<dim { expected[d] += p * Double(v[at + d]) }
  }
  for d in 0..<dim { worst = max(worst, abs(Double(out[h * dim + d]) - expected[d] / sum)) }
}
let found = selected.contains(Int32(needle))
print("token \(needle) \(found ? "found" : "missed"), largest difference from the plain loop \(worst)")
exit(found && worst < 1e-5 ? 0 : 1)
