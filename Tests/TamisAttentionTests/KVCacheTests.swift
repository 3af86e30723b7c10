@testable import TamisAttention
import Tamis
import Testing

@Suite struct KVCacheTests {
  @Test(arguments: [DType.f32, .f16, .bf16, .i8], Engine.allCases)
  func readsBackWhatWasAppended(dtype: DType, on engine: Engine) throws {
    let f = try Fixture(on: engine, tokens: 45, dtype: dtype)
    let k = Tensor([2, 30, 16])
    let v = Tensor([2, 30, 16])
    try f.cache.read(f.sequence, layer: 0, from: 10, k: k.view, v: v.view)
    for h in 0..<2 {
      for t in 0..<30 {
        for (stored, given) in [(k, f.k), (v, f.v)] {
          let row = (0..<16).map { given[h, t + 10, $0] }
          let step = row.map(abs).max()! / 127
          for i in 0..<16 {
            let tolerance =
              switch dtype {
              case .f32: 0.0
              case .f16: abs(row[i]) / 2048 + 1e-7
              case .bf16: abs(row[i]) / 256
              default: step / 2 * 1.001
              }
            #expect(abs(stored[h, t, i] - row[i]) <= tolerance)
          }
        }
      }
    }
  }

  @Test func optionsAreRoundedAndChecked() throws {
    let context = Context(backend: ReferenceBackend())
    let cache = try KVCache(
      context: context, options: KVCacheOptions(pageTokens: 32, maxTokens: 33, rope: RoPE(style: .half, rotaryDims: 0)))
    #expect(cache.options.maxTokens == 64)
    #expect(cache.options.rope.rotaryDims == 64)
    func bad(_ change: (inout KVCacheOptions) -> Void) -> Status? {
      var options = KVCacheOptions()
      change(&options)
      return status { _ = try KVCache(context: context, options: options) }
    }
    #expect(bad { $0.layers = 0 } == .invalidArgument)
    #expect(bad { $0.layers = Int.max } == .invalidArgument)
    #expect(bad { $0.kvHeads = -1 } == .invalidArgument)
    #expect(bad { $0.headDim = 12 } == .invalidArgument)
    #expect(bad { $0.headDim = 264 } == .invalidArgument)
    #expect(bad { $0.dtype = .i32 } == .invalidArgument)
    #expect(bad { $0.pageTokens = 8 } == .invalidArgument)
    #expect(bad { $0.maxTokens = 0 } == .invalidArgument)
    #expect(bad { $0.maxTokens = Int.max } == .invalidArgument)
    #expect(bad { ($0.layers, $0.kvHeads, $0.headDim, $0.maxTokens) = (65536, 65536, 256, 1 << 36) } == .invalidArgument)
    #expect(bad { $0.scoringCopy = .f32 } == .invalidArgument)
    #expect(bad { $0.rope = RoPE(style: .half, rotaryDims: 7) } == .invalidArgument)
    #expect(bad { $0.rope = RoPE(style: .half, rotaryDims: 66) } == .invalidArgument)
    #expect(bad { $0.rope = RoPE(style: .half, rotaryDims: 64, base: .nan) } == .invalidArgument)
    #expect(bad { $0.rope = RoPE(style: .half, rotaryDims: 64, scale: 0) } == .invalidArgument)
    #expect(bad { $0.rope = RoPE(style: .none, rotaryDims: 7, base: .nan) } == nil)
  }

  @Test func appendIsAllOrNothing() throws {
    let f = try Fixture(tokens: 20, layers: 2, maxTokens: 48)
    let before = f.cache.memory
    let more = Tensor([2, 29, 16])
    #expect(status { try f.cache.append(f.sequence, layer: 0, k: more.view, v: more.view) } == .cacheFull)
    #expect(f.cache.memory == before)
    #expect(try f.cache.length(of: f.sequence, layer: 0) == 20)
    try f.cache.append(f.sequence, layer: 0, k: more.tokens(0, 28), v: more.tokens(0, 28))
    #expect(try f.cache.length(of: f.sequence, layer: 0) == 48)
    #expect(try f.cache.length(of: f.sequence, layer: 1) == 20)
    // A layer may catch up in pages that are there.
    try f.cache.append(f.sequence, layer: 1, k: more.tokens(0, 28), v: more.tokens(0, 28))
    #expect(status { try f.cache.append(f.sequence, layer: 1, k: more.tokens(0, 1), v: more.tokens(0, 1)) } == .cacheFull)
  }

  @Test func aDeviceFailureLeavesTheCacheAsItWas() throws {
    let backend = ReferenceBackend()
    let f = try Fixture(tokens: 20, backend: backend)
    let before = f.cache.memory
    let more = Tensor([2, 40, 16])
    for writes in 0..<3 {
      backend.writesUntilFailure = writes
      #expect(status { try f.cache.append(f.sequence, layer: 0, k: more.view, v: more.view) } == .device)
      #expect(f.cache.memory == before)
      #expect(try f.cache.length(of: f.sequence, layer: 0) == 20)
    }
    backend.writesUntilFailure = nil
    try f.cache.append(f.sequence, layer: 0, k: more.view, v: more.view)
    let k = Tensor([2, 20, 16])
    try f.cache.read(f.sequence, layer: 0, from: 0, k: k.view, v: nil)
    for h in 0..<2 { for t in 0..<20 { #expect(k[h, t, 3] == f.k[h, t, 3]) } }
  }

  @Test func badInput() throws {
    let f = try Fixture(tokens: 20)
    let (c, s) = (f.cache, f.sequence)
    let good = Tensor([2, 3, 16])
    #expect(status { try c.append(99, layer: 0, k: good.view, v: good.view) } == .notFound)
    #expect(status { try c.append(s, layer: 1, k: good.view, v: good.view) } == .invalidArgument)
    #expect(status { try c.append(s, layer: -1, k: good.view, v: good.view) } == .invalidArgument)
    for shape in [[1, 3, 16], [2, 3, 8], [2, 0, 16], [3, 16], [2, 4, 16]] {
      #expect(status { try c.append(s, layer: 0, k: good.view, v: Tensor(shape).view) } == .invalidArgument)
    }
    #expect(status { try c.append(s, layer: 0, k: Tensor([2, 3, 16], .i32).view, v: good.view) } == .invalidArgument)
    let strided = Tensor([2, 3, 16], stride: [96, 32, 2], elements: 200)
    #expect(status { try c.append(s, layer: 0, k: strided.view, v: good.view) } == .invalidArgument)
    // A broadcast view may claim any number of tokens.
    let broadcast = Tensor([2, Int.max / 4, 16], stride: [0, 0, 1], elements: 16)
    #expect(status { try c.append(s, layer: 0, k: broadcast.view, v: broadcast.view) } == .cacheFull)
    #expect(status { _ = try c.length(of: s, layer: 7) } == .invalidArgument)
    #expect(status { _ = try c.length(of: 0, layer: 0) } == .notFound)
    #expect(status { try c.truncate(s, to: -1) } == .invalidArgument)
    #expect(status { try c.truncate(77, to: 1) } == .notFound)
    #expect(status { _ = try c.fork(s, tokens: 21) } == .invalidArgument)
    #expect(status { _ = try c.fork(s, tokens: -1) } == .invalidArgument)
    #expect(status { try c.read(s, layer: 0, from: 18, k: good.view, v: nil) } == .invalidArgument)
    #expect(status { try c.read(s, layer: 0, from: -1, k: good.view, v: nil) } == .invalidArgument)
    #expect(status { try c.read(s, layer: 0, from: Int.max, k: good.view, v: nil) } == .invalidArgument)
    #expect(status { try c.read(s, layer: 0, from: 0, k: Tensor([2, 3, 16], .i8).view, v: nil) } == .invalidArgument)
    #expect(status { try c.destroy(1234) } == .notFound)
    try c.destroy(s)
    #expect(status { try c.destroy(s) } == .notFound)
    #expect(c.memory.pagesUsed == 0)
    #expect(try c.makeSequence() != s)
  }

  /// Random appends, forks, truncations and destructions against arrays.
  @Test(arguments: 0..<8, Engine.allCases) func behavesLikeArrays(seed: Int, on engine: Engine) throws {
    var random = Random(UInt64(seed) &+ 100)
    let layers = 2
    let cache = try KVCache(
      context: Context(backend: try engine.backend()),
      options: KVCacheOptions(layers: layers, kvHeads: 1, headDim: 8, pageTokens: 16, maxTokens: 16 * 14))
    // What each layer of each sequence holds: one number per token, written to every element of its rows.
    var model: [SequenceID: [[Float]]] = [:]
    var stamp: Float = 0
    var refused = 0
    for _ in 0..<160 {
      let ids = model.keys.sorted()
      let id = ids.isEmpty ? 0 : ids[Int.random(in: 0..<ids.count, using: &random)]
      switch ids.isEmpty ? 9 : Int.random(in: 0..<10, using: &random) {
      case 0..<5:
        let layer = Int.random(in: 0..<layers, using: &random)
        let n = Int.random(in: 1...24, using: &random)
        let rows = Tensor([1, n, 8])
        for t in 0..<n { for i in 0..<8 { rows[0, t, i] = Double(stamp + Float(t)) } }
        let before = cache.memory
        let result = status { try cache.append(id, layer: layer, k: rows.view, v: rows.view) }
        if result == nil {
          model[id]![layer] += (0..<n).map { stamp + Float($0) }
        } else {
          #expect(result == .cacheFull)
          #expect(cache.memory == before)
          refused += 1
        }
        stamp += Float(n)
      case 5, 6:
        let shortest = model[id]!.map(\.count).min()!
        let n = Int.random(in: 0...shortest, using: &random)
        let whole = Bool.random(using: &random)
        let fork = try cache.fork(id, tokens: whole ? nil : n)
        #expect(model[fork] == nil)
        model[fork] = model[id]!.map { Array($0.prefix(whole ? shortest : n)) }
      case 7:
        let n = Int.random(in: 0...(model[id]!.map(\.count).max()! + 3), using: &random)
        try cache.truncate(id, to: n)
        model[id] = model[id]!.map { Array($0.prefix(n)) }
      case 8:
        try cache.destroy(id)
        model[id] = nil
      default:
        let made = try cache.makeSequence()
        model[made] = Array(repeating: [], count: layers)
      }
      try check(cache, model)
    }
    #expect(refused > 0)
    for id in model.keys { try cache.destroy(id) }
    #expect(cache.memory.pagesUsed == 0 && cache.memory.pagesShared == 0)
    if let store = cache.store as? ReferenceStore { #expect(store.livePages == 0) }
  }

  private func check(_ cache: KVCache, _ model: [SequenceID: [[Float]]]) throws {
    for (id, layers) in model {
      for (layer, tokens) in layers.enumerated() {
        try #require(try cache.length(of: id, layer: layer) == tokens.count)
        if tokens.isEmpty { continue }
        let k = Tensor([1, tokens.count, 8])
        let v = Tensor([1, tokens.count, 8])
        try cache.read(id, layer: layer, from: 0, k: k.view, v: v.view)
        for (t, x) in tokens.enumerated() {
          try #require(k[0, t, 0] == Double(x) && k[0, t, 7] == Double(x) && v[0, t, 5] == Double(x))
        }
      }
    }
    let memory = cache.memory
    #expect(memory.sequences == model.count)
    #expect(memory.tokens == model.values.reduce(0) { $0 + $1.map(\.count).max()! })
    #expect(memory.pagesUsed <= memory.pagesTotal)
    // Every page a sequence holds is used by it alone or shared; no page is lost.
    let held = model.values.reduce(0) { $0 + ($1.map(\.count).max()! + 15) / 16 }
    #expect(memory.pagesUsed <= held && (memory.pagesShared == 0) == (memory.pagesUsed == held))
  }

  @Test func forkSharesPagesAndCopiesOnlyThePartlyFilledOne() throws {
    let f = try Fixture(tokens: 40)
    let fork = try f.cache.fork(f.sequence)
    #expect(f.cache.memory.pagesUsed == 3)
    #expect(f.cache.memory.pagesShared == 3)
    let one = Tensor([2, 1, 16])
    try f.cache.append(f.sequence, layer: 0, k: one.view, v: one.view)
    #expect(f.cache.memory.pagesUsed == 4)
    #expect(f.cache.memory.pagesShared == 2)
    // The other side is alone on its page now.
    try f.cache.append(fork, layer: 0, k: one.view, v: one.view)
    #expect(f.cache.memory.pagesUsed == 4)
    #expect(f.cache.memory.tokens == 82)
    #expect(f.cache.memory.bytesUsed == 4 * f.cache.memory.pageBytes)
  }

  @Test func aCacheKeepsItsContextAlive() throws {
    var context: Context? = Context(backend: ReferenceBackend())
    weak let watched = context
    var cache: KVCache? = try KVCache(context: context!, options: KVCacheOptions())
    var selector: Selector? = try Selector(cache: cache!, options: SelectorOptions())
    context = nil
    cache = nil
    #expect(watched != nil)
    _ = try selector!.cache.makeSequence()
    selector = nil
    #expect(watched == nil)
  }
}
