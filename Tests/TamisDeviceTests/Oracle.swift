// What the tests compare with: plain loops in f64, written from the formulas of include/tamis/attention.h and retrieval.h.
import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// splitmix64 -> standard normal (Box-Muller); the same numbers on every machine.
struct Noise {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func bits() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func uniform() -> Double { (Double(bits() >> 11) + 0.5) * 0x1p-53 }
  mutating func normal() -> Float { Float(sqrt(-2 * log(uniform())) * cos(2 * Double.pi * uniform())) }
  mutating func normals(_ n: Int) -> [Float] { (0..<n).map { _ in normal() } }
  mutating func below(_ n: Int) -> Int { Int(bits() % UInt64(n)) }
}

/// A tensor [heads, n, d] that owns its memory; `stored` is what the dtype kept, in f64.
final class Tensor {
  let view: TensorView
  let shape: [Int]
  private let memory: UnsafeMutableRawPointer
  private let scales: UnsafeMutablePointer<Float>

  /// Rows are `gap` elements longer than d, so that strides are not the dense ones.
  init(_ values: [Float], _ heads: Int, _ n: Int, _ d: Int, _ dtype: DType = .f32, gap: Int = 0) {
    shape = [heads, n, d]
    let row = d + gap
    memory = .allocate(byteCount: max(heads * n * row * dtype.size, 1) + 64, alignment: 64)
    scales = .allocate(capacity: max(heads * n, 1))
    view = TensorView(
      memory, dtype, shape: shape, stride: [n * row, row, 1], scale: dtype == .i8 ? scales : nil, scaleStride: [n, 1, 0])
    for r in 0..<heads * n {
      let x = Array(values[r * d..<r * d + d])
      let home = memory + r * row * dtype.size
      switch dtype {
      case .f32: home.copyMemory(from: x, byteCount: d * 4)
      case .f16:
        for i in 0..<d { home.storeBytes(of: Float16(x[i]).bitPattern, toByteOffset: i * 2, as: UInt16.self) }
      case .bf16:
        for i in 0..<d { home.storeBytes(of: bf16(x[i]), toByteOffset: i * 2, as: UInt16.self) }
      default:
        let top = x.filter(\.isFinite).map { abs($0) }.max() ?? 0
        scales[r] = top / 127
        for i in 0..<d {
          let y = top == 0 || !x[i].isFinite ? 0 : (x[i] / scales[r]).rounded(.toNearestOrEven)
          home.storeBytes(of: Int8(max(-127, min(127, y))), toByteOffset: i, as: Int8.self)
        }
      }
    }
  }

  convenience init(zeros heads: Int, _ n: Int, _ d: Int, _ dtype: DType = .f32) {
    self.init(.init(repeating: 0, count: heads * n * d), heads, n, d, dtype)
  }

  deinit {
    memory.deallocate()
    scales.deallocate()
  }

  func row(_ h: Int, _ t: Int) -> [Double] {
    let p = view.row(h, t)
    return (0..<shape[2]).map { i in
      switch view.dtype {
      case .f32: Double(p.load(fromByteOffset: i * 4, as: Float.self))
      case .f16: Double(Float16(bitPattern: p.load(fromByteOffset: i * 2, as: UInt16.self)))
      case .bf16: Double(Float(bitPattern: UInt32(p.load(fromByteOffset: i * 2, as: UInt16.self)) << 16))
      default: Double(p.load(fromByteOffset: i, as: Int8.self)) * Double(view.rowScale(h, t))
      }
    }
  }
  var rows: [[[Double]]] { (0..<shape[0]).map { h in (0..<shape[1]).map { row(h, $0) } } }
}

func bf16(_ x: Float) -> UInt16 {
  if x.isNaN { return 0x7fc0 }
  let b = x.bitPattern
  return UInt16(truncatingIfNeeded: (UInt64(b) + 0x7fff + UInt64((b >> 16) & 1)) >> 16)
}

func rotated(_ x: [Double], _ rope: RoPE, at position: Int) -> [Double] {
  if rope.isNone { return x }
  var y = x
  let half = rope.rotaryDims / 2
  for i in 0..<half {
    let angle = Double(position) * rope.scale * pow(rope.base, -2 * Double(i) / Double(rope.rotaryDims))
    let (a, b) = rope.style == .half ? (i, i + half) : (2 * i, 2 * i + 1)
    y[a] = x[a] * cos(angle) - x[b] * sin(angle)
    y[b] = x[b] * cos(angle) + x[a] * sin(angle)
  }
  return y
}

/// o and lse of one query over listed (key, value) pairs, already turned. `bias` is nil or (place, value).
func attention(
  _ q: [Double], _ keys: [[Double]], _ values: [[Double]], _ legal: [Bool], rule: AttentionRule, bias: (Int, Double)? = nil
) -> (o: [Double], lse: Double) {
  var z: [Double] = []
  var seen: [Int] = []
  for t in keys.indices where legal[t] {
    var s = Double(rule.scale) * dot(q, keys[t])
    if rule.softcap != 0 { s = Double(rule.softcap) * tanh(s / Double(rule.softcap)) }
    if let bias, bias.0 == t { s += bias.1 }
    z.append(s)
    seen.append(t)
  }
  var o = [Double](repeating: 0, count: values.first?.count ?? 0)
  guard !z.isEmpty else { return (o, -.infinity) }
  let m = z.reduce(-Double.infinity) { $1.isNaN || $0.isNaN ? .nan : max($0, $1) }
  let p = z.map { exp($0 - m) }
  let l = p.reduce(0, +)
  for (j, t) in seen.enumerated() { add(values[t], times: p[j] / l, to: &o) }
  return (o, m + log(l))
}

// Pointers and while: these two are where a debug build of the tests spends its time.

func dot(_ a: [Double], _ b: [Double]) -> Double {
  a.withUnsafeBufferPointer { a in
    b.withUnsafeBufferPointer { b in
      var sum = 0.0
      var i = 0
      while i < a.count {
        sum += a[i] * b[i]
        i += 1
      }
      return sum
    }
  }
}

func add(_ x: [Double], times a: Double, to y: inout [Double]) {
  x.withUnsafeBufferPointer { x in
    y.withUnsafeMutableBufferPointer { y in
      var i = 0
      while i < y.count {
        y[i] += a * x[i]
        i += 1
      }
    }
  }
}
