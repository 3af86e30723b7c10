public import TamisCore
public import TamisDevice

/// BLEU of counted segments, by the rule of one package. Papineni et al. (2002).
public struct BLEU: Sendable {
  public let options: BLEUOptions

  /// - Throws: `invalidArgument`: numbers out of range, a smoothing that the rule does not have.
  public init(_ options: BLEUOptions) throws(TamisError) {
    try options.validate()
    self.options = options
  }

  /// Counts a batch as this score wants it.
  /// - Parameter asCorpus: for `corpus`; only the TensorBLEU rule counts otherwise then.
  public func count(
    _ batch: ScoredBatch, excluded: Int32? = nil, asCorpus: Bool = false, context: Context, progress: Progress? = nil
  ) throws(TamisError) -> NGramStatistics {
    var counting = NGramStatistics.Options()
    counting.orders = options.countedOrders
    counting.lengthRule = options.lengthRule
    counting.excluded = excluded
    if asCorpus && options.rule == .tensorBLEU {
      return try TensorBLEU(options: options).corpusStatistics(batch, counting, context: context, progress: progress)
    }
    return try NGramStatistics.count(batch, counting, context: context, progress: progress)
  }

  /// Scores of every segment by itself: [count][weight lists].
  /// - Throws: `invalidArgument`: too few orders counted; NLTK's method6 without a matching 3-gram.
  public func sentences(_ statistics: NGramStatistics) throws(TamisError) -> [Double] {
    try requireOrders(statistics)
    var scores: [Double] = []
    scores.reserveCapacity(statistics.count * options.weightLists)
    let nltk = NLTKBLEU(options: options)
    if options.rule == .nltk && nltk.isDirect {
      let width = statistics.width
      let lists = options.weights.isEmpty ? [options.uniform] : options.weights
      statistics.rows.withUnsafeBufferPointer { rows in
        for i in 0..<statistics.count {
          for list in lists {
            scores.append(list.withUnsafeBufferPointer { nltk.score(rows.baseAddress! + i * width, statistics.orders, $0) })
          }
        }
      }
      return scores
    }
    for i in 0..<statistics.count {
      if options.rule == .nltk {
        scores += try nltk.scores(statistics, i..<i + 1)
      } else {
        for list in lists { scores.append(score(statistics[i], list)) }
      }
    }
    return scores
  }

  /// Scores of all segments as one corpus: [weight lists].
  public func corpus(_ statistics: NGramStatistics) throws(TamisError) -> [Double] {
    try requireOrders(statistics)
    if options.rule == .nltk { return try NLTKBLEU(options: options).scores(statistics, 0..<statistics.count) }
    let total = statistics.total
    if options.rule == .tensorBLEU {
      return lists.map { TensorBLEU(options: options).corpus(total, weights: $0) }
    }
    return lists.map { score(total, $0) }
  }

  /// The parts of a sacreBLEU score.
  public func details(_ row: NGramStatistics.Row) -> BLEUScore {
    SacreBLEU(options: options).score(row, weights: options.weights.first)
  }

  private var lists: [[Double]?] { options.weights.isEmpty ? [nil] : options.weights }

  private func score(_ row: NGramStatistics.Row, _ weights: [Double]?) -> Double {
    switch options.rule {
    case .torchmetrics: TorchMetricsBLEU(options: options).score(row, weights: weights)
    case .tensorBLEU: TensorBLEU(options: options).sentence(row, weights: weights)
    default: SacreBLEU(options: options).score(row, weights: weights).score
    }
  }

  private func requireOrders(_ statistics: NGramStatistics) throws(TamisError) {
    try require(
      statistics.orders >= options.countedOrders,
      "statistics hold orders 1 to \(statistics.orders); expected up to \(options.countedOrders)")
  }
}
