public import TamisCore
public import TamisDevice

#if canImport(Glibc)
  import Glibc
#endif

/// Spurious correlation of LM-head keys (KeyNavi, ICN, arXiv 2410.02284): logit(v) = h . k_v, so tokens whose keys lie near
/// the best one's rank high whether they are right or not.
public enum KeyClusters {
  /// What the ranks behind the best ones are made of; NaN where there is nothing to take a mean of.
  public struct Report: Sendable {
    public var inside = 0
    public var outside = 0
    public var share = Double.nan
    public var insideRank = Double.nan
    public var outsideRank = Double.nan
    public var insideAccuracy = Double.nan
    public var outsideAccuracy = Double.nan
    public var precision = Double.nan
    public var entropy = Double.nan
    public var correlation = Double.nan
    /// The tokens looked at, by falling logit.
    public var ranked: [Int32] = []
  }

  /// - Parameters:
  ///   - logits: one row [vocabulary]; `clusters` and `correct` likewise.
  ///   - keys: [vocabulary, d], for `correlation`.
  ///   - main: K, the ranks whose clusters are the main ones; `top`: N, the ranks looked at.
  /// - Throws: `invalidArgument`.
  public static func diagnose(
    logits: TensorView, clusters: UnsafeBufferPointer<Int32>, keys: TensorView?, correct: TokenFlags?, main: Int = 10,
    top: Int = 100
  ) throws(TamisError) -> Report {
    let vocabulary = logits.shape[0]
    try require((1...vocabulary).contains(top), "options->top is \(top); expected 1 to \(vocabulary), the vocabulary")
    try require(main >= 1 && main < top, "options->main is \(main); expected 1 to \(top - 1), less than options->top")
    if let keys {
      try require(
        keys.shape[0] == vocabulary, "keys has \(keys.shape[0]) rows; expected \(vocabulary), as logits has tokens")
    }
    let z = logits.asRow.row(0, Kernels.active)
    let ranked = largest(top, of: vocabulary) { Double(z[$0]) }
    var mainClusters: Set<Int32> = []
    var sizes: [Int32: Int] = [:]
    for (r, v) in ranked.enumerated() {
      try require(clusters[v] >= 0, "clusters[\(v)] is \(clusters[v]); expected at least 0")
      if r < main { mainClusters.insert(clusters[v]) }
      sizes[clusters[v], default: 0] += 1
    }
    var report = Report()
    report.ranked = ranked.map { Int32($0) }
    var rank = (inside: 0.0, outside: 0.0)
    var right = (inside: 0.0, outside: 0.0)
    var (all, precision) = (0.0, 0.0)
    for (r, v) in ranked.enumerated() {
      let isRight = if let correct, try isSet(correct, v, "correct") { 1.0 } else { 0.0 }
      all += isRight
      precision += all / Double(r + 1)
      if r < main { continue }
      if mainClusters.contains(clusters[v]) {
        report.inside += 1
        rank.inside += Double(r + 1)
        right.inside += isRight
      } else {
        report.outside += 1
        rank.outside += Double(r + 1)
        right.outside += isRight
      }
    }
    report.share = Double(report.inside) / Double(top - main)
    report.insideRank = rank.inside / Double(report.inside)
    report.outsideRank = rank.outside / Double(report.outside)
    if correct != nil {
      report.insideAccuracy = right.inside / Double(report.inside)
      report.outsideAccuracy = right.outside / Double(report.outside)
      report.precision = precision / Double(top)
    }
    // Sorted, so that the sum has one order.
    report.entropy = sizes.values.sorted().reduce(0.0) { sum, n in
      let p = Double(n) / Double(top)
      return sum - p * log(p)
    }
    if let keys { report.correlation = try correlation(keys, ranked) }
    return report
  }

  /// Spearman's rho of the cosine to the key of the best token and the rank, over the others.
  private static func correlation(_ keys: TensorView, _ ranked: [Int]) throws(TamisError) -> Double {
    let best = try key(keys, ranked[0])
    var cosines: [Double] = []
    for v in ranked.dropFirst() { cosines.append(cosine(best, try key(keys, v))) }
    return spearman(cosines)
  }

  /// Spearman's rho of values and their places; equal values share their mean rank; 0 where all are equal.
  static func spearman(_ values: [Double]) -> Double {
    let n = values.count
    let order = (0..<n).sorted { values[$0] < values[$1] || values[$0] == values[$1] && $0 < $1 }
    var ranks = [Double](repeating: 0, count: n)
    var i = 0
    while i < n {
      var j = i
      while j + 1 < n && values[order[j + 1]] == values[order[i]] { j += 1 }
      for e in i...j { ranks[order[e]] = Double(i + j) / 2 }
      i = j + 1
    }
    let mean = Double(n - 1) / 2
    var (xy, xx, yy) = (0.0, 0.0, 0.0)
    for i in 0..<n {
      let (x, y) = (ranks[i] - mean, Double(i) - mean)
      xy += x * y
      xx += x * x
      yy += y * y
    }
    return xx == 0 || yy == 0 ? 0 : xy / (xx * yy).squareRoot()
  }

  /// A key as numbers and its square length.
  private struct Key {
    var values: [Float]
    var square: Double
  }

  private static func key(_ keys: TensorView, _ v: Int) throws(TamisError) -> Key {
    let values = keys.row(v, Kernels.active)
    if let j = values.firstIndex(where: { !$0.isFinite }) {
      throw .invalid("keys[\(v)][\(j)] is \(values[j]); expected a finite number")
    }
    return values.withUnsafeBufferPointer { Key(values: values, square: dot($0, $0)) }
  }

  /// Sums in f64, four at a time.
  private static func dot(_ a: UnsafeBufferPointer<Float>, _ b: UnsafeBufferPointer<Float>) -> Double {
    var sums = SIMD4<Double>.zero
    var i = 0
    while i + 4 <= a.count {
      let x = SIMD4(Double(a[i]), Double(a[i + 1]), Double(a[i + 2]), Double(a[i + 3]))
      sums += x * SIMD4(Double(b[i]), Double(b[i + 1]), Double(b[i + 2]), Double(b[i + 3]))
      i += 4
    }
    var sum = (sums.x + sums.y) + (sums.z + sums.w)
    while i < a.count {
      sum += Double(a[i]) * Double(b[i])
      i += 1
    }
    return sum
  }

  /// 1 exactly for equal keys, 0 for a key of zeros.
  private static func cosine(_ a: Key, _ b: Key) -> Double {
    let norm = (a.square * b.square).squareRoot()
    if norm == 0 { return 0 }
    return a.values.withUnsafeBufferPointer { x in b.values.withUnsafeBufferPointer { dot(x, $0) } } / norm
  }

  /// The m keys nearest by cosine to those of `ids`, themselves left out: [ids][m], nearest first.
  public static func neighbors(
    keys: TensorView, of ids: UnsafeBufferPointer<Int32>, m: Int, context: Context
  ) throws(TamisError) -> (tokens: [Int32], cosines: [Float]) {
    let vocabulary = keys.shape[0]
    try require(m >= 1 && m < vocabulary, "m is \(m); expected 1 to \(vocabulary - 1), less than the vocabulary")
    for i in 0..<ids.count {
      try require(
        ids[i] >= 0 && Int(ids[i]) < vocabulary, "ids[\(i)] is \(ids[i]); expected 0 to \(vocabulary - 1), the vocabulary")
    }
    var tokens = [Int32](repeating: 0, count: ids.count * m)
    var cosines = [Float](repeating: 0, count: ids.count * m)
    // Sixteen tokens at a time, so that a key is read as often and the table stays small.
    for start in stride(from: 0, to: ids.count, by: 16) {
      let n = min(16, ids.count - start)
      var queries: [Key] = []
      for i in 0..<n { queries.append(try key(keys, Int(ids[start + i]))) }
      let table = try cosineTable(queries, keys, context)
      for i in 0..<n {
        let own = Int(ids[start + i])
        // One more than asked, in case the token itself is among them.
        let near = largest(m + 1, of: vocabulary) { table[$0 * n + i] }.filter { $0 != own }.prefix(m)
        for (j, v) in near.enumerated() {
          tokens[(start + i) * m + j] = Int32(v)
          cosines[(start + i) * m + j] = Float(table[v * n + i])
        }
      }
    }
    return (tokens, cosines)
  }

  /// Cosines [vocabulary][queries], a run of keys a task.
  private static func cosineTable(_ queries: [Key], _ keys: TensorView, _ context: Context) throws(TamisError) -> [Double] {
    let (vocabulary, n, run) = (keys.shape[0], queries.count, 256)
    let tasks = (vocabulary + run - 1) / run
    var table = [Double](repeating: 0, count: vocabulary * n)
    var bad = [TamisError?](repeating: nil, count: tasks)
    try context.withLock { () throws(TamisError) in
      table.withUnsafeMutableBufferPointer { table in
        bad.withUnsafeMutableBufferPointer { bad in
          nonisolated(unsafe) let (table, bad) = (table, bad)
          context.backend.parallel(tasks) { task in
            do throws(TamisError) {
              for v in task * run..<min(vocabulary, (task + 1) * run) {
                let other = try key(keys, v)
                for i in 0..<n { table[v * n + i] = cosine(queries[i], other) }
              }
            } catch {
              bad[task] = error
            }
          }
        }
      }
    }
    if let error = bad.compactMap({ $0 }).first { throw error }
    return table
  }

  /// Tokens best first, reordered so that the best of each cluster comes before the second of any.
  public static func decorrelated(
    _ ranked: UnsafeBufferPointer<Int32>, clusters: UnsafeBufferPointer<Int32>
  ) throws(TamisError) -> [Int32] {
    var seen: Set<Int32> = []
    var (first, rest) = ([Int32](), [Int32]())
    for i in 0..<ranked.count {
      let v = ranked[i]
      try require(
        v >= 0 && Int(v) < clusters.count, "ranked[\(i)] is \(v); expected 0 to \(clusters.count - 1), the vocabulary")
      try require(clusters[Int(v)] >= 0, "clusters[\(v)] is \(clusters[Int(v)]); expected at least 0")
      if seen.insert(clusters[Int(v)]).inserted { first.append(v) } else { rest.append(v) }
    }
    return first + rest
  }

  /// The token with the highest logit that is not used; ties go to the lower id, NaN is -inf.
  /// - Throws: `notFound`: every token is used.
  public static func unused(logits: TensorView, used: TokenFlags) throws(TamisError) -> Int32 {
    let z = logits.asRow.row(0, Kernels.active)
    var best = -1
    var top = -Float.infinity
    for v in z.indices where !(try isSet(used, v, "used")) {
      if best < 0 || z[v] > top {
        best = v
        top = z[v].isNaN ? -.infinity : z[v]
      }
    }
    if best < 0 { throw TamisError(.notFound, "used has all \(z.count) tokens; expected one that is free") }
    return Int32(best)
  }
}
