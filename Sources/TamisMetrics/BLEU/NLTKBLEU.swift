import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// NLTK 3.10.4 `corpus_bleu`, bit by bit; one segment is `sentence_bleu`. Per segment a total counts at least 1; a
/// precision that
/// is not above 0 after smoothing is left out of the product; the sum of logarithms is correctly rounded.
struct NLTKBLEU {
  let options: BLEUOptions

  /// One score per list of weights.
  /// - Parameter range: the segments of one corpus.
  func scores(_ statistics: NGramStatistics, _ range: Range<Int>) throws(TamisError) -> [Double] {
    let lists = options.weights.isEmpty ? [options.uniform] : options.weights
    let orders = options.weights.isEmpty ? options.orders : lists.reduce(0) { max($0, $1.count) }
    var matches = [Int64](repeating: 0, count: orders)
    var totals = matches
    var length: Int64 = 0
    var referenceLength: Int64 = 0
    for i in range {
      let row = statistics[i]
      for n in 1...orders {
        matches[n - 1] += row.matches(n)
        totals[n - 1] += max(1, row.total(n))
      }
      length += row.length
      referenceLength += row.referenceLength
    }
    guard let last = range.last, matches[0] > 0 else { return lists.map { _ in 0 } }
    let smoothing = NLTKSmoothing(options: options, length: length, last: statistics[last])
    let precisions = try smoothing.smooth(matches, totals)
    let penalty = length > referenceLength ? 1 : exp(1 - Double(referenceLength) / Double(length))
    return lists.map { list in
      var weights = list
      if options.autoReweigh && length < 4 && list == [0.25, 0.25, 0.25, 0.25] {
        weights = [Double](repeating: 1 / Double(length), count: Int(length))
      }
      return penalty * exp(ExactSum.of(zip(weights, precisions).filter { $0.1 > 0 }.map { $0.0 * log($0.1) }))
    }
  }

  /// Whether `score` of one row is enough: methods whose precisions are quotients of two numbers that float64 holds.
  var isDirect: Bool { (options.smoothing ?? .method0).rawValue <= BLEUSmoothing.method4.rawValue }

  /// The same for one segment with methods 0 to 4, without memory of its own. row: `NGramStatistics`.
  func score(_ row: UnsafePointer<Int64>, _ counted: Int, _ weights: UnsafeBufferPointer<Double>) -> Double {
    let (h, r) = (row[0], row[1])
    if row[2] == 0 { return 0 }
    let smoothing = options.smoothing ?? .method0
    let reweighed = options.autoReweigh && h < 4 && weights.elementsEqual([0.25, 0.25, 0.25, 0.25])
    let used = reweighed ? min(Int(h), options.orders) : weights.count
    var doublings = 1.0
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: used + 1) { room in
      var sum = ExactSum(room.baseAddress!)
      for n in 0..<used {
        let matches = row[2 + n]
        var (c, t) = (Double(matches), Double(max(1, row[2 + counted + n])))
        if smoothing == .method2 && n > 0 {
          c += 1
          t += 1
        }
        var p = c / t
        if matches == 0 {
          switch smoothing {
          case .method1: p = (0 + (options.value ?? 0.1)) / t
          case .method2: break
          case .method3:
            p = 1 / (exp2(doublings) * t)
            doublings += 1
          case .method4:
            if h > 1 {
              p = 1 / (exp2(doublings) * options.k / log(Double(h))) / t
              doublings += 1
            }
          default: p = .leastNormalMagnitude
          }
        }
        if p > 0 { sum.add((reweighed ? 1 / Double(h) : weights[n]) * log(p)) }
      }
      let penalty = h > r ? 1 : exp(1 - Double(r) / Double(h))
      return penalty * exp(sum.value)
    }
  }
}

/// A precision on its way through the smoothing: a fraction of integers while nothing has made a float of it.
enum Precision {
  case exact(Rational)
  case float(Double)

  var value: Double {
    switch self {
    case .exact(let rational): rational.value
    case .float(let x): x
    }
  }

  static func + (a: Precision, b: Precision) -> Precision {
    if case .exact(let x) = a, case .exact(let y) = b { return .exact(x + y) }
    return .float(a.value + b.value)
  }
  static func * (a: Precision, b: Precision) -> Precision {
    if case .exact(let x) = a, case .exact(let y) = b { return .exact(x * y) }
    return .float(a.value * b.value)
  }
  static func / (a: Precision, b: Precision) -> Precision {
    if case .exact(let x) = a, case .exact(let y) = b { return .exact(x / y) }
    return .float(a.value / b.value)
  }
}

/// Chen and Cherry (2014), as NLTK has it: methods 5 and 6 look at the last segment only, and 5 at its 5-grams whatever the
/// order.
struct NLTKSmoothing {
  let options: BLEUOptions
  let length: Int64
  let last: NGramStatistics.Row

  func smooth(_ matches: [Int64], _ totals: [Int64]) throws(TamisError) -> [Double] {
    let orders = matches.count
    var p = (0..<orders).map { fraction(matches[$0], totals[$0]) }
    switch options.smoothing ?? .method0 {
    case .method1:
      let epsilon = options.value ?? 0.1
      for i in 0..<orders where matches[i] == 0 { p[i] = .float((0 + epsilon) / Double(totals[i])) }
    case .method2:
      for i in 1..<max(1, orders) { p[i] = fraction(matches[i] + 1, totals[i] + 1) }
    case .method3:
      var halvings = 1.0
      for i in 0..<orders where matches[i] == 0 {
        p[i] = .float(1 / (exp2(halvings) * Double(totals[i])))
        halvings += 1
      }
    case .method4: shrink(&p, matches, totals)
    case .method5: average(&p)
    case .method6: try interpolate(&p, matches)
    case .method7:
      shrink(&p, matches, totals)
      average(&p)
    default:
      for i in 0..<orders where matches[i] == 0 { p[i] = .float(.leastNormalMagnitude) }
    }
    return p.map(\.value)
  }

  private func fraction(_ numerator: Int64, _ denominator: Int64) -> Precision {
    let exact = Rational(numerator, denominator)
    return options.exact ? .exact(exact) : .float(exact.value)
  }

  /// Method 4: smaller counts for shorter texts.
  private func shrink(_ p: inout [Precision], _ matches: [Int64], _ totals: [Int64]) {
    var doublings = 1.0
    for i in 0..<p.count where matches[i] == 0 && length > 1 {
      let numerator = 1 / (exp2(doublings) * options.k / log(Double(length)))
      p[i] = .float(numerator / Double(totals[i]))
      doublings += 1
    }
  }

  /// Method 5: the mean of the precisions of orders n - 1 (smoothed already), n and n + 1.
  private func average(_ p: inout [Precision]) {
    let three = fraction(3, 1)
    let next = p.dropFirst() + [fraction(last.matches(5), max(1, last.total(5)))]
    var previous = p[0] + fraction(1, 1)
    for (i, after) in next.enumerated() {
      p[i] = (previous + p[i] + after) / three
      previous = p[i]
    }
  }

  /// Method 6: a prior from the ratio of the two orders below.
  private func interpolate(_ p: inout [Precision], _ matches: [Int64]) throws(TamisError) {
    try require(matches[2] > 0, "smoothing is method6 and no 3-gram matches; expected at least one, as NLTK asserts")
    let alpha = options.alpha
    let weight: Precision =
      options.exact && alpha == alpha.rounded() && alpha < 0x1p31 ? .exact(Rational(Int64(alpha), 1)) : .float(alpha)
    for i in 2..<p.count {
      let prior = p[i - 2].value == 0 ? fraction(0, 1) : p[i - 1] * p[i - 1] / p[i - 2]
      p[i] = (fraction(matches[i], 1) + weight * prior) / (fraction(last.total(i + 1), 1) + weight)
    }
  }
}
