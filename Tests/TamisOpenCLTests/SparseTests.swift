import Testing

@testable import TamisDevice
import TamisCore

/// One problem of attention over tile lists.
struct TilesCase: CustomStringConvertible, Sendable {
  var heads = 4, kvHeads = 2, c = 75, n = 130, d = 32
  var queryBlock = 32, keyBlock = 16
  /// 1, kvHeads or heads.
  var listHeads = 4
  var dtype = DType.f32
  var causal = true
  var offset: Int?
  var window = 0
  var softcap: Float = 0
  var bias = false

  var blocks: Int { (c + queryBlock - 1) / queryBlock }
  var tiles: Int { (n + keyBlock - 1) / keyBlock }
  var description: String {
    "\(heads)/\(kvHeads) heads, \(listHeads) lists, \(c) x \(n) in \(queryBlock) x \(keyBlock), \(dtype.name), d \(d),"
      + " causal \(causal) at \(offset ?? n - c), window \(window), cap \(softcap), bias \(bias)"
  }
}

extension OpenCLTests {
  /// The CPU backend is the oracle.
  @Suite(.needsDevice) struct SparseTests {
    static func check(_ x: TilesCase, _ rows: [[Int32]]? = nil, within tolerance: Double = 2e-5) throws {
      var random = Random(UInt64(x.c * 1000 + x.n + x.d))
      let q = HostTensor(random.array(x.heads * x.c * x.d), [x.heads, x.c, x.d])
      let k = HostTensor(random.array(x.kvHeads * x.n * x.d), [x.kvHeads, x.n, x.d], x.dtype)
      let v = HostTensor(random.array(x.kvHeads * x.n * x.d), [x.kvHeads, x.n, x.d], x.dtype)
      let bias = random.array(x.heads)
      let rows =
        rows
        ?? (0..<x.listHeads * x.blocks).map { r in
          let often = [0, 1, 2, 3][r % 4]
          return (0..<Int32(x.tiles)).filter { _ in often > 0 && random.below(often) == 0 }
        }
      // As the lists of a later batch element lie: behind others.
      var starts: [Int64] = [3]
      for row in rows { starts.append(starts.last! + Int64(row.count)) }
      let index: [Int32] = [-1, -1, -1] + rows.flatMap { $0 } + [-1]
      func run(_ backend: any Backend) throws -> (out: [Float], lse: [Float]) {
        var rule = AttentionRule(scale: 0.3)
        rule.softcap = x.softcap
        rule.window = x.window
        let out = HostTensor([x.heads, x.c, x.d]), lse = HostTensor([x.heads, x.c])
        try bias.withUnsafeBufferPointer { bias in
          rule.keyZeroBias = x.bias ? bias.baseAddress : nil
          try starts.withUnsafeBufferPointer { starts in
            try index.withUnsafeBufferPointer { index in
              try backend.attend(
                q: q.view, k: k.view, v: v.view, rule: rule,
                mask: DenseMask(causal: x.causal, queryOffset: x.offset ?? x.n - x.c),
                tiles: TileLists(
                  heads: x.listHeads, blocks: x.blocks, queryBlock: x.queryBlock, keyBlock: x.keyBlock,
                  rowStart: starts.baseAddress!, index: index.baseAddress!),
                out: out.view, lse: lse.view, progress: nil)
            }
          }
        }
        return (out.floats, lse.floats)
      }
      let got = try run(try #require(Device.backend))
      let expected = try run(try CPUBackend(threads: 2))
      #expect(difference(got.out, expected.out.map(Double.init)) < tolerance, "\(x)")
      #expect(difference(got.lse, expected.lse.map(Double.init)) < tolerance, "\(x)")
    }

    @Test(arguments: [DType.f32, .f16, .bf16, .i8]) func everyDType(_ dtype: DType) throws {
      try Self.check(TilesCase(dtype: dtype))
    }

    @Test(arguments: [8, 40, 64, 80, 128, 256]) func everyHeadDim(_ d: Int) throws { try Self.check(TilesCase(d: d)) }

    @Test(arguments: [(4, 4, 4), (4, 4, 1), (6, 2, 6), (6, 2, 2), (6, 2, 1), (7, 1, 7), (20, 1, 1)])
    func groups(_ heads: (Int, Int, Int)) throws {
      try Self.check(TilesCase(heads: heads.0, kvHeads: heads.1, listHeads: heads.2))
    }

    @Test func blocks() throws {
      for (queryBlock, keyBlock) in [(1, 1), (5, 1), (50, 3), (33, 7), (128, 64), (100, 300), (7, 33), (1 << 30, 1 << 30)] {
        try Self.check(TilesCase(queryBlock: queryBlock, keyBlock: keyBlock))
      }
      for n in [1, 2, 63, 64, 65, 127, 128, 129, 1000] { try Self.check(TilesCase(c: min(n, 200), n: n, queryBlock: 64)) }
      try Self.check(TilesCase(c: 1, n: 500))
      try Self.check(TilesCase(c: 200, n: 60))
    }

    @Test func rules() throws {
      try Self.check(TilesCase(causal: false))
      try Self.check(TilesCase(window: 1))
      try Self.check(TilesCase(window: 40))
      try Self.check(TilesCase(causal: false, window: 40))
      try Self.check(TilesCase(window: .max))
      try Self.check(TilesCase(offset: -30))
      try Self.check(TilesCase(offset: -1000))
      try Self.check(TilesCase(offset: 1000))
      try Self.check(TilesCase(offset: 1000, window: 930))
      try Self.check(TilesCase(offset: .max / 2, window: 10))
      try Self.check(TilesCase(softcap: 0.7))
      try Self.check(TilesCase(bias: true))
      try Self.check(TilesCase(window: 60, softcap: 0.7, bias: true))
    }

    @Test func nothingAndEverything() throws {
      let x = TilesCase()
      try Self.check(x, [[Int32]](repeating: [], count: x.listHeads * x.blocks))
      try Self.check(x, [[Int32]](repeating: Array(0..<Int32(x.tiles)), count: x.listHeads * x.blocks))
    }

    @Test func progressAndCancel() throws {
      let backend = try #require(Device.backend)
      let c = 200, d = 8
      let q = HostTensor([1, c, d]), out = HostTensor([1, c, d])
      let starts: [Int64] = [0] + (1...25).map { Int64($0) }
      let index = [Int32](repeating: 0, count: 25)
      let mask = DenseMask(causal: true, queryOffset: 0)
      var shares: [Double] = []
      try starts.withUnsafeBufferPointer { starts in
        try index.withUnsafeBufferPointer { index in
          let tiles = TileLists(
            heads: 1, blocks: 25, queryBlock: 8, keyBlock: 8, rowStart: starts.baseAddress!, index: index.baseAddress!)
          func attend(_ mask: DenseMask, _ progress: Progress?) throws {
            try backend.attend(
              q: q.view, k: q.view, v: q.view, rule: AttentionRule(scale: 0.01), mask: mask, tiles: tiles, out: out.view,
              lse: nil, progress: progress)
          }
          try attend(mask) { shares.append($0); return true }
          #expect(shares.count > 1 && shares.last == 1 && shares == shares.sorted())
          #expect(out.floats.allSatisfy { abs($0 + 77) < 1e-3 })
          #expect(throws: TamisError.self) { try attend(mask) { _ in false } }
          #expect(throws: TamisError.self) { try attend(DenseMask(causal: true, queryOffset: 0, blas: true), nil) }
        }
      }
    }
  }
}
