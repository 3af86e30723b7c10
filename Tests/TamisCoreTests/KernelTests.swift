import CShims
import Testing

@testable import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// splitmix64 -> uniform in [-1, 1).
struct Random {
  var state: UInt64
  mutating func bits() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func next() -> Float { Float(Int64(bitPattern: bits()) >> 40) * 0x1p-23 }
  mutating func fill(_ n: Int) -> [Float] { (0..<n).map { _ in next() } }
}

@Suite struct KernelTests {
  @Test(arguments: Kernels.available) func conversionsOfEveryHalf(_ level: Kernels.Level) {
    let k = Kernels.table(level).pointee
    let all = (0...UInt16.max).map { $0 }
    var wide = [Float](repeating: 0, count: all.count)
    var back = [UInt16](repeating: 0, count: all.count)
    k.f16_to_f32(all, &wide, all.count)
    for h in all {
      let want = Float(Float16(bitPattern: h))
      #expect(want.isNaN ? wide[Int(h)].isNaN : wide[Int(h)].bitPattern == want.bitPattern)
    }
    k.f32_to_f16(wide, &back, all.count)
    for h in all where !Float16(bitPattern: h).isNaN { #expect(back[Int(h)] == h) }
    k.bf16_to_f32(all, &wide, all.count)
    for h in all { #expect(wide[Int(h)].bitPattern == UInt32(h) << 16) }
    k.f32_to_bf16(wide, &back, all.count)
    for h in all where !wide[Int(h)].isNaN { #expect(back[Int(h)] == h) }
  }

  @Test func roundingIsTheSameAtEveryLevel() {
    var r = Random(state: 3)
    var x = (0..<20001).map { _ in Float(bitPattern: UInt32(truncatingIfNeeded: Int64(r.next() * 0x1p30) * 4 + 1)) }
    x += [.nan, .infinity, -.infinity, 65504, 65519.996, 65520, 0x1p-25, 0x1.8p-25, 0x1p-14, -0.0, .leastNonzeroMagnitude]
    for i in 0..<2000 { x.append(Float(Float16(bitPattern: UInt16(i * 16))) * 1.000244140625) }  // halfway cases
    for level in Kernels.available {
      let k = Kernels.table(level).pointee
      var h = [UInt16](repeating: 0, count: x.count)
      var b = h
      k.f32_to_f16(x, &h, x.count)
      k.f32_to_bf16(x, &b, x.count)
      for i in x.indices {
        #expect(x[i].isNaN ? Float16(bitPattern: h[i]).isNaN : h[i] == Float16(x[i]).bitPattern)
        let bits = x[i].bitPattern
        if !x[i].isNaN { #expect(b[i] == UInt16(truncatingIfNeeded: (UInt64(bits) + 0x7fff + UInt64(bits >> 16 & 1)) >> 16)) }
        else { #expect(Float(bitPattern: UInt32(b[i]) << 16).isNaN) }
      }
    }
  }

  @Test(arguments: Kernels.available) func softmaxOfABlock(_ level: Kernels.Level) {
    let k = Kernels.table(level).pointee
    var r = Random(state: 4)
    for n in [1, 3, 7, 8, 15, 16, 17, 64] {
      let z = r.fill(n).map { $0 * 40 }
      var p = z
      var m: Float = -5
      var l: Float = 2
      let worth = k.softmax_block(&p, n, 0.7, &m, &l)
      let top = max(-5, z.map { Double($0) * Double(Float(0.7)) }.max()!)
      #expect(abs(Double(m) - top) <= 4e-6 * max(1, abs(top)) && abs(Double(worth) - exp2(-5 - Double(m))) < 2e-7)
      var sum = 2 * exp2(-5 - Double(m))
      for i in 0..<n {
        let t = Double(z[i]) * Double(Float(0.7)) - Double(m)
        sum += exp2(t)
        // about 2 ulp of the polynomial, and the argument's rounding: of z a as well where there is no FMA
        #expect(abs(Double(p[i]) - exp2(t)) <= exp2(t) * (2.5e-7 + 6e-8 * (2 * abs(t) + abs(Double(m)))))
      }
      #expect(abs(Double(l) - sum) < 1e-5 * sum)
    }
    var z: [Float] = [-.infinity, 0, -.infinity]
    var (m, l) = (-Float.infinity, Float(0))
    _ = k.softmax_block(&z, 1, 1, &m, &l)
    #expect(z[0] == 0 && m == -.infinity && l == 0)
    z = [-.infinity, 0, -.infinity]
    _ = k.softmax_block(&z, 3, 1, &m, &l)
    #expect(z == [0, 1, 0] && m == 0 && l == 1)
    z = [1, .nan, 0]
    _ = k.softmax_block(&z, 3, 1, &m, &l)
    #expect(z[1].isNaN && l.isNaN)
  }

  @Test(arguments: Kernels.available) func anglesAndRotation(_ level: Kernels.Level) throws {
    let k = Kernels.table(level).pointee
    for half in [1, 7, 8, 13, 64] {
      let f = (0..<half).map { pow(10000, -Double($0) / Double(half)) }
      for position in [0.0, 1, 777, 65535, 3e6, -5] {
        var (c, s) = ([Float](repeating: 0, count: half), [Float](repeating: 0, count: half))
        k.angles(position, f, half, &c, &s)
        for i in 0..<half {
          #expect(abs(Double(c[i]) - cos(position * f[i])) < 1e-7 && abs(Double(s[i]) - sin(position * f[i])) < 1e-7)
        }
      }
    }
  }

  /// Rows at odd addresses, through a row list, with a stride: dot and accumulate of f32 against f64.
  @Test(arguments: Kernels.available) func rowsAnywhere(_ level: Kernels.Level) {
    let k = Kernels.table(level).pointee
    var r = Random(state: 8)
    for d in [8, 16, 24, 40, 64, 72, 128, 200, 256] {
      for (n, g) in [(1, 1), (4, 4), (7, 3), (33, 5), (5, 8)] {
        let stride = d + 3
        let x = r.fill(1 + 40 * stride)
        let q = r.fill(g * d)
        let list = (0..<n).map { Int32(($0 * 7 + 2) % 40) }
        var z = [Float](repeating: .nan, count: g * (n + 2))
        var o = r.fill(g * d)
        let before = o
        let p = r.fill(g * (n + 1))
        var qc = q
        x.withUnsafeBufferPointer { x in
          list.withUnsafeBufferPointer { list in
            qc.withUnsafeMutableBufferPointer { qc in
              var rows = tk_rows(
                base: x.baseAddress! + 1, rows: list.baseAddress, stride: stride, scale: nil, scale_stride: 0, ahead: nil,
                ahead_count: 0)
              var queries = tk_queries()
              queries.f32 = qc.baseAddress
              queries.count = Int32(g)
              queries.dim = Int32(d)
              k.dot_f32(&rows, n, &queries, &z, n + 2)
              var weights = p
              k.accumulate_f32(&rows, n, &weights, n + 1, Int32(g), Int32(d), &o)
            }
          }
        }
        for h in 0..<g {
          for t in 0..<n {
            let row = (0..<d).map { Double(x[1 + Int(list[t]) * stride + $0]) }
            let want = (0..<d).reduce(0.0) { $0 + Double(q[h * d + $1]) * row[$1] }
            #expect(abs(Double(z[h * (n + 2) + t]) - want) < 3e-5)
          }
          #expect(z[h * (n + 2) + n].isNaN)
          for i in 0..<d {
            let want = (0..<n).reduce(Double(before[h * d + i])) {
              $0 + Double(p[h * (n + 1) + $1]) * Double(x[1 + Int(list[$1]) * stride + i])
            }
            #expect(abs(Double(o[h * d + i]) - want) < 1e-5)
          }
        }
      }
    }
  }
}

@Suite struct ConvertTests {
  @Test func everyPair() throws {
    var r = Random(state: 5)
    var x = r.fill(3 * 5 * 11)
    for from in [DType.f32, .f16, .bf16, .i8] {
      for to in [DType.f32, .f16, .bf16, .i8] {
        var a = [UInt8](repeating: 0, count: 165 * 4), b = a, c = [UInt8](repeating: 0, count: 165 * 4)
        var sa = [Float](repeating: 0, count: 15), sb = sa
        try x.withUnsafeMutableBytes { x in
          try a.withUnsafeMutableBytes { a in
            try b.withUnsafeMutableBytes { b in
              try c.withUnsafeMutableBytes { c in
                try sa.withUnsafeMutableBufferPointer { sa in
                  try sb.withUnsafeMutableBufferPointer { sb in
                    let source = TensorView(x.baseAddress!, .f32, shape: [3, 5, 11])
                    // rows of `from` in reverse head order
                    let first = TensorView(
                      a.baseAddress! + 2 * 55 * from.size, from, shape: [3, 5, 11], stride: [-55, 11, 1], scale: sa.baseAddress,
                      scaleStride: [5, 1, 0])
                    let second = TensorView(b.baseAddress!, to, shape: [3, 5, 11], scale: sb.baseAddress)
                    let third = TensorView(c.baseAddress!, .f32, shape: [3, 5, 11])
                    try Convert.copy(from: source, to: first)
                    try Convert.copy(from: first, to: second)
                    try Convert.copy(from: second, to: third)
                  }
                }
              }
            }
          }
        }
        let got = c.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        let loss: Float = from == .i8 || to == .i8 ? 1.0 / 120 : from == .bf16 || to == .bf16 ? 0x1p-7 : 0x1p-10
        for i in x.indices { #expect(abs(got[i] - x[i]) <= loss) }
        #expect(got.contains { $0 != 0 })
      }
    }
  }

  @Test func badInput() {
    var memory = [Float](repeating: 0, count: 12)
    memory.withUnsafeMutableBytes { m in
      let a = TensorView(m.baseAddress!, .f32, shape: [3, 4])
      let b = TensorView(m.baseAddress!, .f32, shape: [4, 3])
      let c = TensorView(m.baseAddress!, .i8, shape: [3, 4])
      let i = TensorView(m.baseAddress!, .i32, shape: [3, 4])
      #expect(throws: TamisError.self) { try Convert.copy(from: a, to: b) }
      #expect(throws: TamisError.self) { try Convert.copy(from: a, to: c) }
      #expect(throws: TamisError.self) { try Convert.copy(from: i, to: a) }
      let rope = RoPE(style: .half, rotaryDims: 6)
      #expect(throws: TamisError.self) { try rope.apply(a, positions: nil, first: 0, out: a) }
    }
  }

  @Test func ropeApplyAgainstItsFormula() throws {
    var r = Random(state: 6)
    for (style, dims) in [(RoPE.Style.half, 16), (.interleaved, 16), (.half, 6), (.interleaved, 10), (.none, 0)] {
      let rope = RoPE(style: style, rotaryDims: dims, base: 500, scale: 0.25)
      let before: [Float] = r.fill(96)
      var x = before
      let positions: [Int64] = [5, 0, 100_000]
      try x.withUnsafeMutableBytes {
        let view = TensorView($0.baseAddress!, .f32, shape: [2, 3, 16])
        try rope.apply(view, positions: positions, first: 0, out: view)
      }
      for h in 0..<2 {
        for t in 0..<3 {
          let at = (h * 3 + t) * 16
          var want = (0..<16).map { Double(before[at + $0]) }
          for i in 0..<dims / 2 {
            let angle = Double(positions[t]) * 0.25 * pow(500, -2 * Double(i) / Double(dims))
            let (a, b) = style == .half ? (at + i, at + i + dims / 2) : (at + 2 * i, at + 2 * i + 1)
            want[a - at] = Double(before[a]) * cos(angle) - Double(before[b]) * sin(angle)
            want[b - at] = Double(before[b]) * cos(angle) + Double(before[a]) * sin(angle)
          }
          for i in 0..<16 { #expect(abs(Double(x[at + i]) - want[i]) < 3e-7) }
        }
      }
    }
  }
}
