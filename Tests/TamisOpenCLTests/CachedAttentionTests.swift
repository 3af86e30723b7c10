import Testing

@testable import TamisDevice
import TamisCore

extension OpenCLTests {
  @Suite(.needsDevice) struct CachedAttentionTests {
    @Test(arguments: [DType.f32, .f16, .bf16, .i8]) func wholeCache(_ dtype: DType) throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 83, dtype: dtype)
      for c in dtype == .f32 ? [1, 4, 40] : [1, 40] {
        try cache.check(backend, heads: 6, c: c, tokens: .all(83), list: Array(0..<83))
        try cache.check(
          backend, heads: 6, c: c, tokens: .all(83), list: Array(0..<83), rope: RoPE(style: .half, rotaryDims: 32),
          positions: .natural)
      }
    }

    /// Sinks, a selection and the recent tokens, in both position rules and both pairings.
    @Test(arguments: [AttentionRule.Positions.compact, .natural]) func lists(_ positions: AttentionRule.Positions) throws {
      let backend = try #require(Device.backend)
      let n = 301
      let cache = try TestCache(backend, n: n)
      let selection = backend.makeSelection()
      let chosen: [Int32] = [9, 10, 11, 40, 77, 150, 151, 152, 200, 201, 239]
      try selection.assign(chosen, count: chosen.count)
      for c in [1, 5, 33] {
        let tokens = AttendedTokens(sinks: 4, selected: selection, recent: 240..<n)
        let list = Array(0..<4) + chosen.map(Int.init) + Array(240..<n)
        for rope in [RoPE.none, RoPE(style: .half, rotaryDims: 16), RoPE(style: .interleaved, rotaryDims: 32, scale: 0.5)] {
          try cache.check(backend, heads: 4, c: c, tokens: tokens, list: list, rope: rope, positions: positions)
        }
        try cache.check(
          backend, heads: 2, c: c, tokens: tokens, list: list, rope: RoPE(style: .half, rotaryDims: 32), positions: positions,
          softcap: 2, bias: true)
        // Without sinks token 0 is not in the list and its bias reaches nobody.
        try cache.check(
          backend, heads: 2, c: c, tokens: AttendedTokens(sinks: 0, selected: selection, recent: 240..<n),
          list: chosen.map(Int.init) + Array(240..<n), positions: positions, bias: true)
      }
    }

    /// A list of the caller's own: natural positions, not ending with the queries, partly after some of them.
    @Test func freeLists() throws {
      let backend = try #require(Device.backend)
      let n = 200
      let cache = try TestCache(backend, n: n, dtype: .f16)
      let selection = backend.makeSelection()
      let chosen: [Int32] = [0, 3, 50, 180, 190, 195]
      try selection.assign(chosen, count: chosen.count)
      for c in [1, 3, 40] {
        try cache.check(
          backend, heads: 4, c: c, tokens: AttendedTokens(sinks: 0, selected: selection, recent: n..<n),
          list: chosen.map(Int.init), rope: RoPE(style: .half, rotaryDims: 32), positions: .natural, bias: true)
      }
      // Queries 160.. see nothing of a list that begins at 180.
      try selection.assign(Array(chosen[3...]), count: 3)
      try cache.check(
        backend, heads: 4, c: 40, tokens: AttendedTokens(sinks: 0, selected: selection, recent: n..<n), list: [180, 190, 195])
      try selection.assign(chosen, count: 0)
      try cache.check(
        backend, heads: 4, c: 2, tokens: AttendedTokens(sinks: 0, selected: selection, recent: n..<n), list: [])
    }

    @Test func windowAndShorterCount() throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 130)
      for c in [1, 50] {
        try cache.check(backend, heads: 2, c: c, tokens: .all(130), list: Array(0..<130), window: 20)
        // What lies after the tokens this call may see is not read.
        try cache.check(backend, heads: 2, c: c, tokens: .all(101), list: Array(0..<101), count: 101)
      }
    }

    /// NaN in rows that are not attended, in the same pages, changes nothing.
    @Test func unseenRowsDoNotMatter() throws {
      let backend = try #require(Device.backend)
      let n = 100, d = 32
      let cache = try TestCache(backend, n: n) { k, v in
        for h in 0..<2 {
          for t in [20, 21, 98] { for e in 0..<d { (k[(h * n + t) * d + e], v[(h * n + t) * d + e]) = (.nan, .infinity) } }
        }
      }
      let selection = backend.makeSelection()
      try selection.assign([10, 19, 22], count: 3)
      for c in [1, 20] {
        try cache.check(
          backend, heads: 2, c: c, tokens: AttendedTokens(sinks: 3, selected: selection, recent: 60..<98),
          list: [0, 1, 2, 10, 19, 22] + Array(60..<98), count: 98)
      }
    }

    /// A sequence of a million tokens, made of 16 pages over and over.
    @Test func millionTokens() throws {
      let backend = try #require(Device.backend)
      let n = 1 << 20
      let cache = try TestCache(backend, n: 256, kvHeads: 1, d: 8, dtype: .f16)
      let selection = backend.makeSelection()
      let chosen: [Int32] = [5, 1000, 65_537, 524_287, 524_288, 999_900]
      try selection.assign(chosen, count: chosen.count)
      for c in [1, 20] {
        try cache.check(
          backend, heads: 2, c: c, tokens: AttendedTokens(sinks: 1, selected: selection, recent: (n - 30)..<n),
          list: [0] + chosen.map(Int.init) + Array((n - 30)..<n), rope: RoPE(style: .half, rotaryDims: 8), positions: .natural,
          repeated: n / 256)
      }
    }
  }
}
