public import TamisCore

/// Which package's BLEU the counts are finished to.
public enum BLEURule: Int32, Sendable {
  /// sacreBLEU 2.6.0, 0 to 100.
  case sacreBLEU = 0
  /// NLTK 3.10.4, 0 to 1.
  case nltk = 1
  /// torchmetrics 1.9.0, 0 to 1, in float32.
  case torchmetrics = 2
  /// TensorBLEU's code (arXiv 2510.05485), 0 to 1, in float32, with what that code does to short and padded rows.
  case tensorBLEU = 3
}

/// The smoothings of all rules; each rule takes its own.
public enum BLEUSmoothing: Int32, Sendable {
  case method0 = 0
  case method1, method2, method3, method4, method5, method6, method7
  case none = 16
  case exponential, floor, addK
}

public struct BLEUOptions: Sendable {
  public var rule = BLEURule.sacreBLEU
  /// nil: the rule's own (exponential; method0; none).
  public var smoothing: BLEUSmoothing?
  public var orders = 4
  public var effectiveOrder = false
  public var autoReweigh = false
  /// NLTK methods 5 to 7: fractions of integers up to the logarithm, as NLTK; otherwise float64, which is faster.
  public var exact = true
  /// epsilon of method1 and of floor (0.1), k of add-k (1); nil: these.
  public var value: Double?
  public var alpha = 5.0
  public var k = 5.0
  /// One score per list; empty: one list of 1 / orders each.
  public var weights: [[Double]] = []
  /// sacreBLEU's bootstrap sums in float32, and so its precisions are.
  public var singlePrecision = false
  public init() {}

  public func validate() throws(TamisError) {
    try require(
      (1...NGramStatistics.mostOrders).contains(orders), "max_n is \(orders); expected 1 to \(NGramStatistics.mostOrders)")
    for (i, list) in weights.enumerated() {
      try require(
        list.count >= 1 && list.count <= orders, "weights[\(i)] has \(list.count) numbers; expected 1 to max_n, \(orders)")
      for w in list { try require(w.isFinite, "weights[\(i)] holds \(w); expected finite numbers") }
    }
    if let value { try require(value.isFinite && value >= 0, "value is \(value); expected a finite number of at least 0") }
    try require(alpha.isFinite && alpha >= 0, "alpha is \(alpha); expected a finite number of at least 0")
    try require(k.isFinite && k > 0, "k is \(k); expected a finite number above 0")
    guard let smoothing else { return }
    let isMethod = smoothing.rawValue <= BLEUSmoothing.method7.rawValue
    switch rule {
    case .nltk: try require(isMethod, "smoothing is \(smoothing); expected method0 to method7 for the NLTK rule")
    case .torchmetrics:
      try require(
        smoothing == .none || smoothing == .addK, "smoothing is \(smoothing); expected none or add-k for the torchmetrics rule")
    case .sacreBLEU, .tensorBLEU:
      try require(!isMethod, "smoothing is \(smoothing); expected none, exponential, floor or add-k for this rule")
    }
    if smoothing == .method6 {
      try require(orders >= 3, "max_n is \(orders); expected at least 3 for method6, which reads 3-grams")
    }
  }

  /// Orders that have to be counted: methods 5 and 7 read 5-grams.
  public var countedOrders: Int {
    smoothing == .method5 || smoothing == .method7 ? max(orders, 5) : orders
  }

  public var lengthRule: NGramStatistics.LengthRule {
    rule == .sacreBLEU || rule == .nltk ? .shortest : .first
  }

  var uniform: [Double] { [Double](repeating: 1 / Double(orders), count: orders) }
  public var weightLists: Int { max(1, weights.count) }
}
