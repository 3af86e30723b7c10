public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// What one row of logits says, finished; natural logarithms. NaN where the row has a NaN, +inf, or nothing above -inf.
public struct LogitMetrics: Sendable {
  public var logSumExp = Double.nan
  public var entropy = Double.nan
  /// Variance of -ln p under p.
  public var varentropy = Double.nan
  /// sum p^2
  public var collision = Double.nan
  public var confidence = Double.nan
  public var margin = Double.nan
  public var mean = Double.nan
  public var topMass = Double.nan
  public var nll = Double.nan
  public var probability = Double.nan
  public var brier = Double.nan
  public var top: Int32 = -1
  public var rank: Int32 = 0
  public var ties: Int32 = 0

  public var isDefined: Bool { !logSumExp.isNaN }

  /// - Parameter target: the target's value, NaN where there is none.
  init(_ row: LogitRow, _ job: LogitJob, target: Double) {
    if row.isBad || row.reference == -.infinity { return }
    let logSum = log(row.sum)
    let s = row.sum
    logSumExp = row.reference + logSum
    confidence = min(1, exp(row.max - logSumExp))
    if job.needs.contains(.first) || job.needs.contains(.allMoments) { entropy = Self.cleared(logSum - row.first / s) }
    if job.needs.contains(.allMoments) {
      let mean = row.first / s
      varentropy = Self.cleared(row.second / s - mean * mean)
      collision = min(1, row.squares / (s * s))
    }
    if job.needs.contains(.largest) {
      margin =
        row.nextLargest == -.infinity
        ? .infinity : (Double(row.largest) - Double(row.nextLargest)) * job.inverseTemperature
      top = row.top
    }
    if job.needs.contains(.total) { mean = row.total / Double(row.count) }
    if job.needs.contains(.mass) { topMass = min(1, row.mass / s) }
    if target.isNaN { return }
    // The two differences apart: neither loses the digits of a large common offset.
    nll = max(0, (row.reference - target) + logSum)
    probability = exp(-nll)
    brier = max(0, 1 - 2 * probability + collision)
    rank = row.larger &+ 1
    ties = max(0, row.equal &- 1)
  }

  /// x, or 0 where it is below 0, or no more than what entries add that are not there: e^-80 each.
  private static func cleared(_ x: Double) -> Double { x < 1e-22 ? 0 : x }

  /// (1 - e) nll + e (lse - mean)
  public func loss(smoothing e: Double) -> Double { e == 0 ? nll : (1 - e) * nll + e * (logSumExp - mean) }
}

/// Sums over rows that are neither skipped nor undefined, in the order of the rows.
public struct LogitSums: Sendable {
  public var tokens: Int64 = 0
  public var undefinedRows: Int64 = 0
  public var correct: Int64 = 0
  public var withinTopK: Int64 = 0
  public var nll = 0.0
  public var loss = 0.0
  public var entropy = 0.0
  public var brier = 0.0
  public init() {}
}

/// Which sums are wanted; raw values are those of TAMIS_LOGIT_SUM_*.
public struct WantedSums: OptionSet, Sendable {
  public let rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }
  public static let nll = WantedSums(rawValue: 1)
  public static let loss = WantedSums(rawValue: 2)
  public static let entropy = WantedSums(rawValue: 4)
  public static let correct = WantedSums(rawValue: 8)
  public static let withinTopK = WantedSums(rawValue: 16)
  public static let brier = WantedSums(rawValue: 32)
  public static let all: WantedSums = [.nll, .loss, .entropy, .correct, .withinTopK, .brier]

  /// What of a row they take.
  public func needs(smoothing: Double) -> LogitNeeds {
    var needs: LogitNeeds = []
    if contains(.loss) && smoothing > 0 { needs.insert(.total) }
    if contains(.entropy) { needs.insert(.first) }
    if contains(.correct) { needs.insert(.largest) }
    if contains(.withinTopK) { needs.insert(.ranks) }
    if contains(.brier) { needs.insert(.allMoments) }
    return needs
  }
}

/// A pass over rows of logits, in rounds: the rows' statistics never take more than a few megabytes.
public struct LogitPass {
  public var job: LogitJob
  public var context: Context
  public var progress: Progress?

  public init(_ job: LogitJob, context: Context, progress: Progress?) {
    self.job = job
    self.context = context
    self.progress = progress
  }

  /// Calls `body` with every row and what was found, in order; nil: the row is skipped.
  public func run(_ body: (_ row: Int, _ metrics: LogitMetrics?) -> Void) throws(TamisError) {
    try runStates { row, state in
      body(row, state.map { LogitMetrics($0, job, target: job.targetValue(row)) })
    }
  }

  func runStates(_ body: (_ row: Int, _ state: LogitRow?) -> Void) throws(TamisError) {
    try LogitRounds.run(
      rows: job.logits.count, each: job.logits.vocabulary, context: context, progress: progress,
      find: { (rows, states) throws(TamisError) in try context.backend.summarise(job, rows: rows, into: states) },
      body: { body($0, job.isSkipped($0) ? nil : $1) })
  }
}

/// Rows in rounds, with progress between them: what is found of a round's rows never takes more than a few megabytes.
enum LogitRounds {
  /// Entries of a round: some tens of milliseconds.
  private static let entries = 1 << 25

  /// - Parameters:
  ///   - each: entries that a row has.
  ///   - find: writes what it finds of the rows from the first place on.
  ///   - body: gets every row and what was found, in order.
  static func run<State>(
    rows: Int, each: Int, context: Context, progress: Progress?,
    find: (_ rows: Range<Int>, _ to: UnsafeMutablePointer<State>) throws(TamisError) -> Void,
    body: (_ row: Int, _ found: State) -> Void
  ) throws(TamisError) {
    let round = max(1, min(rows, 1 << 14, entries / each))
    let found = UnsafeMutablePointer<State>.allocate(capacity: round)
    defer { found.deallocate() }
    try context.withLock { () throws(TamisError) in
      var start = 0
      while start < rows {
        if let progress, start > 0, !progress(Double(start) / Double(rows)) {
          throw TamisError(.cancelled, "progress returned 0: cancelled")
        }
        let end = min(rows, start + round)
        try find(start..<end, found)
        for row in start..<end { body(row, found[row - start]) }
        start = end
      }
    }
  }
}

/// KL both ways, Jensen-Shannon and total variation of two models' rows.
public struct LogitDivergence: Sendable {
  public var forward = Double.nan
  public var backward = Double.nan
  public var jensenShannon = Double.nan
  public var totalVariation = Double.nan

  init(_ row: LogitPairRow, _ job: LogitPairJob) {
    if row.isBad || row.isEmpty { return }
    // lse_q - lse_p without the references, which g left out too.
    let change = log(row.sumQ) - log(row.sumP)
    forward = max(0, row.forward / row.sumP + change)
    backward = max(0, row.backward / row.sumQ - change)
    if !job.needsDistance { return }
    jensenShannon = min(log(2), max(0, row.divergence / 2))
    totalVariation = min(1, max(0, row.distance / 2))
  }

  /// Calls `body` with every row, in order.
  public static func run(
    _ job: LogitPairJob, context: Context, progress: Progress?, _ body: (_ row: Int, _ found: LogitDivergence) -> Void
  ) throws(TamisError) {
    try LogitRounds.run(
      rows: job.p.count, each: 2 * job.p.vocabulary, context: context, progress: progress,
      find: { (rows, states) throws(TamisError) in try context.backend.compare(job, rows: rows, into: states) },
      body: { body($0, LogitDivergence($1, job)) })
  }
}
