import TamisCore
import TamisDevice
import Testing

@testable import TamisText

private func cluster(_ points: [[Float]], threads: Int = 1, _ change: (inout CRAG.Options) -> Void = { _ in }) throws
  -> Clusters
{
  var options = CRAG.Options()
  options.normalise = false
  change(&options)
  var flat = points.flatMap(\.self)
  let context = try Context(threads: threads)
  return try flat.withUnsafeMutableBytes {
    try CRAG.cluster(
      TensorView($0.baseAddress!, .f32, shape: [points.count, points[0].count]), options, context: context)
  }
}

/// Points around centres far apart, the centre of each, in shuffled order.
private func blobs(_ k: Int, _ each: Int, _ d: Int, seed: UInt64) -> (points: [[Float]], truth: [Int]) {
  var random = SeededRandom(seed: seed)
  var points = (0..<k * each).map { i in
    (truth: i % k, x: (0..<d).map { j in Float((j == (i % k) % d ? 20 * Double(1 + (i % k) / d) : 0) + random.unit() - 0.5) })
  }
  points.shuffle(using: &random)
  return (points.map(\.x), points.map(\.truth))
}

private func noise(_ n: Int, _ d: Int, seed: UInt64) -> [[Float]] {
  var random = SeededRandom(seed: seed)
  return (0..<n).map { _ in (0..<d).map { _ in Float(random.unit() * 2 - 1) } }
}

/// Squared.
private func distance(_ a: [Float], _ b: [Float]) -> Double {
  var sum = 0.0
  for j in a.indices {
    let difference = Double(a[j]) - Double(b[j])
    sum += difference * difference
  }
  return sum
}

/// Clusters as sets of rows.
private func parts(_ labels: [Int32]) -> Set<Set<Int>> {
  Set(Dictionary(grouping: labels.indices) { labels[$0] }.values.map { Set($0) })
}

private func inertia(_ points: [[Float]], _ labels: [Int32]) -> Double {
  var sum = 0.0
  for rows in Dictionary(grouping: points.indices, by: { labels[$0] }).values {
    for j in points[0].indices {
      let mean = rows.reduce(0.0) { $0 + Double(points[$1][j]) } / Double(rows.count)
      for i in rows { sum += (Double(points[i][j]) - mean) * (Double(points[i][j]) - mean) }
    }
  }
  return sum
}

@Suite struct CRAGTests {
  @Test(arguments: [(2, 3), (4, 6), (5, 2), (8, 17)])
  func blobsAreFound(_ k: Int, _ d: Int) throws {
    let (points, truth) = blobs(k, 30, d, seed: 1)
    let found = try cluster(points) { $0.k = k }
    #expect(found.k == k)
    #expect(parts(found.labels) == parts(truth.map { Int32($0) }))
    #expect(abs(found.inertia - inertia(points, found.labels)) < 1e-6 * found.inertia)
    #expect(found.hasConverged)
  }

  @Test func theNumberOfBlobsIsFound() throws {
    for k in 2...5 {
      let (points, truth) = blobs(k, 20, 6, seed: UInt64(k))
      let found = try cluster(points) { $0.k = nil }
      #expect(found.k == k)
      #expect(parts(found.labels) == parts(truth.map { Int32($0) }))
      // Blobs of width 1 that are 28 apart: close to the perfect 1.
      #expect(found.silhouette ?? 0 > 0.9)
    }
  }

  @Test func silhouettesAgainstLoops() throws {
    let points = noise(60, 3, seed: 9)
    let labels = (0..<60).map { Int32($0 == 59 ? 3 : $0 % 3) }
    var expected = 0.0
    for i in 0..<59 {
      func mean(_ c: Int32) -> Double {
        let others = (0..<60).filter { labels[$0] == c && $0 != i }
        return others.reduce(0) { $0 + distance(points[i], points[$1]).squareRoot() } / Double(others.count)
      }
      let b = (0..<4).filter { $0 != labels[i] }.map(mean).min()!
      expected += (b - mean(labels[i])) / max(mean(labels[i]), b)
    }
    let flat = points.flatMap(\.self)
    let found = flat.withUnsafeBufferPointer {
      Silhouette.means(
        Points($0.baseAddress!, n: 60, d: 3), [labels, [Int32](repeating: 0, count: 60)], on: try! CPUBackend(threads: 2))
    }
    #expect(abs(found[0] - expected / 60) < 1e-6)
    #expect(found[1].isNaN)
  }

  /// Rows are numbered by their first row, nearest to the centre first.
  @Test func orderAndOffsets() throws {
    let points = noise(200, 5, seed: 2)
    let found = try cluster(points) { $0.k = 7 }
    #expect(found.labels[0] == 0)
    #expect(found.offsets.count == 8 && found.offsets[0] == 0 && found.offsets[7] == 200)
    #expect(found.order.sorted() == (0..<200).map { Int32($0) })
    var firsts: [Int32] = []
    for c in 0..<7 {
      let rows = found.order[Int(found.offsets[c])..<Int(found.offsets[c + 1])]
      #expect(rows.allSatisfy { found.labels[Int($0)] == c })
      firsts.append(rows.min()!)
      let centre = Array(found.centres[c * 5..<c * 5 + 5])
      let distances = rows.map { distance(points[Int($0)], centre) }
      #expect(zip(distances, distances.dropFirst()).allSatisfy { $0 <= $1 + 1e-6 })
    }
    #expect(firsts == firsts.sorted())
  }

  @Test func everyRowIsNearestItsCentre() throws {
    let points = noise(500, 4, seed: 6)
    for iterations in [1, 2, 300] {
      let found = try cluster(points) { ($0.k, $0.maxIterations, $0.restarts) = (9, iterations, 1) }
      for (x, label) in zip(points, found.labels) {
        let distances = (0..<9).map { distance(x, Array(found.centres[$0 * 4..<$0 * 4 + 4])) }
        #expect(distances[Int(label)] <= distances.min()! + 1e-6)
      }
      #expect(found.iterations <= iterations)
    }
  }

  @Test func inertiaNeverRises() throws {
    let points = noise(300, 6, seed: 12)
    var last = Double.infinity
    for iterations in 1...12 {
      let found = try cluster(points) { ($0.k, $0.maxIterations, $0.restarts, $0.tolerance) = (6, iterations, 1, 0) }
      #expect(found.inertia <= last)
      last = found.inertia
    }
  }

  @Test func moreRestartsAreNoWorse() throws {
    let points = noise(150, 3, seed: 31)
    var last = Double.infinity
    for restarts in [1, 2, 5, 20] {
      let found = try cluster(points) { ($0.k, $0.restarts) = (8, restarts) }
      #expect(found.inertia <= last)
      last = found.inertia
    }
  }

  @Test func threadsDoNotChangeABit() throws {
    let points = noise(300, 7, seed: 4)
    let one = try cluster(points) { $0.k = nil }
    for threads in [2, 5] {
      let more = try cluster(points, threads: threads) { $0.k = nil }
      #expect(more.labels == one.labels && more.order == one.order && more.centres == one.centres)
      #expect(more.inertia == one.inertia && more.silhouette == one.silhouette)
    }
    let other = try cluster(points) { ($0.k, $0.seed, $0.restarts) = (8, 77, 1) }
    let again = try cluster(points) { ($0.k, $0.seed, $0.restarts) = (8, 77, 1) }
    #expect(other.centres == again.centres)
  }

  @Test func permutedRowsAreTheSameClusters() throws {
    let (points, _) = blobs(4, 25, 5, seed: 8)
    var random = SeededRandom(seed: 1)
    let permutation = Array(points.indices).shuffled(using: &random)
    let a = try cluster(points)
    let b = try cluster(permutation.map { points[$0] })
    #expect(parts(a.labels) == Set(parts(b.labels).map { Set($0.map { permutation[$0] }) }))
  }

  @Test func fewerRowsThanClusters() throws {
    for n in [1, 3, 4] {
      let points = noise(n, 3, seed: 3)
      let found = try cluster(points)
      #expect(found.k == n && found.labels == (0..<n).map { Int32($0) } && found.inertia == 0)
      #expect(found.offsets == (0...n).map { Int32($0) })
      #expect(found.centres == points.flatMap(\.self))
    }
    #expect(try cluster(noise(3, 2, seed: 1)) { $0.k = nil }.k == 3)
    let each = try cluster(noise(40, 3, seed: 1)) { $0.k = 39 }
    #expect(each.k == 39)
  }

  @Test func equalRowsMakeFewerClusters() throws {
    let same = [[Float]](repeating: [1, 2], count: 9)
    let one = try cluster(same)
    #expect(one.k == 1 && one.inertia == 0 && one.labels == [Int32](repeating: 0, count: 9))
    #expect(one.order == (0..<9).map { Int32($0) })
    let two = try cluster([[0, 0], [5, 5], [0, 0], [5, 5], [0, 0], [0, 0]])
    #expect(two.k == 2 && two.labels == [0, 1, 0, 1, 0, 0])
    #expect(try cluster(same) { $0.k = nil }.k == 1)
    let many = try cluster((0..<50).map { [Float($0 % 6), 0] }) { ($0.k, $0.restarts) = (6, 1) }
    #expect(many.k == 6 && many.inertia == 0)
  }

  /// A length does not matter once rows are normalised; a row of zeros has none.
  @Test func normalisedRows() throws {
    let directions: [[Float]] = [[1, 0], [0, 1], [-1, 0], [0, -1]]
    let points = (0..<40).map { i in directions[i % 4].map { $0 * Float(1 + i) } }
    let found = try cluster(points) { $0.normalise = true }
    #expect(found.labels == (0..<40).map { Int32($0 % 4) })
    #expect(found.inertia < 1e-12)
    #expect(
      try cluster([[0, 0], [0, 0], [1, 0], [2, 0], [0, 0], [3, 0]]) { ($0.k, $0.normalise) = (2, true) }.labels == [
        0, 0, 1, 1, 0, 1,
      ])
  }

  @Test func badInput() {
    var points = noise(10, 2, seed: 1)
    for value in [Float.nan, .infinity, -.infinity] {
      points[7][1] = value
      #expect { try cluster(points) } throws: { ($0 as? TamisError)?.message.contains("points[7][1]") ?? false }
    }
    points = noise(10, 2, seed: 1)
    #expect(throws: TamisError.self) { try cluster(points) { $0.k = 0 } }
    #expect(throws: TamisError.self) { try cluster(points) { $0.restarts = 0 } }
    #expect(throws: TamisError.self) { try cluster(points) { $0.maxIterations = 0 } }
    for tolerance in [-1, Double.nan, .infinity] {
      #expect(throws: TamisError.self) { try cluster(points) { $0.tolerance = tolerance } }
    }
    // The largest numbers, whose squares f32 cannot hold.
    #expect(throws: Never.self) { try cluster(noise(10, 2, seed: 1).map { $0.map { $0 * 3e38 } }) }
  }

  @Test func cancelled() throws {
    var flat = noise(500, 4, seed: 1).flatMap(\.self)
    let context = try Context()
    var calls = 0
    var last = 0.0
    flat.withUnsafeMutableBytes { raw in
      let view = TensorView(raw.baseAddress!, .f32, shape: [500, 4])
      #expect { try CRAG.cluster(view, context: context) { done in
        calls += 1
        #expect(done >= last && done <= 1)
        last = done
        return calls < 5
      } } throws: { ($0 as? TamisError)?.status == .cancelled }
    }
    #expect(calls == 5)
  }

  @Test func representativesKeepTheBudgetOfEachCluster() {
    // clusters of 3, 5 and 2 rows
    let order: [Int32] = [4, 0, 7, 1, 2, 3, 9, 8, 6, 5]
    let offsets: [Int32] = [0, 3, 8, 10]
    func chosen(_ budget: Int, _ costs: [Int32]? = nil) -> [Int32] {
      order.withUnsafeBufferPointer { order in
        offsets.withUnsafeBufferPointer { offsets in
          guard let costs else { return CRAG.representatives(order: order, offsets: offsets, costs: nil, budget: budget) }
          return costs.withUnsafeBufferPointer {
            CRAG.representatives(order: order, offsets: offsets, costs: $0.baseAddress, budget: budget)
          }
        }
      }
    }
    #expect(chosen(0) == [1, 4, 6])
    #expect(chosen(-5) == [1, 4, 6])
    #expect(chosen(5) == [1, 2, 4, 6])  // shares 1.5, 2.5, 1
    #expect(chosen(10) == (0..<10).map { Int32($0) })
    #expect(chosen(.max) == (0..<10).map { Int32($0) })
    // shares of 30: 9, 15, 6; row 0 costs too much, and what lies behind it does not come in its place
    #expect(chosen(30, [9, 4, 4, 8, 1, 3, 3, 1, 1, 1]) == [1, 2, 4, 5, 6])
    #expect(chosen(.max, [Int32](repeating: .max, count: 10)).count == 10)
  }
}
