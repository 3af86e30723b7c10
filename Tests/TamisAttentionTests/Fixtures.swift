import Glibc
import Tamis
import Testing

/// A value behind a pthread mutex, which ThreadSanitizer understands (it does not see through Synchronization's).
final class Guarded<Value>: @unchecked Sendable {
  private var value: Value
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

  init(_ value: Value) {
    self.value = value
    pthread_mutex_init(mutex, nil)
  }

  func withLock<R>(_ body: (inout Value) throws -> R) rethrows -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body(&value)
  }
}

/// A tensor with memory of its own, f32 row-major unless told otherwise. The memory stays until the tests end: a view does not
/// keep its tensor alive.
final class Tensor {
  let view: TensorView
  let count: Int
  private let memory: UnsafeMutableRawPointer
  private static let kept = Guarded<[UInt]>([])

  init(_ shape: [Int], _ dtype: DType = .f32, stride: [Int]? = nil, elements: Int? = nil) {
    count = elements ?? shape.reduce(1, *)
    memory = .allocate(byteCount: max(count, 1) * dtype.size, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: max(count, 1) * dtype.size)
    view = TensorView(memory, dtype, shape: shape, stride: stride)
    let address = UInt(bitPattern: memory)
    Self.kept.withLock { $0.append(address) }
  }

  var floats: UnsafeMutableBufferPointer<Float> {
    UnsafeMutableBufferPointer(start: memory.assumingMemoryBound(to: Float.self), count: count)
  }

  subscript(h: Int, t: Int, i: Int) -> Double {
    get { get_(h, t, i) }
    set { set(view, h, t, i, newValue) }
  }
  private func get_(_ h: Int, _ t: Int, _ i: Int) -> Double { get(view, h, t, i) }

  /// Tokens [from, from + n).
  func tokens(_ from: Int, _ n: Int) -> TensorView { view.narrowed(1, from: from, count: n) }

  static func normal(_ shape: [Int], _ random: inout Random, scale: Double = 1) -> Tensor {
    let tensor = Tensor(shape)
    for i in 0..<tensor.count { tensor.floats[i] = Float(random.normal() * scale) }
    return tensor
  }
}

/// splitmix64: the same numbers on every machine.
struct Random: RandomNumberGenerator {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  /// Sum of twelve uniforms: normal enough.
  mutating func normal() -> Double { (0..<12).reduce(-6.0) { sum, _ in sum + Double.random(in: 0..<1, using: &self) } }
}

/// A cache with one sequence of random tokens, and the tensors they came from.
struct Fixture {
  let backend: SpyBackend
  let context: Context
  let cache: KVCache
  let sequence: SequenceID
  let k: Tensor
  let v: Tensor
  var random: Random

  init(
    on engine: Engine = .reference, tokens n: Int, layers: Int = 1, kvHeads: Int = 2, headDim d: Int = 16, dtype: DType = .f32,
    rope: RoPE = .none,
    scoringCopy: DType? = nil, maxTokens: Int = 1024, seed: UInt64 = 1, backend given: (any Backend)? = nil
  ) throws {
    random = Random(seed)
    backend = SpyBackend(try given ?? engine.backend())
    context = Context(backend: backend)
    cache = try KVCache(
      context: context,
      options: KVCacheOptions(
        layers: layers, kvHeads: kvHeads, headDim: d, dtype: dtype, pageTokens: 16, maxTokens: maxTokens, rope: rope,
        scoringCopy: scoringCopy))
    sequence = try cache.makeSequence()
    k = .normal([kvHeads, n, d], &random)
    v = .normal([kvHeads, n, d], &random)
    for layer in 0..<layers { try cache.append(sequence, layer: layer, k: k.view, v: v.view) }
  }

  func selector(_ options: SelectorOptions) throws -> Selector { try Selector(cache: cache, options: options) }
}

extension Selector {
  /// Output, log-sum-exp and stats of one call on layer 0.
  func attend(_ id: SequenceID, _ q: TensorView, layer: Int = 0) throws -> (out: Tensor, lse: Tensor, stats: RetrievalStats) {
    let out = Tensor([q.shape[0], q.shape[1], q.shape[2]])
    let lse = Tensor([q.shape[0], q.shape[1]])
    var stats = RetrievalStats()
    try attend(id, layer: layer, q: q, out: out.view, lse: lse.view, stats: &stats)
    return (out, lse, stats)
  }

  func retrieve(_ id: SequenceID, _ q: TensorView, layer: Int = 0) throws -> [Int32] {
    let n = try retrieve(id, layer: layer, q: q, indices: nil, votes: nil)
    var list = [Int32](repeating: -1, count: n)
    _ = try list.withUnsafeMutableBufferPointer { try retrieve(id, layer: layer, q: q, indices: $0, votes: nil) }
    return list
  }

  func votes(_ id: SequenceID, _ q: TensorView, layer: Int = 0) throws -> [Float] {
    var votes = [Float](repeating: 0, count: try cache.length(of: id, layer: layer))
    _ = try votes.withUnsafeMutableBufferPointer { try retrieve(id, layer: layer, q: q, indices: nil, votes: $0) }
    return votes
  }
}

func maxDifference(_ a: Tensor, _ b: Tensor) -> Float {
  zip(a.floats, b.floats).reduce(0) { worst, pair in
    pair.0 == pair.1 ? worst : max(worst, abs(pair.0 - pair.1).isNaN ? .infinity : abs(pair.0 - pair.1))
  }
}

/// The status an expression throws; nil when it does not.
func status(_ body: () throws -> Void) -> Status? {
  do {
    try body()
    return nil
  } catch let error as TamisError {
    #expect(!error.message.isEmpty)
    return error.status
  } catch {
    Issue.record("not a TamisError: \(error)")
    return nil
  }
}
