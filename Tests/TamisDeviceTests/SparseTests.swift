import Testing

@testable import TamisCore
@testable import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Attention over tile lists against plain loops in f64, on every level; its bits against those of dense attention.
@Suite struct SparseAttentionTests {
  static func check(_ x: SparseCase, rows: [[Int32]]? = nil) throws {
    let rows = rows ?? x.randomRows()
    let t = SparseTensors(x)
    try t.run(x, rows, on: try x.backend())
    let e = t.differences(x, rows)
    #expect(e.out < x.bound, "\(x): \(e.out)")
    #expect(e.lse < max(x.pairs ? 2e-2 : 2e-5, 1e-5), "\(x): lse \(e.lse)")
  }

  static let dtypes: [DType] = [.f32, .f16, .bf16, .i8]
  static let levels = Kernels.available

  @Test(arguments: levels, [1, 2, 63, 64, 65, 127, 128, 129]) func lengths(_ level: Kernels.Level, n: Int) throws {
    for (i, lists) in SparseCase.Lists.allCases.enumerated() {
      try Self.check(SparseCase(kvHeads: 1 + i % 2, group: 2, d: 64, c: n, n: n, lists: lists, level: level, seed: UInt64(n)))
    }
  }

  @Test(arguments: levels, [64, 80, 96, 128, 256]) func headDims(_ level: Kernels.Level, d: Int) throws {
    try Self.check(SparseCase(kvHeads: 1, group: 2, d: d, c: 140, n: 300, density: 0.3, level: level))
    try Self.check(SparseCase(kvHeads: 1, group: 1, d: d, c: 70, n: 90, keyBlock: 1, density: 0.3, level: level))
  }

  @Test(arguments: levels, dtypes) func dtypesAndGroups(_ level: Kernels.Level, dtype: DType) throws {
    for group in [1, 4, 8] {
      for lists in SparseCase.Lists.allCases {
        try Self.check(
          SparseCase(
            dtype: dtype, qDType: dtype == .i8 ? .f32 : dtype, kvHeads: 2, group: group, d: 64, c: 70, n: 333, queryBlock: 32,
            keyBlock: 32, lists: lists, level: level, seed: 3))
      }
    }
  }

  @Test(arguments: levels) func aThousandKeys(_ level: Kernels.Level) throws {
    for dtype in Self.dtypes {
      try Self.check(SparseCase(dtype: dtype, kvHeads: 1, group: 2, d: 128, c: 1000, n: 1000, density: 0.2, level: level))
    }
    try Self.check(SparseCase(kvHeads: 1, group: 8, d: 64, c: 33, n: 1000, lists: .shared, density: 0.2, level: level))
  }

  /// Blocks that are no multiple of a panel, a tile or a step; tiles of one token; blocks and tiles longer than the tensors.
  @Test(arguments: levels, dtypes) func blocks(_ level: Kernels.Level, dtype: DType) throws {
    for (queryBlock, keyBlock) in [
      (1, 1), (5, 1), (50, 3), (33, 7), (16, 2), (100, 30), (128, 300), (7, 256), (1 << 30, 1 << 30), (40, 33),
    ] {
      try Self.check(
        SparseCase(
          dtype: dtype, kvHeads: 1, group: 2, d: 32, c: 101, n: 600, queryBlock: queryBlock, keyBlock: keyBlock,
          lists: queryBlock % 2 == 0 ? .perHead : .shared, level: level, seed: UInt64(queryBlock)))
    }
  }

  static let changes: [@Sendable (inout SparseCase) -> Void] = [
    { $0.causal = false }, { $0.window = 1 }, { $0.window = 90 }, { $0.window = 300; $0.causal = false }, { $0.softcap = 2 },
    { $0.bias = true }, { $0.bias = true; $0.softcap = 1; $0.window = 250 }, { $0.offset = 0 }, { $0.offset = -60 },
    { $0.offset = -1000 }, { $0.offset = 5000 }, { $0.offset = 350; $0.window = 50 }, { $0.offset = .max / 2; $0.window = 10 },
    { $0.out = .f16 }, { $0.out = .bf16 }, { $0.c = 400; $0.n = 100 }, { $0.c = 1 }, { $0.f32Products = true },
  ]

  @Test(arguments: levels, dtypes) func rules(_ level: Kernels.Level, dtype: DType) throws {
    for change in Self.changes {
      var x = SparseCase(
        dtype: dtype, kvHeads: 1, group: 2, d: 32, c: 90, n: 400, queryBlock: 64, keyBlock: 32, density: 0.4, level: level)
      change(&x)
      try Self.check(x)
      x.keyBlock = 1
      try Self.check(x)
    }
  }

  /// Products of bf16 pairs, also where the machine has none.
  @Test func pairsOfKeys() throws {
    var base = SparseCase(
      dtype: .bf16, qDType: .bf16, kvHeads: 2, group: 2, d: 32, c: 90, n: 401, queryBlock: 64, keyBlock: 32, standIns: true)
    for keyBlock in [1, 2, 3, 6, 7, 8, 14, 32, 64, 100, 256, 300, 1000] {
      base.keyBlock = keyBlock
      try Self.check(base)
    }
    base.keyBlock = 32
    for change in Self.changes {
      for keyBlock in [1, 4, 32] {
        var x = base
        x.keyBlock = keyBlock
        change(&x)
        try Self.check(x)
      }
    }
    for lists in SparseCase.Lists.allCases {
      base.lists = lists
      try Self.check(base)
    }
  }

  // MARK: bits

  @Test(arguments: levels, dtypes) func allTilesGiveTheBitsOfDense(_ level: Kernels.Level, dtype: DType) throws {
    for (c, n, window) in [(150, 150, 0), (40, 700, 0), (1, 300, 0), (300, 300, 70), (90, 40, 0)] {
      for lists in SparseCase.Lists.allCases {
        let x = SparseCase(
          dtype: dtype, qDType: dtype == .i8 ? .f32 : dtype, d: 64, c: c, n: n, queryBlock: 50, keyBlock: 32, lists: lists,
          window: window, bias: true, level: level)
        let t = SparseTensors(x)
        let backend = try x.backend()
        let dense = try t.run(x, nil, on: backend)
        let all = [[Int32]](repeating: Array(0..<Int32(x.tiles)), count: x.listHeads * x.blocks)
        #expect(try t.run(x, all, on: backend) == dense, "\(x): all tiles")
        // All legal tiles, no others.
        let legal = (0..<x.listHeads * x.blocks).map { r in
          let block = r % x.blocks
          return (0..<Int32(x.tiles)).filter { tile in
            (block * 50..<min(block * 50 + 50, c)).contains { i in
              let seen = x.mask.seen(by: i, window: window, of: n)
              return seen.overlaps(Int(tile) * 32..<min(Int(tile) * 32 + 32, n))
            }
          }
        }
        #expect(try t.run(x, legal, on: backend) == dense, "\(x): legal tiles")
      }
    }
  }

  /// A query whose own list leaves nothing out has dense attention's bits even where other lists are short.
  @Test(arguments: [false, true]) func wholeListsAmongShortOnes(_ standIns: Bool) throws {
    for dtype in Self.dtypes where !standIns || dtype == .bf16 {
      var x = SparseCase(
        dtype: dtype, qDType: dtype == .i8 ? .f32 : dtype, d: 64, c: 300, n: 600, queryBlock: 64, keyBlock: 32, lists: .perHead,
        standIns: standIns)
      x.f32Products = dtype == .bf16 && !standIns
      let t = SparseTensors(x)
      let backend = try x.backend()
      try t.run(x, nil, on: backend)
      let dense = t.out.rows
      var rows = [[Int32]](repeating: Array(0..<Int32(x.tiles)), count: x.listHeads * x.blocks)
      for r in stride(from: 1, to: rows.count, by: 2) { rows[r] = [0, 3, 4, 9] }
      try t.run(x, rows, on: backend)
      let sparse = t.out.rows
      for h in 0..<x.heads {
        for i in 0..<x.c where (h * x.blocks + i / 64) % 2 == 0 {
          #expect(sparse[h][i] == dense[h][i], "\(x) head \(h) query \(i)")
        }
      }
    }
  }

  @Test(arguments: [false, true]) func sameBitsForAnyThreads(_ standIns: Bool) throws {
    for dtype in Self.dtypes where !standIns || dtype == .bf16 {
      for lists in SparseCase.Lists.allCases {
        for (queryBlock, keyBlock) in [(48, 1), (256, 20), (256, 32)] {
          // Many threads make tasks of few panels, whose queries stop looking elsewhere in a run of tokens.
          var x = SparseCase(
            dtype: dtype, qDType: dtype, kvHeads: 3, group: 4, d: 32, c: 200, n: 500, queryBlock: queryBlock,
            keyBlock: keyBlock, lists: lists, standIns: standIns)
          if dtype == .i8 { x.qDType = .f32 }
          let rows = x.randomRows()
          let runs = try [1, 2, 3, 60].map { threads in
            x.threads = threads
            return try SparseTensors(x).run(x, rows, on: try x.backend())
          }
          #expect(runs.allSatisfy { $0 == runs[0] }, "\(x)")
        }
      }
    }
  }

  // MARK: values that are not finite

  @Test(arguments: [DType.f32, .f16, .bf16], [false, true])
  func nonFiniteReachesItsQueriesOnly(_ dtype: DType, standIns: Bool) throws {
    if standIns && dtype != .bf16 { return }
    for keyBlock in [1, 3, 8, 32] {
      for (inKey, value) in [(true, Float.nan), (false, .nan), (false, .infinity), (false, -.infinity)] {
        let x = SparseCase(
          dtype: dtype, qDType: dtype, kvHeads: 2, group: 2, d: 32, c: 70, n: 300, queryBlock: 32, keyBlock: keyBlock,
          density: 0.5, standIns: standIns)
        // A key that some list of KV head 1 holds, and that only some queries see.
        let bad = 260
        var rows = x.randomRows()
        rows[2 * x.blocks] = Array(Set(rows[2 * x.blocks] + [Int32(bad / keyBlock)])).sorted()
        let clean = SparseTensors(x)
        try clean.run(x, rows, on: try x.backend())
        let t = SparseTensors(x) { k, v in
          if inKey { k[(300 + bad) * 32 + 3] = value } else { v[(300 + bad) * 32 + 3] = value }
        }
        try t.run(x, rows, on: try x.backend())
        var reached = 0
        for h in 0..<x.heads {
          for i in 0..<x.c {
            if h >= 2 && SparseTensors.legal(x, rows, h, i)[bad] {
              reached += 1
              let row = t.out.row(h, i)
              #expect(inKey ? row.allSatisfy(\.isNaN) : !row[3].isFinite, "\(x) head \(h) query \(i)")
              if !inKey { #expect(t.lse.row(0, h)[i].isFinite) }
            } else {
              #expect(t.out.row(h, i) == clean.out.row(h, i), "\(x) head \(h) query \(i)")
            }
          }
        }
        #expect(reached > 0)
      }
    }
  }

  // MARK: skipped values

  @Test(arguments: [false, true]) func skippedValuesWeighNothing(_ standIns: Bool) throws {
    var x = SparseCase(d: 64, c: 130, n: 900, queryBlock: 64, keyBlock: 64, density: 0.6, standIns: standIns)
    if standIns { (x.dtype, x.qDType) = (.bf16, .bf16) }
    let rows = x.randomRows()
    let t = SparseTensors(x)
    // Nothing is that small.
    x.pvThreshold = 1000
    try t.run(x, rows, on: try x.backend())
    #expect(t.differences(x, rows).out < x.bound)
    x.pvThreshold = 12
    try t.run(x, rows, on: try x.backend())
    #expect(t.differences(x, rows).out < x.bound + exp(-12) * 900)
    // Above every probability but the largest: most values are skipped, while the sums keep all.
    x.pvThreshold = 1e-6
    try t.run(x, rows, on: try x.backend())
    let rough = t.differences(x, rows)
    #expect(rough.out > 1e-3 && rough.lse < (standIns ? 2e-2 : 2e-5))
  }

  @Test func progressAndCancel() throws {
    let x = SparseCase(
      kvHeads: 1, group: 4, d: 16, c: 2000, n: 300, queryBlock: 16, keyBlock: 32, lists: .perHead, density: 0.3)
    let t = SparseTensors(x)
    let backend = try x.backend()
    var shares: [Double] = []
    try t.run(x, x.randomRows(), on: backend) { shares.append($0); return true }
    #expect(shares.count > 1 && shares.last == 1 && shares == shares.sorted())
    do {
      try t.run(x, x.randomRows(), on: backend) { _ in false }
      Issue.record("was not cancelled")
    } catch let error as TamisError { #expect(error.status == .cancelled) }
  }

  @Test func whatItRefuses() throws {
    let x = SparseCase(c: 20, n: 20, queryBlock: 8, keyBlock: 8)
    let t = SparseTensors(x)
    let backend = try x.backend()
    let starts = UnsafeMutablePointer<Int64>.allocate(capacity: 4)
    let index = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
    starts.initialize(repeating: 0, count: 4)
    index.initialize(to: 0)
    defer {
      starts.deallocate()
      index.deallocate()
    }
    let lists = TileLists(heads: 1, blocks: 3, queryBlock: 8, keyBlock: 8, rowStart: starts, index: index)
    var rule = AttentionRule(scale: 1)
    func attend(_ mask: DenseMask) throws {
      try backend.attend(
        q: t.q.view, k: t.k.view, v: t.v.view, rule: rule, mask: mask, tiles: lists, out: t.out.view, lse: nil, progress: nil)
    }
    #expect(throws: TamisError.self) { try attend(DenseMask(causal: true, queryOffset: 0, blas: true)) }
    rule.rope = RoPE(style: .half, rotaryDims: 8)
    #expect(throws: TamisError.self) { try attend(DenseMask(causal: true, queryOffset: 0)) }
  }
}

/// Lists as places.
@Suite struct ListedPlacesTests {
  @Test func countsAndRuns() {
    let tiles: [Int32] = [0, 1, 4, 6]
    tiles.withUnsafeBufferPointer { tiles in
      let list = ListedPlaces(tiles: tiles, tileKeys: 3, keys: 20)
      #expect(list.count == 11)  // the last tile holds 18 and 19
      let tokens = [0, 1, 2, 3, 4, 5, 12, 13, 14, 18, 19]
      for limit in 0...20 { #expect(list.places(before: limit) == tokens.count { $0 < limit }, "before \(limit)") }
      for place in tokens.indices {
        for most in 1...(tokens.count - place) {
          let run = list.run(at: place, most: most)
          let expected = (0..<most).prefix { tokens[place + $0] == tokens[place] + $0 }.count
          #expect(run.token == tokens[place] && run.count == expected, "place \(place), most \(most)")
        }
      }
      for low in 0...20 {
        for high in low...20 { #expect(list.holdsAll(low, high) == (low..<high).allSatisfy(tokens.contains), "\(low) \(high)") }
      }
    }
    let none = ListedPlaces(tiles: UnsafeBufferPointer(start: nil, count: 0), tileKeys: 4, keys: 20)
    #expect(none.count == 0 && none.places(before: 20) == 0 && none.holdsAll(3, 3) && !none.holdsAll(3, 4))
  }
}
