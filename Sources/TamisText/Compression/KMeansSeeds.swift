import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// k-means++ (Arthur, Vassilvitskii 2007): the first centre is a row drawn evenly, each further one a row drawn in proportion
/// to its squared distance to the centres so far; of 2 + ln k such rows the one that leaves the least sum of distances is taken
/// (their greedy form).
enum KMeansSeeds {
  static func draw(_ points: Points, k: Int, seed: UInt64, on backend: any Backend) -> [Double] {
    var random = SeededRandom(seed: seed)
    let n = points.n
    var centres = row(points, random.below(n))
    var nearest = [Double](repeating: .infinity, count: n)
    lower(&nearest, points, to: centres, on: backend)
    let trials = 2 + Int(log(Double(k)))
    while centres.count < k * points.d {
      let total = nearest.reduce(0, +)
      var best: (sum: Double, nearest: [Double], row: Int)?
      for _ in 0..<(total > 0 ? trials : 1) {
        let candidate = draw(nearest, total, &random)
        var lowered = nearest
        lower(&lowered, points, to: row(points, candidate), on: backend)
        let sum = lowered.reduce(0, +)
        if sum < best?.sum ?? .infinity { best = (sum, lowered, candidate) }
      }
      guard let best else { return centres }
      nearest = best.nearest
      centres += row(points, best.row)
    }
    return centres
  }

  private static func row(_ points: Points, _ i: Int) -> [Double] { (0..<points.d).map { Double(points[i][$0]) } }

  private static func lower(_ nearest: inout [Double], _ points: Points, to centre: [Double], on backend: any Backend) {
    let blocks = RowBlocks(points.n)
    nearest.withUnsafeMutableBufferPointer { nearest in
      nonisolated(unsafe) let nearest = nearest
      centre.withUnsafeBufferPointer { centre in
        backend.parallel(blocks.count) { b in
          for i in blocks[b] { nearest[i] = min(nearest[i], squaredDistance(points[i], centre.baseAddress!, points.d)) }
        }
      }
    }
  }

  /// An index in proportion to `weights`; the first where all are 0.
  private static func draw(_ weights: [Double], _ total: Double, _ random: inout SeededRandom) -> Int {
    let target = random.unit() * total
    var sum = 0.0
    var last = 0
    for i in weights.indices where weights[i] > 0 {
      sum += weights[i]
      last = i
      if sum > target { break }
    }
    return last
  }
}
