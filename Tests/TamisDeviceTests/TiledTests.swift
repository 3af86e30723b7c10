import Testing

@testable import TamisCore
@testable import TamisDevice

/// The tiled form, which many queries take: a query is a lane of a panel of 32, a key is a row of a tile of 256.
@Suite struct TiledAttentionTests {
  /// Relative to the greatest output. Only products of bf16 pairs and rounded outputs lose more than f32 sums do.
  static func bound(_ x: Case) -> Double {
    #if arch(x86_64)
    if x.level == .v4x && x.dtype == .bf16 && x.rope.isNone && x.scale ?? 1 > 0 { return 8e-3 }
    #endif
    return x.out == .f32 ? 2e-5 : x.out == .bf16 ? 8e-3 : 1e-3
  }

  static func checkTiled(_ x: Case) throws {
    #expect(x.c > 1 && x.c * x.group >= TiledAttention.lanes / 2, "\(x) is not tiled")
    try check(x, within: bound(x))
  }

  static let dtypes: [DType] = [.f32, .f16, .bf16, .i8]

  /// Shapes around the borders of panels (32 lanes) and tiles (256 keys); a page order is a shuffle, a page 16 or 64 tokens.
  @Test(arguments: Kernels.available, dtypes) func shapes(_ level: Kernels.Level, dtype: DType) throws {
    let shapes = [
      (c: 17, group: 1, d: 8, n: 40), (c: 32, group: 1, d: 32, n: 33), (c: 33, group: 1, d: 80, n: 90),
      (c: 17, group: 4, d: 32, n: 70), (c: 31, group: 4, d: 128, n: 65), (c: 17, group: 7, d: 80, n: 63),
      (c: 24, group: 1, d: 256, n: 97), (c: 100, group: 1, d: 8, n: 300), (c: 20, group: 1, d: 32, n: 530),
      (c: 64, group: 7, d: 8, n: 64), (c: 4, group: 4, d: 32, n: 257), (c: 3, group: 7, d: 40, n: 256),
    ]
    for (i, s) in shapes.enumerated() {
      try Self.checkTiled(
        Case(dtype: dtype, kvHeads: 1 + i % 2, group: s.group, d: s.d, n: s.n, c: s.c, page: i % 3 == 0 ? 16 : 64, level: level)
      )
    }
  }

  @Test(arguments: Kernels.available, dtypes) func lists(_ level: Kernels.Level, dtype: DType) throws {
    for positions in [AttentionRule.Positions.compact, .natural] {
      for (i, rope) in [
        RoPE.none, RoPE(style: .half, rotaryDims: 32), RoPE(style: .interleaved, rotaryDims: 32),
        RoPE(style: .half, rotaryDims: 20, base: 5000, scale: 0.5),
      ].enumerated() {
        try Self.checkTiled(
          Case(
            dtype: dtype, kvHeads: 1, group: i % 2 == 0 ? 4 : 1, d: 32, n: 500, c: 18, page: i % 2 == 0 ? 64 : 16, rope: rope,
            positions: positions,
            list: (sinks: 7, selected: 90, recent: 41), level: level))
      }
    }
  }

  @Test(arguments: Kernels.available, dtypes) func rules(_ level: Kernels.Level, dtype: DType) throws {
    var x = Case(dtype: dtype, kvHeads: 1, group: 4, d: 32, n: 90, c: 20, level: level)
    for change in Self.changes {
      var y = x
      change(&y)
      try Self.checkTiled(y)
    }
    x.rope = RoPE(style: .half, rotaryDims: 32)
    for change in Self.changes {
      var y = x
      change(&y)
      try Self.checkTiled(y)
    }
  }

  static let changes: [@Sendable (inout Case) -> Void] = [
    { $0.window = 1 }, { $0.window = 9 }, { $0.window = 33 }, { $0.softcap = 2 }, { $0.bias = true },
    { $0.window = 80; $0.softcap = 1; $0.bias = true },
    { $0.scale = -0.2 }, { $0.scale = -0.2; $0.softcap = 1.5; $0.bias = true; $0.window = 75 },
    { $0.scale = 1e-30 }, { $0.scale = -1e-30 }, { $0.scale = 1e-30; $0.bias = true },
    { $0.list = (0, 30, 25); $0.bias = true }, { $0.out = .f16 }, { $0.out = .bf16 },
  ]

  @Test(arguments: [RoPE.none, RoPE(style: .half, rotaryDims: 64)]) func sameBitsForAnyThreads(_ rope: RoPE) throws {
    for dtype in Self.dtypes {
      let runs = try [1, 2, 3].map { threads in
        try Self.raw(Case(dtype: dtype, kvHeads: 2, group: 4, d: 64, n: 600, c: 70, rope: rope, threads: threads))
      }
      #expect(runs[0] == runs[1] && runs[0] == runs[2], "\(dtype)")
    }
  }

  /// Output as a model wants it, [token][head][d], and with gaps between elements: the values do not change.
  @Test(arguments: [DType.f32, .f16, .bf16]) func stridedOutput(_ out: DType) throws {
    let x = Case(group: 4, d: 40, n: 100, c: 21, out: out)
    let plain = try Self.raw(x)
    #expect(try Self.raw(x, stride: [40, 8 * 40, 1]) == plain)
    #expect(try Self.raw(x, stride: [21 * 80, 80, 2]) == plain)
    #expect(try Self.raw(x, stride: [1, 8 * 43, 8]) == plain)
  }

  /// Queries of a panel see different numbers of keys. What a later one may not use must not reach an earlier one.
  @Test(arguments: Kernels.available, [DType.f32, .f16, .bf16]) func nonFiniteReachesItsQueriesOnly(
    _ level: Kernels.Level, dtype: DType
  ) throws {
    for rope in [RoPE.none, RoPE(style: .half, rotaryDims: 32)] {
      for (inKey, value) in [(true, Float.nan), (false, .nan), (true, .infinity), (false, -.infinity)] {
        // Query i stands at 60 + i: those from 70 on see the bad row.
        let x = Case(dtype: dtype, kvHeads: 2, group: 4, d: 32, n: 80, c: 20, rope: rope, level: level)
        let bad = 70
        let r = try runCached(x) { k, v in
          // head 1 only
          if inKey { k[(80 + bad) * 32 + 3] = value } else { v[(80 + bad) * 32 + 3] = value }
        }
        var worst = 0.0
        for h in 0..<8 {
          for i in 0..<20 {
            if h < 4 || i + 60 < bad {
              for j in 0..<32 {
                let e = abs(r.got[h][i][j] - r.want[h][i].o[j])
                worst = e <= worst ? worst : e
              }
              #expect(abs(r.lse[h][i] - r.want[h][i].lse) < max(2e-5, Self.bound(x)))
            } else if inKey {
              #expect(value.isInfinite || r.got[h][i].allSatisfy { !$0.isFinite }, "\(x) head \(h) query \(i)")
            } else {
              #expect(!r.got[h][i][3].isFinite, "\(x) head \(h) query \(i)")
              #expect(r.lse[h][i].isFinite)
            }
          }
        }
        #expect(worst < 4 * Self.bound(x), "\(x) \(inKey ? "key" : "value") \(value): \(worst)")
      }
    }
  }

  /// The output of a case, [head][query][d] in order, written with the given strides.
  static func raw(_ x: Case, stride: [Int]? = nil) throws -> [UInt32] {
    let backend = try CPUBackend(threads: x.threads, level: x.level)
    let cache = try Cache(backend, x)
    let heads = x.kvHeads * x.group
    var noise = Noise(3)
    let q = Tensor(noise.normals(heads * x.c * x.d), heads, x.c, x.d)
    let shape = [heads, x.c, x.d]
    let reach = stride.map { s in zip(shape, s).reduce(1) { $0 + ($1.0 - 1) * $1.1 } } ?? heads * x.c * x.d
    let memory = UnsafeMutableRawPointer.allocate(byteCount: reach * x.out.size, alignment: 64)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: reach * x.out.size)
    let out = TensorView(memory, x.out, shape: shape, stride: stride)
    var rule = AttentionRule(scale: 0.2)
    rule.rope = x.rope
    try backend.attend(q: q.view, over: cache.keys, tokens: .all(x.n), rule: rule, out: out, lse: nil)
    var bits: [UInt32] = []
    for h in 0..<heads {
      for i in 0..<x.c {
        for j in 0..<x.d {
          let at = out.row(h, i) + j * out.stride[2] * x.out.size
          bits.append(x.out == .f32 ? at.load(as: UInt32.self) : UInt32(at.load(as: UInt16.self)))
        }
      }
    }
    return bits
  }
}
