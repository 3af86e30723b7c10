@testable import TamisAttention
import Tamis
import Testing

@Suite struct SnapshotTests {
  @Test func xxh64OfKnownTexts() {
    func hash(_ text: String) -> UInt64 { Array(text.utf8).withUnsafeBytes { XXH64.hash($0) } }
    #expect(hash("") == 0xef46_db37_51d8_e999)
    #expect(hash("a") == 0xd24e_c4f1_a98c_6e5b)
    #expect(hash("abc") == 0x44bc_2cf5_ad77_0999)
    #expect(hash("Nobody inspects the spammish repetition") == 0xfbce_a83c_8a37_8bf1)
  }

  @Test(arguments: [DType.f32, .f16, .bf16, .i8], Engine.allCases) func roundTrip(dtype: DType, on engine: Engine) throws {
    let file = ScratchFile()
    let a = try Family(dtype: dtype, on: engine)
    try a.cache.save(nil, to: file.path)
    // Bytes are canonical: what one backend wrote, another reads.
    let b = try KVCache(context: Context(backend: ReferenceBackend()), options: a.cache.options)
    // The new cache is in use already, so page numbers and names differ.
    let other = try b.makeSequence()
    try b.append(other, layer: 1, k: a.rows.tokens(0, 20), v: a.rows.tokens(0, 20))
    let used = b.memory.pagesUsed
    let ids = try b.restore(from: file.path)
    #expect(ids.count == a.ids.count && !ids.contains(other))
    #expect(b.memory.pagesUsed - used == a.cache.memory.pagesUsed)
    #expect(b.memory.pagesShared == a.cache.memory.pagesShared)
    for (from, to) in zip(a.ids, ids) { try expectSame(a.cache, from, b, to) }
    // A restored sequence is a sequence like any other.
    try b.append(ids[1], layer: 0, k: a.rows.tokens(0, 3), v: a.rows.tokens(0, 3))
    try expectSame(a.cache, a.ids[0], b, ids[0])
    for id in ids { try b.destroy(id) }
    #expect(b.memory.pagesUsed == used)
    let info = try KVCache.snapshotInfo(file.path)
    #expect(info.sequences == 3)
    var expected = a.cache.options
    expected.maxTokens = a.cache.memory.pagesUsed * 16
    #expect(info.options == expected)
  }

  @Test func theSameTokensGiveTheSameBytes() throws {
    let (one, two, three) = (ScratchFile(), ScratchFile(), ScratchFile())
    let a = try Family(dtype: .bf16)
    try a.cache.save(nil, to: one.path)
    try a.cache.save(nil, to: two.path)
    let b = try KVCache(context: Context(backend: ReferenceBackend()), options: a.cache.options)
    _ = try b.restore(from: one.path)
    try b.save(nil, to: three.path)
    #expect(one.bytes == two.bytes)
    #expect(one.bytes == three.bytes)
  }

  @Test func aFileHoldsNothingOfSequencesThatWereNotSaved() throws {
    let (forked, alone) = (ScratchFile(), ScratchFile())
    for dtype in [DType.f32, .i8] {
      let a = try Family(dtype: dtype)
      let short = try a.cache.fork(a.ids[0], tokens: 5)
      try a.cache.save([short], to: forked.path)
      let b = try KVCache(context: Context(backend: ReferenceBackend()), options: a.cache.options)
      let s = try b.makeSequence()
      for layer in 0..<2 { try b.append(s, layer: layer, k: a.rows.tokens(0, 5), v: a.rows.tokens(10, 5)) }
      try b.save([s], to: alone.path)
      #expect(forked.bytes == alone.bytes)
    }
  }

  @Test func anEmptySnapshot() throws {
    let file = ScratchFile()
    let a = try Family(dtype: .f32)
    try a.cache.save([], to: file.path)
    #expect(try a.cache.restore(from: file.path) == [])
    let empty = try a.cache.makeSequence()
    try a.cache.save([empty], to: file.path)
    let ids = try a.cache.restore(from: file.path)
    #expect(try ids.count == 1 && a.cache.length(of: ids[0], layer: 0) == 0)
  }

  @Test func aScoringCopyIsRebuiltWhereTheCacheHasOne() throws {
    let file = ScratchFile()
    let a = try Family(dtype: .f32)
    try a.cache.save(nil, to: file.path)
    var options = a.cache.options
    options.scoringCopy = .i8
    let b = try KVCache(context: Context(backend: ReferenceBackend()), options: options)
    let ids = try b.restore(from: file.path)
    try expectSame(a.cache, a.ids[0], b, ids[0])
  }

  @Test func savingIsAllOrNothing() throws {
    let folder = ScratchFile.folder()
    let path = folder + "/cache.tkv"
    let a = try Family(dtype: .f32)
    try a.cache.save([a.ids[0]], to: path)
    let before = ScratchFile.read(path)
    #expect(status { try a.cache.save(nil, to: path, progress: { _ in false }) } == .cancelled)
    #expect(status { try a.cache.save([a.ids[0], 999], to: path) } == .notFound)
    #expect(status { try a.cache.save([a.ids[0], a.ids[0]], to: path) } == .invalidArgument)
    #expect(status { try a.cache.save(nil, to: path, level: 20) } == .invalidArgument)
    #expect(status { try a.cache.save(nil, to: path, level: -1) } == .invalidArgument)
    #expect(status { try a.cache.save(nil, to: "") } == .invalidArgument)
    #expect(status { try a.cache.save(nil, to: folder + "/none/cache.tkv") } == .io)
    #expect(status { try a.cache.save(nil, to: folder) } == .io)
    #expect(ScratchFile.read(path) == before)
    #expect(ScratchFile.names(folder) == ["cache.tkv"])
    var reports: [Double] = []
    try a.cache.save(nil, to: path, level: 19, progress: { reports.append($0); return true })
    #expect(reports == reports.sorted() && reports.last == 1 && reports.count > 1)
    #expect(ScratchFile.names(folder) == ["cache.tkv"])
  }

  @Test func restoringIsAllOrNothing() throws {
    let file = ScratchFile()
    let a = try Family(dtype: .f32)
    try a.cache.save(nil, to: file.path)
    let before = a.cache.memory
    func refused(_ cache: KVCache, capacity: Int? = nil, _ progress: Progress? = nil) -> Status? {
      let memory = cache.memory
      let result = status { _ = try cache.restore(from: file.path, capacity: capacity, progress: progress) }
      #expect(cache.memory == memory)
      return result
    }
    #expect(refused(a.cache, { $0 < 0.5 }) == .cancelled)
    #expect(refused(a.cache, capacity: 2) == .bufferTooSmall)
    var small = a.cache.options
    small.maxTokens = 16 * 3
    #expect(refused(try KVCache(context: a.cache.context, options: small)) == .cacheFull)
    func other(_ change: (inout KVCacheOptions) -> Void) throws -> Status? {
      var options = a.cache.options
      change(&options)
      return refused(try KVCache(context: a.cache.context, options: options))
    }
    #expect(try other { $0.layers = 3 } == .invalidArgument)
    #expect(try other { $0.kvHeads = 1 } == .invalidArgument)
    #expect(try other { $0.headDim = 16 } == .invalidArgument)
    #expect(try other { $0.dtype = .bf16 } == .invalidArgument)
    #expect(try other { $0.pageTokens = 32 } == .invalidArgument)
    #expect(try other { $0.rope.scale = 0.25 } == .invalidArgument)
    #expect(try other { $0.rope = .none } == .invalidArgument)
    #expect(a.cache.memory == before)
    #expect(status { _ = try a.cache.restore(from: file.path + ".none") } == .notFound)
    #expect(status { _ = try a.cache.restore(from: ScratchFile.folder()) } == .format)
    #expect(status { _ = try a.cache.restore(from: "") } == .invalidArgument)
  }

  // MARK: damage

  @Test func everyFlippedByteIsNoticed() throws {
    try damage { bytes, check in
      for i in bytes.indices {
        for flip in [UInt8(1), 0x80] {
          var damaged = bytes
          damaged[i] ^= flip
          try check(damaged, "byte \(i) xor \(flip)")
        }
      }
    }
  }

  @Test func everyTruncationIsNoticed() throws {
    try damage { bytes, check in
      for count in bytes.indices { try check(Array(bytes.prefix(count)), "cut to \(count)") }
      try check(bytes + [0], "one byte more")
      try check(bytes + bytes, "twice")
      try check(Array(bytes.dropFirst()), "without its first byte")
      try check(Array("{\"not\": \"a snapshot\"}".utf8), "foreign")
    }
  }

  /// Numbers that lie, under checksums that hold: what only the bounds checks can catch.
  @Test func lyingNumbersUnderRightChecksums() throws {
    var random = Random(5)
    let lies: [UInt64] = [0, 1, 2, 15, 16, 17, 255, 1 << 31, 1 << 32, 1 << 62, 1 << 63, .max, .max - 15]
    var restored = 0
    try damage(mayRestore: { restored += 1 }) { bytes, check in
      let catalogue = Int(bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 88, as: UInt64.self) })
      let fields = Array(stride(from: 16, to: 100, by: 4)) + Array(stride(from: catalogue, to: bytes.count - 24, by: 4))
      for field in fields {
        for lie in lies {
          var damaged = bytes
          let size = Bool.random(using: &random) ? 4 : 8
          withUnsafeBytes(of: lie) { for i in 0..<size { damaged[field + i] = $0[i] } }
          if damaged != bytes { try check(seal(damaged), "\(size) bytes at \(field) = \(lie)") }
        }
      }
    }
    // A lie may say something else that is possible (another scoring copy, a shorter sequence); few do.
    #expect(restored < 16)
  }

  private func seal(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    func word(_ at: Int) -> UInt64 { bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: UInt64.self) } }
    func put(_ x: UInt64, _ at: Int) { withUnsafeBytes(of: x) { for i in 0..<8 { bytes[at + i] = $0[i] } } }
    func hash(_ range: Range<Int>) -> UInt64 { bytes[range].withUnsafeBytes { XXH64.hash($0) } }
    let (offset, size) = (word(88), word(96))
    if offset <= UInt64(bytes.count), size <= UInt64(bytes.count) - offset {
      put(hash(Int(offset)..<Int(offset + size)), 104)
    }
    put(hash(0..<120), 120)
    put(word(120), bytes.count - 16)
    return bytes
  }

  /// Runs `body` with the bytes of a small snapshot and a check that a damaged one is refused and changes nothing.
  private func damage(
    mayRestore: (() -> Void)? = nil, _ body: ([UInt8], (_ damaged: [UInt8], _ what: String) throws -> Void) throws -> Void
  ) throws {
    let file = ScratchFile()
    var random = Random(3)
    let options = KVCacheOptions(
      kvHeads: 1, headDim: 8, dtype: .i8, pageTokens: 16, maxTokens: 16 * 8, rope: RoPE(style: .half, rotaryDims: 8))
    let cache = try KVCache(context: Context(backend: ReferenceBackend()), options: options)
    let s = try cache.makeSequence()
    let rows = Tensor.normal([1, 20, 8], &random)
    try cache.append(s, layer: 0, k: rows.view, v: rows.view)
    _ = try cache.fork(s, tokens: 17)
    try cache.save(nil, to: file.path)
    let memory = cache.memory
    try body(file.bytes) { damaged, what in
      file.bytes = damaged
      let result = status { _ = try KVCache.snapshotInfo(file.path) }
      #expect(result == nil || result == .format, "info, \(what)")
      let outcome = status {
        let ids = try cache.restore(from: file.path)
        for id in ids { try cache.destroy(id) }
      }
      try #require(cache.memory == memory, "\(what)")
      if let mayRestore, outcome == nil || outcome == .invalidArgument {
        if outcome == nil { mayRestore() }
      } else {
        try #require(outcome == .format, "\(what)")
      }
    }
  }

  // MARK: files of earlier versions

  /// The files were written by `writeGolden`; they must stay readable for as long as the library reads version 1.
  @Test(arguments: [DType.f32, .i8], Engine.allCases) func goldenFilesOfVersion1(dtype: DType, on engine: Engine) throws {
    let path = ScratchFile.golden("snapshot-v1-\(dtype.name).tkv")
    let info = try KVCache.snapshotInfo(path)
    #expect(info.sequences == 3)
    let expected = try Family(dtype: dtype)
    #expect(info.options.rope == expected.cache.options.rope)
    let cache = try KVCache(context: Context(backend: try engine.backend()), options: info.options)
    let ids = try cache.restore(from: path)
    #expect(cache.memory.pagesUsed == cache.memory.pagesTotal)
    for (from, to) in zip(expected.ids, ids) { try expectSame(expected.cache, from, cache, to) }
  }

  /// Rewrites the golden files: TAMIS_WRITE_GOLDEN=1 swift test --filter writeGolden. Only for a new format version, under a
  /// new name.
  @Test(.enabled(if: ScratchFile.writesGolden)) func writeGolden() throws {
    for dtype in [DType.f32, .i8] {
      try Family(dtype: dtype).cache.save(nil, to: ScratchFile.golden("snapshot-v1-\(dtype.name).tkv"))
    }
  }

  private func expectSame(_ a: KVCache, _ from: SequenceID, _ b: KVCache, _ to: SequenceID) throws {
    for layer in 0..<a.options.layers {
      let n = try a.length(of: from, layer: layer)
      try #require(try b.length(of: to, layer: layer) == n)
      if n == 0 { continue }
      let shape = [a.options.kvHeads, n, a.options.headDim]
      let (k, v, k2, v2) = (Tensor(shape), Tensor(shape), Tensor(shape), Tensor(shape))
      try a.read(from, layer: layer, from: 0, k: k.view, v: v.view)
      try b.read(to, layer: layer, from: 0, k: k2.view, v: v2.view)
      #expect(k.floats.elementsEqual(k2.floats) && v.floats.elementsEqual(v2.floats))
    }
  }
}

/// A sequence, a fork that went its own way, and a third that shares whole pages; one layer lags behind. Values are a formula.
private struct Family {
  let cache: KVCache
  let ids: [SequenceID]
  let rows: Tensor

  init(dtype: DType, on engine: Engine = .reference) throws {
    cache = try KVCache(
      context: Context(backend: try engine.backend()),
      options: KVCacheOptions(
        layers: 2, kvHeads: 2, headDim: 8, dtype: dtype, pageTokens: 16, maxTokens: 16 * 40,
        rope: RoPE(style: .half, rotaryDims: 4, base: 500, scale: 0.5)))
    rows = Tensor([2, 60, 8])
    for h in 0..<2 {
      for t in 0..<60 {
        for i in 0..<8 {
          let step: Int = (h * 31 + t * 7 + i * 3) % 64
          rows[h, t, i] = Double(step - 32) / 8
        }
      }
    }
    let a = try cache.makeSequence()
    for layer in 0..<2 { try cache.append(a, layer: layer, k: rows.tokens(0, 40), v: rows.tokens(10, 40)) }
    let b = try cache.fork(a)
    try cache.append(b, layer: 0, k: rows.tokens(20, 25), v: rows.tokens(0, 25))
    try cache.append(b, layer: 1, k: rows.tokens(1, 2), v: rows.tokens(2, 2))
    let c = try cache.fork(a, tokens: 32)
    ids = [a, b, c]
  }
}
