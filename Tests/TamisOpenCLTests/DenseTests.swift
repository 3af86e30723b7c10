import Testing

@testable import TamisDevice
import TamisCore

/// One attention problem over tensors.
struct DenseCase: CustomStringConvertible, Sendable {
  var heads = 4, kvHeads = 2, c = 5, n = 70, d = 32
  var dtype = DType.f32
  var causal = true
  var offset: Int?
  var window = 0
  var softcap: Float = 0
  var bias = false
  var rope = RoPE.none
  var scale: Float = 0.3
  var qDType = DType.f32

  var description: String {
    "\(heads)/\(kvHeads) heads, q \(c) \(qDType.name), k \(n) \(dtype.name), d \(d), causal \(causal) at \(offset ?? n - c),"
      + " window \(window), cap \(softcap), bias \(bias), rope \(rope.style) \(rope.rotaryDims)"
  }
}

extension OpenCLTests {
  @Suite(.needsDevice) struct DenseTests {
    static func check(_ x: DenseCase, within tolerance: Double = 2e-5) throws {
      let backend = try #require(Device.backend)
      var random = Random(UInt64(x.c * 1000 + x.n + x.d))
      let q = random.array(x.heads * x.c * x.d), k = random.array(x.kvHeads * x.n * x.d),
        v = random.array(x.kvHeads * x.n * x.d)
      let bias = random.array(x.heads)
      let offset = x.offset ?? x.n - x.c
      var oracle = Oracle(
        heads: x.heads, kvHeads: x.kvHeads, c: x.c, d: x.d, q: stored(q, rows: x.d, x.qDType), k: stored(k, rows: x.d, x.dtype),
        v: stored(v, rows: x.d, x.dtype), n: x.n, scale: Double(x.scale), first: offset, list: Array(0..<x.n))
      oracle.softcap = Double(x.softcap)
      oracle.window = x.window
      oracle.bias = x.bias ? bias : nil
      oracle.rope = x.rope
      oracle.causal = x.causal
      let expected = oracle.attend()

      var rule = AttentionRule(scale: x.scale)
      rule.softcap = x.softcap
      rule.window = x.window
      rule.rope = x.rope
      rule.positions = .natural
      let out = HostTensor([x.heads, x.c, x.d]), lse = HostTensor([x.heads, x.c])
      let tq = HostTensor(q, [x.heads, x.c, x.d], x.qDType)
      let tk = HostTensor(k, [x.kvHeads, x.n, x.d], x.dtype), tv = HostTensor(v, [x.kvHeads, x.n, x.d], x.dtype)
      try bias.withUnsafeBufferPointer { bias in
        rule.keyZeroBias = x.bias ? bias.baseAddress : nil
        try backend.attend(
          q: tq.view, k: tk.view, v: tv.view, rule: rule, mask: DenseMask(causal: x.causal, queryOffset: offset),
          out: out.view, lse: lse.view, progress: nil)
      }
      #expect(difference(out.floats, expected.out) < tolerance, "\(x)")
      #expect(difference(lse.floats, expected.lse) < tolerance, "\(x)")
    }

    @Test(arguments: [DType.f32, .f16, .bf16, .i8]) func everyDType(_ dtype: DType) throws {
      try Self.check(DenseCase(c: 1, n: 300, dtype: dtype))
      try Self.check(DenseCase(c: 45, n: 130, dtype: dtype))
    }

    @Test(arguments: [8, 40, 64, 128, 256]) func everyHeadDim(_ d: Int) throws {
      try Self.check(DenseCase(c: 1, n: 77, d: d, scale: 0.1))
      try Self.check(DenseCase(c: 37, n: 77, d: d, scale: 0.1))
    }

    /// Multi-head, grouped (also not by a power of two, and by more than a block of rows), multi-query.
    @Test(arguments: [(3, 3), (6, 2), (7, 1), (20, 1), (40, 2)]) func groups(_ heads: (Int, Int)) throws {
      try Self.check(DenseCase(heads: heads.0, kvHeads: heads.1, c: 1, n: 90, d: 32))
      try Self.check(DenseCase(heads: heads.0, kvHeads: heads.1, c: 19, n: 60, d: 32))
    }

    @Test func longKeysAreSplit() throws {
      try Self.check(DenseCase(c: 1, n: 5001))
      try Self.check(DenseCase(heads: 2, kvHeads: 2, c: 3, n: 3000))
    }

    @Test func masks() throws {
      for c in [2, 33] {
        try Self.check(DenseCase(c: c, causal: false))
        try Self.check(DenseCase(c: c, window: 7))
        try Self.check(DenseCase(c: c, causal: false, window: 7))
        try Self.check(DenseCase(c: c, window: 1))
        try Self.check(DenseCase(c: c, window: .max))
        // Some queries before every key, some after: nothing to see gives 0 and -inf.
        try Self.check(DenseCase(c: c, offset: -1))
        try Self.check(DenseCase(c: c, offset: -50))
        try Self.check(DenseCase(c: c, offset: 200))
        try Self.check(DenseCase(c: c, offset: 75, window: 10))
        try Self.check(DenseCase(c: c, offset: .max / 2, window: 10))
        try Self.check(DenseCase(c: c, offset: -(.max / 2)))
      }
    }

    @Test func capAndBias() throws {
      for c in [1, 33] {
        try Self.check(DenseCase(c: c, softcap: 1.5, scale: 2))
        try Self.check(DenseCase(c: c, bias: true))
        try Self.check(DenseCase(c: c, softcap: 0.7, bias: true, scale: 2))
        try Self.check(DenseCase(c: c, offset: 60, window: 20, bias: true))
      }
    }

    @Test(arguments: [RoPE.Style.half, .interleaved]) func rotation(_ style: RoPE.Style) throws {
      for c in [1, 33] {
        try Self.check(DenseCase(c: c, rope: RoPE(style: style, rotaryDims: 32)))
        try Self.check(DenseCase(c: c, rope: RoPE(style: style, rotaryDims: 10, base: 500, scale: 0.25)))
        try Self.check(DenseCase(c: c, causal: false, offset: -90, rope: RoPE(style: style, rotaryDims: 32)))
        // The angle of a position near a million, in f32 alone, would be off by 0.03.
        try Self.check(DenseCase(c: c, causal: false, offset: 1_048_000, rope: RoPE(style: style, rotaryDims: 32)))
        try Self.check(DenseCase(c: c, causal: false, offset: 3_000_017, rope: RoPE(style: style, rotaryDims: 32)))
      }
    }

    @Test func queryDTypesAndShapes() throws {
      try Self.check(DenseCase(c: 3, qDType: .f16))
      try Self.check(DenseCase(c: 40, dtype: .bf16, qDType: .bf16))
      try Self.check(DenseCase(c: 4, n: 0))
      try Self.check(DenseCase(heads: 1, kvHeads: 1, c: 1, n: 1, d: 8))
      try Self.check(DenseCase(c: 90, n: 33, offset: 0))
    }

    @Test func outputDTypesAndStrides() throws {
      let backend = try #require(Device.backend)
      var random = Random(5)
      let heads = 2, c = 3, n = 20, d = 16
      let q = random.array(heads * c * d), k = random.array(heads * n * d), v = random.array(heads * n * d)
      let expected = Oracle(
        heads: heads, kvHeads: heads, c: c, d: d, q: q, k: k, v: v, n: n, scale: 0.5, first: n - c, list: Array(0..<n)
      ).attend()
      // Token-major tensors: [t, h, d] seen as [h, t, d].
      func seen(_ tensor: HostTensor, _ n: Int) -> TensorView {
        TensorView(tensor.view.data, tensor.view.dtype, shape: [heads, n, d], stride: [d, heads * d, 1])
      }
      let tq = HostTensor(swapped(q, heads, c, d), [c, heads, d]), tk = HostTensor(swapped(k, heads, n, d), [n, heads, d])
      let tv = HostTensor(swapped(v, heads, n, d), [n, heads, d])
      for dtype in [DType.f32, .f16, .bf16] {
        let out = HostTensor([c, heads, d], dtype)
        try backend.attend(
          q: seen(tq, c), k: seen(tk, n), v: seen(tv, n), rule: AttentionRule(scale: 0.5),
          mask: DenseMask(causal: true, queryOffset: n - c), out: seen(out, c), lse: nil, progress: nil)
        let back = swapped(out.floats, c, heads, d)
        let tolerance = dtype == .f32 ? 2e-5 : dtype == .f16 ? 1e-3 : 8e-3
        #expect(difference(back, expected.out) < tolerance)
      }
      // Elements two apart.
      let wide = HostTensor([heads, c, 2 * d])
      let strided = TensorView(wide.view.data, .f32, shape: [heads, c, d], stride: [c * 2 * d, 2 * d, 2])
      try backend.attend(
        q: seen(tq, c), k: seen(tk, n), v: seen(tv, n), rule: AttentionRule(scale: 0.5),
        mask: DenseMask(causal: true, queryOffset: n - c), out: strided, lse: nil, progress: nil)
      let flat = wide.floats
      var even: [Float] = [], odd: [Float] = []
      for i in 0..<(flat.count / 2) {
        even.append(flat[2 * i])
        odd.append(flat[2 * i + 1])
      }
      #expect(difference(even, expected.out) < 2e-5)
      #expect(odd.allSatisfy { $0 == -77 })
    }

    /// NaN and infinity reach the queries that see them and no others.
    @Test(arguments: [1, 5, 40]) func notANumber(_ c: Int) throws {
      let backend = try #require(Device.backend)
      let n = 64, d = 16, first = n - c
      for (place, value) in [(60, Float.nan), (60, .infinity), (0, .nan), (63, .nan)] {
        for inKeys in [true, false] {
          var random = Random(9)
          let q = random.array(c * d)
          var k = random.array(n * d), v = random.array(n * d)
          if inKeys { k[place * d + 3] = value } else { v[place * d + 3] = value }
          let out = HostTensor([1, c, d])
          let tq = HostTensor(q, [1, c, d]), tk = HostTensor(k, [1, n, d]), tv = HostTensor(v, [1, n, d])
          for offset in [first, place - c] where c > 1 || offset == first {
            try backend.attend(
              q: tq.view, k: tk.view, v: tv.view, rule: AttentionRule(scale: 1),
              mask: DenseMask(causal: true, queryOffset: offset), out: out.view, lse: nil, progress: nil)
            for i in 0..<c {
              let sees = offset + i >= place
              let row = out.floats[(i * d)..<((i + 1) * d)]
              if !sees { #expect(row.allSatisfy { $0.isFinite }, "query \(i) at \(offset)") }
              if sees && !inKeys { #expect(!row[i * d + 3].isFinite, "query \(i) at \(offset)") }
              if sees && inKeys && value.isNaN { #expect(row.allSatisfy { $0.isNaN }, "query \(i) at \(offset)") }
            }
          }
        }
      }
    }

    @Test func progressAndCancel() throws {
      let backend = try #require(Device.backend)
      let c = 200, d = 8
      let q = HostTensor([1, c, d]), k = HostTensor([1, c, d]), out = HostTensor([1, c, d])
      let mask = DenseMask(causal: true, queryOffset: 0)
      var shares: [Double] = []
      try backend.attend(
        q: q.view, k: k.view, v: k.view, rule: AttentionRule(scale: 0.01), mask: mask, out: out.view, lse: nil,
        progress: { shares.append($0); return true })
      #expect(shares.count > 1 && shares.last == 1 && shares == shares.sorted())
      #expect(out.floats.allSatisfy { abs($0 + 77) < 1e-3 })
      do {
        try backend.attend(
          q: q.view, k: k.view, v: k.view, rule: AttentionRule(scale: 0.01), mask: mask, out: out.view, lse: nil,
          progress: { _ in false })
        Issue.record("was not cancelled")
      } catch { #expect(error.status == .cancelled) }
      #expect(throws: TamisError.self) {
        try backend.attend(
          q: q.view, k: k.view, v: k.view, rule: AttentionRule(scale: 1),
          mask: DenseMask(causal: true, queryOffset: 0, blas: true), out: out.view, lse: nil, progress: nil)
      }
    }
  }
}
