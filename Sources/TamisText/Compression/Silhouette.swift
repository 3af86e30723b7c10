import TamisCore
import TamisDevice

/// How well clusterings separate their rows (Rousseeuw 1987): the mean over rows of (b - a) / max(a, b), a the mean distance to
/// the other rows of the own cluster, b the least mean distance to the rows of another; 0 for a cluster of one.
enum Silhouette {
  /// Above this many rows the mean is taken over as many evenly spaced ones.
  static let sample = 2048

  /// One mean per labelling, all from one pass over the distances. A labelling of fewer than two clusters gets NaN.
  static func means(_ points: Points, _ labellings: [[Int32]], on backend: any Backend) -> [Double] {
    let m = min(points.n, sample)
    let rows = (0..<m).map { $0 * points.n / m }
    let sampled = labellings.map { labels in rows.map { Int(labels[$0]) } }
    let clusters = sampled.map { ($0.max() ?? 0) + 1 }
    let sizes = zip(sampled, clusters).map { labels, k in
      labels.reduce(into: [Int](repeating: 0, count: k)) { $0[$1] += 1 }
    }
    var values = [Double](repeating: 0, count: labellings.count * m)
    values.withUnsafeMutableBufferPointer { values in
      nonisolated(unsafe) let values = values
      backend.parallel(m) { i in
        let x = (0..<points.d).map { Double(points[rows[i]][$0]) }
        let distances = x.withUnsafeBufferPointer { x in
          rows.map { squaredDistance(points[$0], x.baseAddress!, points.d).squareRoot() }
        }
        for (l, labels) in sampled.enumerated() {
          values[l * m + i] = value(of: labels[i], distances, labels, sizes[l])
        }
      }
    }
    return labellings.indices.map { l in
      guard sizes[l].filter({ $0 > 0 }).count > 1 else { return .nan }
      return values[l * m..<(l + 1) * m].reduce(0, +) / Double(m)
    }
  }

  private static func value(of own: Int, _ distances: [Double], _ labels: [Int], _ sizes: [Int]) -> Double {
    if sizes[own] == 1 { return 0 }
    var sums = [Double](repeating: 0, count: sizes.count)
    for (j, label) in labels.enumerated() { sums[label] += distances[j] }
    let a = sums[own] / Double(sizes[own] - 1)
    var b = Double.infinity
    for c in sizes.indices where c != own && sizes[c] > 0 { b = min(b, sums[c] / Double(sizes[c])) }
    let larger = max(a, b)
    return larger > 0 && larger.isFinite ? (b - a) / larger : 0
  }
}
