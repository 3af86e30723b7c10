import TamisCore
import TamisDevice

/// k-means++ (Arthur, Vassilvitskii 2007): the first centre is a row drawn evenly, each further one a row drawn in proportion to
/// its squared distance to the centres so far.
enum KMeansSeeds {
  static func draw(_ points: Points, k: Int, seed: UInt64, on backend: any Backend) -> [Double] {
    var random = SeededRandom(seed: seed)
    let (n, d) = (points.n, points.d)
    let blocks = RowBlocks(n)
    var centres: [Double] = []
    centres.reserveCapacity(k * d)
    var isChosen = [Bool](repeating: false, count: n)
    var nearest = [Double](repeating: .infinity, count: n)
    var next = random.below(n)
    while true {
      isChosen[next] = true
      let centre = (0..<d).map { Double(points[next][$0]) }
      centres += centre
      if centres.count == k * d { return centres }
      nearest.withUnsafeMutableBufferPointer { nearest in
        nonisolated(unsafe) let nearest = nearest
        centre.withUnsafeBufferPointer { centre in
          backend.parallel(blocks.count) { b in
            for i in blocks[b] { nearest[i] = min(nearest[i], squaredDistance(points[i], centre.baseAddress!, d)) }
          }
        }
      }
      next = draw(nearest, isChosen, &random)
    }
  }

  /// An index in proportion to `weights`; where all are 0 the first row not chosen yet.
  private static func draw(_ weights: [Double], _ isChosen: [Bool], _ random: inout SeededRandom) -> Int {
    let target = random.unit() * weights.reduce(0, +)
    var sum = 0.0
    var last = -1
    for i in weights.indices where weights[i] > 0 {
      sum += weights[i]
      last = i
      if sum > target { return i }
    }
    return last >= 0 ? last : isChosen.firstIndex(of: false) ?? 0
  }
}
