import TamisCore
import TamisDevice

/// Rows [n, d] f32, contiguous, finite: the points of a clustering.
struct Points: @unchecked Sendable {
  let data: UnsafePointer<Float>
  let n: Int
  let d: Int

  init(_ data: UnsafePointer<Float>, n: Int, d: Int) {
    self.data = data
    self.n = n
    self.d = d
  }

  subscript(_ i: Int) -> UnsafePointer<Float> { data + i * d }
}

/// The rows of each task. Set by the shapes alone, so that sums have the same bits on any number of threads.
struct RowBlocks: Sendable {
  let n: Int
  let size: Int

  /// `room`: numbers that each block needs for itself.
  init(_ n: Int, room: Int = 1) {
    self.n = n
    let most = max(1, min(64, (1 << 24) / max(1, room)))
    size = max(64, (n + most - 1) / most)
  }

  var count: Int { (n + size - 1) / size }
  subscript(_ b: Int) -> Range<Int> { b * size..<min(n, (b + 1) * size) }
}

/// |x - c|^2 in f64.
@inline(__always)
func squaredDistance(_ x: UnsafePointer<Float>, _ c: UnsafePointer<Double>, _ d: Int) -> Double {
  var sums = SIMD4<Double>.zero
  var i = 0
  while i + 4 <= d {
    let difference =
      SIMD4<Double>(UnsafeRawPointer(x + i).loadUnaligned(as: SIMD4<Float>.self))
      - UnsafeRawPointer(c + i).loadUnaligned(as: SIMD4<Double>.self)
    sums += difference * difference
    i += 4
  }
  var sum = (sums[0] + sums[2]) + (sums[1] + sums[3])
  while i < d {
    let difference = Double(x[i]) - c[i]
    sum += difference * difference
    i += 1
  }
  return sum
}

/// What the rows of one block add up to.
private struct PartSums {
  /// [k, d] and [k]: sums and numbers of the rows of each cluster.
  var sums: [Double]
  var counts: [Int]
  /// Rows that changed their cluster.
  var changes = 0

  mutating func assign(
    _ rows: Range<Int>, of points: Points, to centres: [Double], _ labels: UnsafeMutableBufferPointer<Int32>,
    _ distances: UnsafeMutableBufferPointer<Double>
  ) {
    let d = points.d
    changes = 0
    counts.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
    sums.withUnsafeMutableBufferPointer { sums in
      sums.update(repeating: 0)
      for i in rows {
        let x = points[i]
        let (nearest, distance) = Self.nearest(x, centres, counts.count, d)
        let label = Int32(truncatingIfNeeded: nearest)
        if labels[i] != label { changes += 1 }
        labels[i] = label
        distances[i] = distance
        counts[nearest] += 1
        for j in 0..<d { sums[nearest * d + j] += Double(x[j]) }
      }
    }
  }

  /// The nearest centre, the lower one of two, and the squared distance to it.
  private static func nearest(_ x: UnsafePointer<Float>, _ centres: [Double], _ k: Int, _ d: Int) -> (Int, Double) {
    centres.withUnsafeBufferPointer { centres in
      var nearest = 0
      var least = Double.infinity
      for c in 0..<k {
        let distance = squaredDistance(x, centres.baseAddress! + c * d, d)
        if distance < least { (nearest, least) = (c, distance) }
      }
      return (nearest, least)
    }
  }
}

/// One run of Lloyd's algorithm from given centres. Sums in f64; ties go to the lower cluster; an empty cluster takes the row
/// farthest from its centre.
final class LloydRun {
  let points: Points
  let k: Int
  /// [k, d]
  private(set) var centres: [Double]
  /// Of the nearest centre, and the squared distance to it.
  private(set) var labels: [Int32]
  private(set) var distances: [Double]
  private(set) var counts: [Int]
  private(set) var inertia = Double.infinity
  private(set) var iterations = 0
  private(set) var hasConverged = false

  private let blocks: RowBlocks
  private var sums: [Double]
  /// Of each block.
  private var partSums: [PartSums]

  init(_ points: Points, centres: [Double]) {
    self.points = points
    self.centres = centres
    k = centres.count / points.d
    blocks = RowBlocks(points.n, room: centres.count)
    labels = [Int32](repeating: -1, count: points.n)
    distances = [Double](repeating: 0, count: points.n)
    counts = [Int](repeating: 0, count: k)
    sums = [Double](repeating: 0, count: centres.count)
    partSums = (0..<blocks.count).map { [k] _ in
      PartSums(sums: [Double](repeating: 0, count: centres.count), counts: [Int](repeating: 0, count: k))
    }
  }

  /// Until inertia falls by less than `tolerance` of itself, or no row changes its cluster. `each` is called once an iteration;
  /// false cancels. Labels, distances and inertia are those of the final centres.
  func run(
    maxIterations: Int, tolerance: Double, on backend: any Backend, each: () throws(TamisError) -> Void
  ) throws(TamisError) {
    while true {
      try each()
      let before = inertia
      let changes = assign(on: backend)
      iterations += 1
      let isWhole = !fillEmpty()
      if isWhole && (changes == 0 || inertia == 0 || before.isFinite && before - inertia <= tolerance * before) {
        hasConverged = true
        return
      }
      if iterations == maxIterations {
        // The rows that empty clusters took count as moved: only a whole assignment may be the last.
        if !isWhole {
          updateCentres()
          _ = assign(on: backend)
        }
        return
      }
      updateCentres()
    }
  }

  private func updateCentres() {
    for c in 0..<k where counts[c] > 0 {
      for j in 0..<points.d { centres[c * points.d + j] = sums[c * points.d + j] / Double(counts[c]) }
    }
  }

  /// Nearest centres, and the sums of the rows of each cluster. Returns how many rows changed their cluster.
  private func assign(on backend: any Backend) -> Int {
    let (points, blocks, centres) = (points, blocks, centres)
    labels.withUnsafeMutableBufferPointer { labels in
      distances.withUnsafeMutableBufferPointer { distances in
        partSums.withUnsafeMutableBufferPointer { parts in
          nonisolated(unsafe) let (labels, distances, parts) = (labels, distances, parts)
          backend.parallel(blocks.count) { b in parts[b].assign(blocks[b], of: points, to: centres, labels, distances) }
        }
      }
    }
    inertia = distances.reduce(0, +)
    sums = [Double](repeating: 0, count: centres.count)
    counts = [Int](repeating: 0, count: k)
    for part in partSums {
      for j in sums.indices { sums[j] += part.sums[j] }
      for c in 0..<k { counts[c] += part.counts[c] }
    }
    return partSums.reduce(0) { $0 + $1.changes }
  }

  /// Gives every empty cluster the row farthest from its centre, lowest index first among equals, while one lies apart from its
  /// centre: with fewer different rows than clusters some stay empty. Returns whether any row moved.
  private func fillEmpty() -> Bool {
    var hasMoved = false
    let d = points.d
    for c in 0..<k where counts[c] == 0 {
      var farthest = -1
      for i in 0..<points.n where counts[Int(labels[i])] > 1 && distances[i] > 0 {
        if farthest < 0 || distances[i] > distances[farthest] { farthest = i }
      }
      if farthest < 0 { return hasMoved }
      let from = Int(labels[farthest])
      for j in 0..<d {
        let x = Double(points[farthest][j])
        sums[from * d + j] -= x
        sums[c * d + j] = x
      }
      counts[from] -= 1
      counts[c] = 1
      labels[farthest] = Int32(truncatingIfNeeded: c)
      distances[farthest] = 0
      hasMoved = true
    }
    return hasMoved
  }
}
