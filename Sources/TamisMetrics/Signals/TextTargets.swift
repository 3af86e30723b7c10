public import TamisCore
public import TamisDevice

#if canImport(Glibc)
  import Glibc
#endif

/// Sparse distributions over a vocabulary: row i is entries starts[i] ..< starts[i + 1], tokens ascending.
public struct SparseTargets: @unchecked Sendable {
  public let tokens: UnsafeBufferPointer<Int32>
  public let q: UnsafeBufferPointer<Double>
  public let starts: UnsafeBufferPointer<Int64>
  public let rows: Int

  /// - Throws: `invalidArgument`: tokens of a row that do not ascend from 0, q that is not above 0.
  public init(
    tokens: UnsafeBufferPointer<Int32>, q: UnsafeBufferPointer<Double>, starts: UnsafeBufferPointer<Int64>
  ) throws(TamisError) {
    (self.tokens, self.q, self.starts) = (tokens, q, starts)
    rows = starts.count - 1
    for row in 0..<rows {
      var last: Int32 = -1
      for e in Int(starts[row])..<Int(starts[row + 1]) {
        try require(
          tokens[e] > last, "tokens[\(e)] is \(tokens[e]) after \(last); expected each token of row \(row) once, ascending")
        last = tokens[e]
        try require(q[e] > 0 && q[e] <= 2, "q[\(e)] is \(q[e]); expected a probability above 0")
      }
    }
  }

  func entries(_ row: Int) -> Range<Int> { Int(starts[row])..<Int(starts[row + 1]) }
}

/// Text2Token (arXiv 2510.10224): what a text's embedding should say of its tokens, and how much of it it says.
public enum TextTargets {
  /// ln((1 + n) / (1 + documents)) + 1.
  public static func inverseDocumentFrequency(
    documents: UnsafeBufferPointer<Int64>, of n: Int64
  ) throws(TamisError) -> [Double] {
    try require(n >= 0, "n is \(n); expected at least 0")
    var idf: [Double] = []
    idf.reserveCapacity(documents.count)
    for v in 0..<documents.count {
      try require(
        documents[v] >= 0 && documents[v] <= n,
        "documents[\(v)] is \(documents[v]); expected 0 to \(n), the number of documents")
      idf.append(log((1 + Double(n)) / (1 + Double(documents[v]))) + 1)
    }
    return idf
  }

  /// tf idf of the tokens of a text, without those excluded, as a distribution; tokens ascending.
  public static func ofText(
    _ ids: UnsafeBufferPointer<Int32>, idf: TokenValues, excluded: TokenFlags?
  ) throws(TamisError) -> (tokens: [Int32], q: [Double]) {
    var kept: [Int32] = []
    for j in 0..<ids.count {
      let id = try FunctionTokens.token(ids, j, of: 0, idf.count)
      if let excluded, try isSet(excluded, id, "excluded") { continue }
      let weight = try number(idf, id, "idf")
      try require(weight >= 0, "idf[\(id)] is \(weight); expected at least 0")
      if weight > 0 { kept.append(ids[j]) }
    }
    kept.sort()
    var (tokens, q, sum) = ([Int32](), [Double](), 0.0)
    for id in kept {
      let weight = idf[Int(id)]
      if tokens.last == id {
        q[q.count - 1] += weight
      } else {
        tokens.append(id)
        q.append(weight)
      }
      sum += weight
    }
    for e in q.indices { q[e] /= sum }
    return (tokens, q)
  }

  /// The k largest of softmax(mean of the rows in use), without those excluded, as a distribution; and the mean.
  public static func ofModel(
    logits: TensorView, rows: TokenFlags?, excluded: TokenFlags?, k: Int, context: Context
  ) throws(TamisError) -> (tokens: [Int32], q: [Double], mean: [Double]) {
    try require(k >= 1, "k is \(k); expected at least 1")
    var used: [Int] = []
    for i in 0..<logits.shape[0] {
      if let rows, !(try isSet(rows, i, "rows")) { continue }
      used.append(i)
    }
    try require(!used.isEmpty, "rows has no row in use; expected at least one")
    var mean = [Double](repeating: 0, count: logits.shape[1])
    try add(logits, used, to: &mean, context)
    for v in mean.indices { mean[v] /= Double(used.count) }
    var isExcluded = [Bool](repeating: false, count: mean.count)
    if let excluded { for v in mean.indices { isExcluded[v] = try isSet(excluded, v, "excluded") } }
    let best = largest(k, of: mean.count) { isExcluded[$0] ? -.infinity : mean[$0] }
    let top = mean[best[0]]
    try require(
      !isExcluded[best[0]] && top > -.infinity, "excluded leaves no token; expected at least one with a logit above -inf")
    let kept = best.filter { !isExcluded[$0] && exp(mean[$0] - top) > 0 }.sorted()
    var q = kept.map { exp(mean[$0] - top) }
    let sum = q.reduce(0, +)
    for e in q.indices { q[e] /= sum }
    return (kept.map { Int32($0) }, q, mean)
  }

  /// Sums of rows, a run of columns a task: rows are added in order whatever the threads.
  private static func add(
    _ logits: TensorView, _ rows: [Int], to sums: inout [Double], _ context: Context
  ) throws(TamisError) {
    let table = Kernels.active
    let width = 4096
    let columns = sums.count
    let tasks = (columns + width - 1) / width
    var bad = [(row: Int, column: Int)?](repeating: nil, count: tasks)
    try context.withLock { () throws(TamisError) in
      sums.withUnsafeMutableBufferPointer { sums in
        bad.withUnsafeMutableBufferPointer { bad in
          nonisolated(unsafe) let (sums, bad) = (sums, bad)
          context.backend.parallel(tasks) { task in
            let first = task * width
            let n = min(width, columns - first)
            let block = UnsafeMutablePointer<Float>.allocate(capacity: n)
            defer { block.deallocate() }
            for row in rows {
              logits.load(row: row, from: first, count: n, to: block, table)
              for j in 0..<n {
                // NaN fails the comparison as well.
                if !(block[j] < .infinity), bad[task] == nil { bad[task] = (row, first + j) }
                sums[first + j] += Double(block[j])
              }
            }
          }
        }
      }
    }
    if let first = bad.compactMap({ $0 }).first {
      let value = logits.row(first.row, table)[first.column]
      throw .invalid("logits[\(first.row)][\(first.column)] is \(value); expected a finite number, or -inf")
    }
  }

  /// (1 - lambda) a + lambda b of each row; an empty row leaves the other.
  public static func mix(
    _ a: SparseTargets, _ b: SparseTargets, lambda: Double
  ) throws(TamisError) -> (tokens: [Int32], q: [Double], starts: [Int64]) {
    try requireRange(lambda, "lambda", 0, 1)
    try require(a.rows == b.rows, "a has \(a.rows) rows and b \(b.rows); expected as many of both")
    var (tokens, q, starts) = ([Int32](), [Double](), [Int64(0)])
    for row in 0..<a.rows {
      var (x, y) = (a.entries(row), b.entries(row))
      let (first, second) = x.isEmpty ? (0, 1.0) : y.isEmpty ? (1.0, 0) : (1 - lambda, lambda)
      while !x.isEmpty || !y.isEmpty {
        let id = min(x.isEmpty ? .max : a.tokens[x.lowerBound], y.isEmpty ? .max : b.tokens[y.lowerBound])
        var value = 0.0
        if !x.isEmpty, a.tokens[x.lowerBound] == id { value += first * a.q[x.removeFirst()] }
        if !y.isEmpty, b.tokens[y.lowerBound] == id { value += second * b.q[y.removeFirst()] }
        if value > 0 {
          tokens.append(id)
          q.append(value)
        }
      }
      starts.append(Int64(tokens.count))
    }
    return (tokens, q, starts)
  }

  /// KL(q || softmax(z)) = sum q ln q - sum q z + lse(z) sum q, row by row.
  public static func divergence(
    logits: TensorView, targets: SparseTargets, context: Context
  ) throws(TamisError) -> [Double] {
    try require(
      targets.rows == logits.shape[0], "targets has \(targets.rows) rows; expected \(logits.shape[0]), as logits")
    for row in 0..<targets.rows {
      let entries = targets.entries(row)
      var sum = 0.0
      for e in entries {
        try require(
          Int(targets.tokens[e]) < logits.shape[1],
          "targets->tokens[\(e)] is \(targets.tokens[e]); expected 0 to \(logits.shape[1] - 1), the vocabulary")
        sum += targets.q[e]
      }
      try require(
        entries.isEmpty || (sum - 1).magnitude <= 1e-4, "targets->q of row \(row) adds up to \(sum); expected 1")
    }
    return try each(logits, context) { row, z in
      let entries = targets.entries(row)
      if entries.isEmpty { return 0 }
      var (loss, sum) = (0.0, 0.0)
      for e in entries {
        let q = targets.q[e]
        loss += q * (log(q) - Double(z[Int(targets.tokens[e])]))
        sum += q
      }
      return loss + sum * logSumExp(z)
    }
  }

  /// The share of the k largest logits that are tokens of the text, and the mass of its different tokens in softmax(z).
  public static func overlap(
    logits: TensorView, texts: TokenLists, k: Int, context: Context
  ) throws(TamisError) -> (overlap: [Double], mass: [Double]) {
    let vocabulary = logits.shape[1]
    try require(
      texts.count == logits.shape[0], "texts has \(texts.count) sequences; expected \(logits.shape[0]), as logits rows")
    try require((1...vocabulary).contains(k), "k is \(k); expected 1 to \(vocabulary), the vocabulary")
    for i in 0..<texts.count {
      let list = texts[i]
      for j in 0..<list.count { _ = try FunctionTokens.token(list, j, of: i, vocabulary) }
    }
    let found = try each(logits, context) { row, z in
      var isInText = [Bool](repeating: false, count: vocabulary)
      let lse = logSumExp(z)
      var mass = 0.0
      for id in texts[row] where !isInText[Int(id)] {
        isInText[Int(id)] = true
        mass += exp(Double(z[Int(id)]) - lse)
      }
      let hits = largest(k, of: vocabulary) { Double(z[$0]) }.reduce(0) { $0 + (isInText[$1] ? 1 : 0) }
      return (Double(hits) / Double(k), mass)
    }
    return (found.map(\.0), found.map(\.1))
  }

  /// One value a row of logits, rows in parallel.
  private static func each<T>(
    _ logits: TensorView, _ context: Context, _ body: (_ row: Int, _ z: UnsafeBufferPointer<Float>) -> T
  ) throws(TamisError) -> [T] {
    let (rows, width) = (logits.shape[0], logits.shape[1])
    let table = Kernels.active
    var results = [T?](repeating: nil, count: rows)
    try context.withLock { () throws(TamisError) in
      // A few rows a task, so that a widened row's memory serves more than one.
      let tasks = min(rows, context.backend.threads * 4)
      results.withUnsafeMutableBufferPointer { results in
        nonisolated(unsafe) let results = results
        context.backend.parallel(tasks) { task in
          let z = UnsafeMutablePointer<Float>.allocate(capacity: width)
          defer { z.deallocate() }
          for row in rows * task / tasks..<rows * (task + 1) / tasks {
            logits.load(row: row, from: 0, count: width, to: z, table)
            results[row] = body(row, UnsafeBufferPointer(start: z, count: width))
          }
        }
      }
    }
    return results.map { $0! }
  }
}
