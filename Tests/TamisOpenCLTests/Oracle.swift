import Glibc
import TamisCore
import TamisDevice

/// Attention by the definition, in f64 loops.
struct Oracle {
  var heads, kvHeads, c, d: Int
  /// [heads][c][d], and [kvHeads][n][d] as stored; token t is row t mod n, so that a few pages can make a long sequence
  var q, k, v: [Float]
  var n: Int
  var scale: Double
  var softcap = 0.0
  var window = 0
  var bias: [Float]?
  var rope = RoPE.none
  var causal = true
  /// Token at which query 0 stands.
  var first: Int
  /// Tokens attended, ascending.
  var list: [Int]
  /// Whether key and query positions are places in the list.
  var compact = false

  func rotated(_ row: [Float], at position: Int) -> [Double] {
    var x = row.map(Double.init)
    for i in 0..<(rope.isNone ? 0 : rope.rotaryDims / 2) {
      let angle = Double(position) * rope.scale * pow(rope.base, -2 * Double(i) / Double(rope.rotaryDims))
      let (a, b) = rope.style == .half ? (i, i + rope.rotaryDims / 2) : (2 * i, 2 * i + 1)
      (x[a], x[b]) = (x[a] * cos(angle) - x[b] * sin(angle), x[b] * cos(angle) + x[a] * sin(angle))
    }
    return x
  }

  func attend() -> (out: [Double], lse: [Double]) {
    var out: [Double] = [], lse: [Double] = []
    for h in 0..<heads {
      let g = h / (heads / kvHeads)
      for i in 0..<c {
        let at = first + i
        let qr = rotated(Array(q[((h * c + i) * d)..<((h * c + i + 1) * d)]), at: compact ? list.count - c + i : at)
        var z: [Double] = [], seen: [Int] = []
        for (place, token) in list.enumerated() {
          if causal && token > at { continue }
          if window > 0 && token <= at - window { continue }
          let kr = rotated(Array(k[((g * n + token % n) * d)..<((g * n + token % n + 1) * d)]), at: compact ? place : token)
          var logit = scale * zip(qr, kr).reduce(0) { $0 + $1.0 * $1.1 }
          if softcap > 0 { logit = softcap * tanh(logit / softcap) }
          if token == 0, let bias { logit += Double(bias[h]) }
          z.append(logit)
          seen.append(token)
        }
        let m = z.max() ?? 0
        let weights = z.map { exp($0 - m) }
        let sum = weights.reduce(0, +)
        var o = [Double](repeating: 0, count: d)
        for (w, token) in zip(weights, seen) {
          for e in 0..<d { o[e] += w / sum * Double(v[(g * n + token % n) * d + e]) }
        }
        out += o
        lse.append(z.isEmpty ? -.infinity : m + log(sum))
      }
    }
    return (out, lse)
  }
}

/// Largest absolute difference; infinite where one side is NaN or they are different infinities.
func difference(_ a: [Float], _ b: [Double]) -> Double {
  if a.count != b.count { return .infinity }
  return zip(a, b).map { x, y in
    if Double(x) == y || (x.isNaN && y.isNaN) { return 0 }
    let difference = abs(Double(x) - y)
    return difference.isNaN ? .infinity : difference
  }.max() ?? 0
}
