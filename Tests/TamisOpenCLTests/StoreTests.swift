import Testing

@testable import TamisDevice
import TamisCore

extension OpenCLTests {
  @Suite(.needsDevice) struct StoreTests {
    static func read(_ cache: TestCache, _ dtype: DType = .f32) throws -> (k: [Float], v: [Float]) {
      let layout = cache.layout
      let shape = [layout.kvHeads, cache.n, layout.headDim]
      let k = HostTensor(shape, dtype), v = HostTensor(shape, dtype)
      var done = 0
      while done < cache.n {
        let slot = done % layout.pageTokens, count = min(layout.pageTokens - slot, cache.n - done, 11)
        try cache.store.read(
          layer: cache.layer, page: cache.pages[done / layout.pageTokens], slot: slot, count: count, k: k.view, v: v.view,
          at: done)
        done += count
      }
      return (k.floats, v.floats)
    }

    static func same(_ a: [Float], _ b: [Float]) -> Bool {
      a.count == b.count && zip(a, b).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
    }

    /// What comes out is what the dtype keeps of what went in, bit for bit.
    @Test(arguments: [DType.f32, .f16, .bf16, .i8], [DType.f32, .f16, .bf16, .i8])
    func roundTrip(_ dtype: DType, _ source: DType) throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 75, d: 24, dtype: dtype, sourceDType: source)
      let (k, v) = try Self.read(cache)
      if dtype == .i8 {
        // Division may round differently on a device: one step of the scale at most, and rarely.
        let off = difference(k, cache.storedK.map(Double.init))
        #expect(off <= 1.01 / 127)
        #expect(zip(k, cache.storedK).filter { abs($0 - $1) > 1e-6 }.count < k.count / 100)
      } else {
        #expect(Self.same(k, cache.storedK))
        #expect(Self.same(v, cache.storedV))
      }
      let (half, _) = try Self.read(cache, .bf16)
      #expect(Self.same(half, stored(k, rows: 24, .bf16)))
    }

    @Test func roundingOfSpecialValues() throws {
      let backend = try #require(Device.backend)
      let specials: [Float] = [
        .nan, .infinity, -.infinity, 65504, 65520, 1e30, -1e30, 1e-8, 6e-8, -0.0, 3.4e38, 1.00390625, 1.01171875, 1e-40,
        0.1, -0.3,
      ]
      for dtype in [DType.f32, .f16, .bf16, .i8] {
        let cache = try TestCache(backend, n: 2, kvHeads: 1, d: 16, dtype: dtype) { k, v in
          k.replaceSubrange(0..<16, with: specials)
          k.replaceSubrange(16..<32, with: [Float](repeating: 0, count: 16))
          v.replaceSubrange(0..<16, with: [Float](repeating: .nan, count: 16))
          v.replaceSubrange(16..<32, with: [Float](repeating: 1e-44, count: 16))
        }
        let (k, v) = try Self.read(cache)
        #expect(Self.same(k, cache.storedK), "\(dtype.name): \(k) \(cache.storedK)")
        #expect(Self.same(v, cache.storedV), "\(dtype.name): \(v)")
      }
    }

    @Test(arguments: [DType.f32, .bf16, .i8]) func exportAndImport(_ dtype: DType) throws {
      let backend = try #require(Device.backend)
      let n = 64
      let cache = try TestCache(backend, n: n, d: 16, dtype: dtype, copy: .i8)
      let other = try backend.makeStore(cache.layout)
      let bytes = cache.layout.layerPageBytes
      let buffer = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
      defer { buffer.deallocate() }
      for page in cache.pages {
        try cache.store.exportPage(layer: cache.layer, page: page, to: buffer)
        try other.importPage(layer: cache.layer, page: page, from: buffer)
      }
      // Canonical order: K [heads][tokens][d], V, then scales.
      if dtype == .f32 {
        let last = cache.pages.count - 1
        let floats = buffer.assumingMemoryBound(to: Float.self)
        for h in 0..<2 {
          for t in 0..<16 {
            #expect(floats[(h * 16 + t) * 16 + 3] == cache.k[(h * n + last * 16 + t) * 16 + 3])
            #expect(floats[512 + (h * 16 + t) * 16 + 5] == cache.v[(h * n + last * 16 + t) * 16 + 5])
          }
        }
      }
      var results: [[Float]] = []
      for store in [cache.store, other] {
        let scores = backend.makeScores()
        try cache.pages.withUnsafeBufferPointer { pages in
          try backend.score(
            query: [Float](repeating: 0.5, count: 64), qHeads: 4,
            over: CachedKeys(store: store, layer: cache.layer, pages: pages.baseAddress!, count: n), candidates: 0..<n,
            rule: VoteRule(kind: .topK), into: scores)
        }
        var votes = [Float](repeating: 0, count: n)
        try scores.read(into: &votes)
        results.append(votes)
        let k = HostTensor([2, 16, 16])
        try store.read(layer: cache.layer, page: cache.pages[1], slot: 0, count: 16, k: k.view, v: nil, at: 0)
        results.append(k.floats)
      }
      #expect(results[0] == results[2] && results[1] == results[3])
      // A layer that nothing was appended to exports zeros.
      try cache.store.exportPage(layer: 0, page: cache.pages[0], to: buffer)
      #expect((0..<bytes).allSatisfy { buffer.load(fromByteOffset: $0, as: UInt8.self) == 0 })
    }

    @Test func copyAndRelease() throws {
      let backend = try #require(Device.backend)
      let layout = KVLayout(layers: 3, kvHeads: 1, headDim: 8, dtype: .i8, pageTokens: 16, maxPages: 40, scoringCopy: .bf16)
      let store = OpenCLStore(backend, layout)
      func fill(_ page: Int32, _ value: Float, layer: Int) throws {
        let x = HostTensor([Float](repeating: value, count: 128), [1, 16, 8])
        try store.write(layer: layer, page: page, slot: 0, count: 16, k: x.view, v: x.view, from: 0)
      }
      func value(_ page: Int32, layer: Int) throws -> Float {
        let x = HostTensor([1, 16, 8])
        try store.read(layer: layer, page: page, slot: 0, count: 16, k: x.view, v: nil, at: 0)
        #expect(x.floats.allSatisfy { $0 == x.floats[0] })
        return x.floats[0]
      }
      // Past the first allocation, so that memory grows with pages in it; layer 1 is never written.
      for page in 0..<30 {
        try fill(Int32(page), Float(page), layer: 0)
        try fill(Int32(page), Float(page) + 100, layer: 2)
      }
      try store.copyPage(from: 7, to: 35)
      for page in 0..<30 {
        #expect(abs(try value(Int32(page), layer: 0) - Float(page)) < 1e-4)
        #expect(abs(try value(Int32(page), layer: 2) - Float(page) - 100) < 1e-4)
      }
      #expect(try value(35, layer: 0) == value(7, layer: 0))
      #expect(try value(35, layer: 2) == value(7, layer: 2))
      let frame = store.frameOf[7]
      store.releasePage(7)
      #expect(store.frameOf[7] == -1)
      try fill(39, 5, layer: 0)
      #expect(store.frameOf[39] == frame)
      #expect(try value(35, layer: 2) == value(35, layer: 2))
      store.releasePage(-1)
      store.releasePage(40)
      store.releasePage(20)
      #expect(throws: TamisError.self) { try value(20, layer: 0) }
      #expect(throws: TamisError.self) { try fill(40, 1, layer: 0) }
      // An unwritten page and a layer without memory are errors, not crashes.
      let q = HostTensor([1, 1, 8]), out = HostTensor([1, 1, 8])
      for layer in [0, 1] {
        let pages: [Int32] = [20]
        #expect(throws: TamisError.self) {
          try backend.attend(
            q: q.view, over: CachedKeys(store: store, layer: layer, pages: pages, count: 4), tokens: .all(4),
            rule: AttentionRule(scale: 1), out: out.view, lse: nil)
        }
      }
    }
  }
}
