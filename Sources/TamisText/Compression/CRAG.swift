public import TamisCore
public import TamisDevice

/// CRAG, clustered retrieval (arXiv 2406.00029): documents are clustered by their embeddings and a few stand for many.
///
/// Score: distance of a document to the centre of its cluster. Spend: `representatives`. Use: the documents themselves, or each
/// cluster's list, medoid first, for a summariser.
public enum CRAG {
  public struct Options: Sendable {
    /// Clusters; nil: the k of 2 ... min(8, floor(sqrt(n))) with the largest mean silhouette.
    public var k: Int? = 4
    public var restarts = 10
    public var maxIterations = 300
    /// A run ends when inertia falls by less than this share of itself.
    public var tolerance = 1e-4
    public var seed: UInt64 = 0
    /// Rows are divided by their length first, so that distance is a matter of angle; a row of zeros stays.
    public var normalise = true

    public init() {}
  }

  /// Most clusters that a k of nil can give.
  public static let largestAutomaticK = 8

  /// k-means of the rows of points [n, d], any float dtype.
  /// - Throws: `invalidArgument` for a row that is not finite, `cancelled`.
  public static func cluster(
    _ points: TensorView, _ options: Options = Options(), context: Context, progress: Progress? = nil
  ) throws(TamisError) -> Clusters {
    try check(options)
    let (n, d) = (points.shape[0], points.shape[1])
    let room = UnsafeMutablePointer<Float>.allocate(capacity: n * d)
    defer { room.deallocate() }
    try load(points, normalise: options.normalise, into: room)
    let rows = Points(room, n: n, d: d)
    let candidates: [Int]
    if let k = options.k {
      candidates = [k]
    } else {
      let most = min(largestAutomaticK, Int(Double(n).squareRoot()))
      candidates = most < 2 ? [n] : Array(2...most)
    }
    // No more clusters than rows: each is its own.
    if candidates[0] >= n { return Clusters(eachOf: rows) }

    var runs: [LloydRun] = []
    try context.withLock { () throws(TamisError) in
      let total = candidates.count * options.restarts
      for k in candidates {
        var best: LloydRun?
        var seeds = SeededRandom(seed: options.seed)
        for restart in 0..<options.restarts {
          let done = Double(runs.count * options.restarts + restart)
          let centres = KMeansSeeds.draw(rows, k: k, seed: seeds.next(), on: context.backend)
          let run = LloydRun(rows, centres: centres)
          try run.run(maxIterations: options.maxIterations, tolerance: options.tolerance, on: context.backend) {
            () throws(TamisError) in
            // How many iterations there will be is not known; the share rises with each.
            let share = (done + Double(run.iterations) / Double(run.iterations + 10)) / Double(total)
            if let progress, !progress(share) { throw TamisError(.cancelled, "progress returned 0") }
          }
          if run.inertia < best?.inertia ?? .infinity { best = run }
        }
        if let best { runs.append(best) }
      }
    }
    if runs.count == 1 { return Clusters(runs[0]) }
    var silhouettes: [Double] = []
    try context.withLock { () throws(TamisError) in
      silhouettes = Silhouette.means(rows, runs.map(\.labels), on: context.backend)
    }
    var chosen = 0
    for r in runs.indices where silhouettes[r] > silhouettes[chosen] || silhouettes[chosen].isNaN && !silhouettes[r].isNaN {
      chosen = r
    }
    var clusters = Clusters(runs[chosen])
    clusters.silhouette = silhouettes[chosen]
    return clusters
  }

  private static func check(_ options: Options) throws(TamisError) {
    try require((options.k ?? 1) >= 1, "options->k is \(options.k ?? 0); expected at least 1, or 0 to choose it")
    try require((1...1000).contains(options.restarts), "options->restarts is \(options.restarts); expected 1 to 1000")
    try require(
      (1...100_000).contains(options.maxIterations),
      "options->max_iterations is \(options.maxIterations); expected 1 to 100000")
    try require(
      options.tolerance >= 0 && options.tolerance.isFinite,
      "options->tolerance is \(options.tolerance); expected a finite number of at least 0")
  }

  private static func load(_ points: TensorView, normalise: Bool, into room: UnsafeMutablePointer<Float>) throws(TamisError) {
    let (n, d) = (points.shape[0], points.shape[1])
    let table = Kernels.active
    for i in 0..<n {
      let row = room + i * d
      TensorRows.load(
        points.data + i * points.stride[0] * points.dtype.size, points.dtype, stride: points.stride[1], scale: 1, count: d,
        to: row, table)
      var sum = 0.0
      for j in 0..<d {
        try require(row[j].isFinite, "points[\(i)][\(j)] is \(row[j]); expected finite numbers")
        sum += Double(row[j]) * Double(row[j])
      }
      if normalise && sum > 0 {
        let length = sum.squareRoot()
        for j in 0..<d { row[j] = Float(Double(row[j]) / length) }
      }
    }
  }

  /// Rows that stand for their clusters: cluster c of n_c of the n rows spends at most budget * n_c / n on the rows nearest its
  /// centre, in their order, and gives at least its first. costs [n] by row, nil: 1 each. Ascending.
  public static func representatives(
    order: UnsafeBufferPointer<Int32>, offsets: UnsafeBufferPointer<Int32>, costs: UnsafePointer<Int32>?, budget: Int
  ) -> [Int32] {
    var chosen: [Int32] = []
    let n = Int128(order.count)
    for c in 0..<max(0, offsets.count - 1) {
      let members = Int(offsets[c])..<Int(offsets[c + 1])
      let share = Int128(max(budget, 0)) * Int128(members.count)
      var spent: Int128 = 0
      for place in members {
        spent += Int128(costs?[Int(order[place])] ?? 1)
        if spent * n > share && place > members.lowerBound { break }
        chosen.append(order[place])
      }
    }
    return chosen.sorted()
  }
}

/// A clustering of n rows: clusters numbered by their first row, rows of a cluster nearest to the centre first.
public struct Clusters: Sendable {
  public var k: Int
  /// [n]
  public var labels: [Int32]
  /// [n]; cluster c is order[offsets[c]..<offsets[c + 1]], ties to the lower row.
  public var order: [Int32]
  public var offsets: [Int32]
  /// [k, d]
  public var centres: [Float]
  /// Sum of the squared distances of the rows to their centres.
  public var inertia: Double
  public var iterations: Int
  public var hasConverged: Bool
  /// Mean over rows, where k was chosen by it.
  public var silhouette: Double?

  /// Every row a cluster.
  init(eachOf points: Points) {
    k = points.n
    order = (0..<points.n).map { Int32(truncatingIfNeeded: $0) }
    labels = order
    offsets = order + [Int32(truncatingIfNeeded: points.n)]
    centres = Array(UnsafeBufferPointer(start: points.data, count: points.n * points.d))
    inertia = 0
    iterations = 0
    hasConverged = true
  }

  init(_ run: LloydRun) {
    var number = [Int](repeating: -1, count: run.k)
    var members: [[Int32]] = []
    centres = []
    let d = run.points.d
    for (i, label) in run.labels.enumerated() {
      let c = Int(label)
      if number[c] < 0 {
        number[c] = members.count
        members.append([])
        centres += run.centres[c * d..<(c + 1) * d].map { Float($0) }
      }
      members[number[c]].append(Int32(truncatingIfNeeded: i))
    }
    k = members.count
    labels = run.labels.map { Int32(truncatingIfNeeded: number[Int($0)]) }
    order = []
    offsets = [0]
    for rows in members {
      order += rows.sorted { a, b in
        let (da, db) = (run.distances[Int(a)], run.distances[Int(b)])
        return da < db || da == db && a < b
      }
      offsets.append(Int32(truncatingIfNeeded: order.count))
    }
    inertia = run.inertia
    iterations = run.iterations
    hasConverged = run.hasConverged
  }
}
