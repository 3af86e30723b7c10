import CShims
import TamisCore

/// How the keys of a chunk become one vector (arXiv 2510.24606 v1: length-normalised aggregation).
public enum ChunkPooling: Int32, Sendable {
  /// sum / sqrt(len): a long chunk of like keys outweighs a short one.
  case squareRoot = 0
  /// sum / len
  case mean = 1

  @inline(__always) func weight(_ count: Int) -> Double {
    switch self {
    case .squareRoot: 1 / Double(count).squareRoot()
    case .mean: 1 / Double(count)
    }
  }
}

/// Chunks best first, as many as are asked for: a heap over scores, so that ranking costs what is taken. Of equal scores the
/// later chunk comes first (recency); NaN counts as -inf.
struct ChunkRanking {
  /// Order of the score above, chunk number below.
  private var heap: [UInt64] = []

  /// Takes chunks `first ..< first + count` with these scores. Memory of an earlier ranking is used again.
  mutating func start(_ scores: UnsafePointer<Float>, first: Int, count: Int) {
    heap.removeAll(keepingCapacity: true)
    for i in 0..<count { heap.append(UInt64(Self.order(scores[i])) << 32 | UInt64(UInt32(truncatingIfNeeded: first + i))) }
    var parent = heap.count / 2 - 1
    while parent >= 0 {
      sink(parent)
      parent -= 1
    }
  }

  /// The best chunk left.
  mutating func next() -> Int? {
    guard let best = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      sink(0)
    }
    return Int(best & 0xffff_ffff)
  }

  private mutating func sink(_ start: Int) {
    heap.withUnsafeMutableBufferPointer { heap in
      let n = heap.count
      let value = heap[start]
      var i = start
      while true {
        var child = 2 * i + 1
        if child >= n { break }
        if child + 1 < n && heap[child + 1] > heap[child] { child += 1 }
        if heap[child] <= value { break }
        heap[i] = heap[child]
        i = child
      }
      heap[i] = value
    }
  }

  /// A number of the score's order; NaN and -inf are least, the zeros are equal.
  private static func order(_ score: Float) -> UInt32 {
    if score.isNaN || score == -.infinity { return 0 }
    let bits = (score + 0).bitPattern
    return bits & 0x8000_0000 == 0 ? bits | 0x8000_0000 : ~bits
  }
}

/// One vector per chunk of keys: pooled over tokens, [chunks][headDim] f32 averaged over KV heads, or [kvHeads][chunks][headDim].
/// Sums in f32 over runs of `run` keys, in f64 over those.
final class ChunkVectors: @unchecked Sendable {
  static let run = 128
  let count, headDim: Int
  private let values: FloatTable

  init(
    _ k: TensorView, _ boundaries: [Int64], _ pooling: ChunkPooling, ofEachHead: Bool = false,
    _ parallel: (Int, (Int) -> Void) -> Void
  ) throws(TamisError) {
    count = boundaries.count - 1
    headDim = k.shape[2]
    values = try FloatTable((ofEachHead ? k.shape[0] : 1) * count * headDim)
    let home = UncheckedPointer(values.start)
    let groups = ofEachHead ? (0..<k.shape[0]).map { $0..<$0 + 1 } : [0..<k.shape[0]]
    // Tasks of about 1024 tokens, a whole number of chunks each.
    var starts = [0]
    for c in 1..<count + 1 where boundaries[c] - boundaries[starts[starts.count - 1]] >= 1024 || c == count { starts.append(c) }
    parallel(starts.count - 1) { [headDim, count] task in
      let sum = VectorSum(k)
      for (i, heads) in groups.enumerated() {
        for c in starts[task]..<starts[task + 1] {
          let tokens = Int(boundaries[c])..<Int(boundaries[c + 1])
          sum.reset()
          for g in heads { sum.add(head: g, tokens) }
          sum.write(times: pooling.weight(tokens.count) / Double(heads.count), to: home.pointer + (i * count + c) * headDim)
        }
      }
    }
  }

  /// scores[i] = query . vector of chunk first + i. The query has headDim numbers. `head`: of vectors of each KV head.
  func score(
    _ query: UnsafeMutablePointer<Float>, head: Int = 0, first: Int, count n: Int, into scores: UnsafeMutablePointer<Float>
  ) {
    dotRows(query, values.start + (head * count + first) * headDim, headDim, n, scores)
  }
}

struct UncheckedPointer<T>: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<T>
  init(_ pointer: UnsafeMutablePointer<T>) { self.pointer = pointer }
}

/// scores[i] = query . rows[i], rows of `dim` numbers one after another; dim is a multiple of 8 up to 256.
func dotRows(
  _ query: UnsafeMutablePointer<Float>, _ rows: UnsafePointer<Float>, _ dim: Int, _ count: Int,
  _ scores: UnsafeMutablePointer<Float>
) {
  if count <= 0 { return }
  var keys = tk_rows(base: rows, rows: nil, stride: dim, scale: nil, scale_stride: 0, ahead: nil, ahead_count: 0)
  var queries = tk_queries(
    f32: query, bf16: nil, i8_high: nil, i8_low: nil, i8_panels: nil, i8_scale: nil, i8_high_sum: nil, i8_low_sum: nil,
    count: 1, dim: Int32(dim))
  Kernels.active.pointee.dot_f32(&keys, count, &queries, scores, count)
}

/// The sum of rows of a [heads, n, d] tensor of any dtype: f32 over runs of `ChunkVectors.run` rows, f64 over those.
final class VectorSum {
  private let rows: RowSums
  private let dim: Int
  private let partial: UnsafeMutablePointer<Float>
  private let total: UnsafeMutablePointer<Double>

  init(_ tensor: TensorView) {
    rows = RowSums(tensor)
    dim = tensor.shape[2]
    partial = .allocate(capacity: dim)
    total = .allocate(capacity: dim)
    reset()
  }

  deinit {
    partial.deallocate()
    total.deallocate()
  }

  func reset() { total.update(repeating: 0, count: dim) }

  func add(head: Int, _ range: Range<Int>) {
    var at = range.lowerBound
    while at < range.upperBound {
      let count = min(ChunkVectors.run, range.upperBound - at)
      rows.sum(head, at, count, into: partial)
      for i in 0..<dim { total[i] += Double(partial[i]) }
      at += count
    }
  }

  func write(times factor: Double, to: UnsafeMutablePointer<Float>) {
    for i in 0..<dim { to[i] = Float(total[i] * factor) }
  }
}
