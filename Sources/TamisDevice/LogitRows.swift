public import TamisCore

/// Rows of logits [T, V] or [B, T, V] in f32, f16 or bf16, of any strides; rows are numbered t fastest.
public struct LogitRows: @unchecked Sendable {
  public let view: TensorView

  /// `view` has two or three dimensions; its rows fit 2^31 - 1.
  public init(_ view: TensorView) { self.view = view }

  public var vocabulary: Int { view.shape[view.ndim - 1] }
  public var count: Int { view.ndim == 2 ? view.shape[0] : view.shape[0] * view.shape[1] }
  var step: Int { view.stride[view.ndim - 1] }

  func address(_ row: Int) -> UnsafeMutableRawPointer {
    let offset =
      view.ndim == 2
      ? row * view.stride[0] : row / view.shape[1] * view.stride[0] + row % view.shape[1] * view.stride[1]
    return view.data + offset * view.dtype.size
  }

  /// Entry v of a row, exactly.
  func value(_ row: Int, _ v: Int) -> Float {
    let at = address(row) + v * step * view.dtype.size
    switch view.dtype {
    case .f16: return Float(Float16(bitPattern: at.load(as: UInt16.self)))
    case .bf16: return Float(bitPattern: UInt32(at.load(as: UInt16.self)) << 16)
    default: return at.load(as: Float.self)
    }
  }
}

/// Which statistics of a row are wanted, besides the sum of exponentials.
public struct LogitNeeds: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// sum of d e^d
  public static let first = LogitNeeds(rawValue: 1)
  /// That, sum of d^2 e^d, and sum of e^2d.
  public static let allMoments = LogitNeeds(rawValue: 2)
  /// The two largest entries and the place of the first.
  public static let largest = LogitNeeds(rawValue: 4)
  /// How many entries are larger than the target's, and how many equal it. Needs targets.
  public static let ranks = LogitNeeds(rawValue: 8)
  /// Sum and number of the entries that are not -inf.
  public static let total = LogitNeeds(rawValue: 16)
  /// Mass of the k largest.
  public static let mass = LogitNeeds(rawValue: 32)
}

/// What is to be found out about rows of logits. Values are z / temperature, or, with a second model, (weight * z -
/// otherWeight * other) / temperature.
public struct LogitJob: @unchecked Sendable {
  public var logits: LogitRows
  public var other: LogitRows?
  public var weight = 1.0
  public var otherWeight = 0.0
  /// One a row, in the vocabulary, or below 0: the row is skipped. nil: no targets.
  public var targets: UnsafePointer<Int32>?
  public var needs: LogitNeeds
  /// 1 to the vocabulary.
  public var topK = 1
  public var inverseTemperature = 1.0

  public init(_ logits: LogitRows, targets: UnsafePointer<Int32>?, needs: LogitNeeds) {
    self.logits = logits
    self.targets = targets
    self.needs = needs
  }

  /// Whether an f32 row has to be made of what is stored.
  var isDerived: Bool { other != nil || inverseTemperature != 1 }
  public func isSkipped(_ row: Int) -> Bool { targets.map { $0[row] < 0 } ?? false }

  /// The target's value.
  public func targetValue(_ row: Int) -> Double {
    guard let targets, targets[row] >= 0 else { return .nan }
    let v = Int(targets[row])
    var value = weight * Double(logits.value(row, v))
    if let other, value > -.infinity { value -= otherWeight * Double(other.value(row, v)) }
    return value * inverseTemperature
  }
}

/// The statistics of a row (or a part of one), which merge. d is a value minus `reference`; sums are 0 and the rest at its
/// start where it was not wanted.
public struct LogitRow {
  /// -inf until an entry was above it.
  public var reference = -Double.infinity
  public var sum = 0.0
  public var first = 0.0
  public var second = 0.0
  public var squares = 0.0
  /// The largest value, always.
  public var max = -Double.infinity
  /// Entries as stored: the two largest, and the place of the first (-1: none above -inf).
  public var largest = -Float.infinity
  public var nextLargest = -Float.infinity
  public var top: Int32 = -1
  public var larger: Int32 = 0
  public var equal: Int32 = 0
  /// Sum and number of the values that are not -inf.
  public var total = 0.0
  public var count = 0
  /// sum of e^(value - max) over the k largest
  public var mass = 0.0
  /// A NaN or +inf was met.
  public var isBad = false

  public init() {}

  /// Moves the sums to another reference, which is finite.
  mutating func move(to new: Double) {
    if reference > -.infinity {
      let shift = reference - new
      let a = exponential(shift)
      second = a * (second + shift * (2 * first + shift * sum))
      first = a * (first + shift * sum)
      squares *= a * a
      sum *= a
    }
    reference = new
  }

  /// Adds the next part of the same row, whose first entry is `offset`.
  mutating func merge(_ other: LogitRow, offset: Int) {
    isBad = isBad || other.isBad
    if other.reference > -.infinity {
      var next = other
      if reference < next.reference { move(to: next.reference) } else { next.move(to: reference) }
      sum += next.sum
      first += next.first
      second += next.second
      squares += next.squares
    }
    max = other.max > max ? other.max : max
    if other.largest > largest {
      nextLargest = largest > other.nextLargest ? largest : other.nextLargest
      largest = other.largest
      top = other.top < 0 ? -1 : other.top + Int32(truncatingIfNeeded: offset)
    } else if other.largest > nextLargest {
      nextLargest = other.largest
    }
    larger += other.larger
    equal += other.equal
    total += other.total
    count += other.count
  }
}

/// The sums of two rows against each other; see `LogitRow`.
public struct LogitPairRow {
  public var referenceP = -Double.infinity
  public var referenceQ = -Double.infinity
  public var sumP = 0.0
  public var sumQ = 0.0
  /// sum of e_p ((p - referenceP) - (q - referenceQ)), and of e_q times minus that
  public var forward = 0.0
  public var backward = 0.0
  /// sum of P ln(2P / (P + Q)) + Q ln(2Q / (P + Q)), and of |P - Q|, of normalised P and Q
  public var divergence = 0.0
  public var distance = 0.0
  public var isBad = false

  public init() {}

  public var lseP: Double { referenceP + naturalLogarithm(sumP) }
  public var lseQ: Double { referenceQ + naturalLogarithm(sumQ) }
  public var isEmpty: Bool { sumP == 0 || sumQ == 0 }

  mutating func move(toP p: Double, q: Double) {
    let shiftP = referenceP > -.infinity ? referenceP - p : 0
    let shiftQ = referenceQ > -.infinity ? referenceQ - q : 0
    let (a, b) = (exponential(shiftP), exponential(shiftQ))
    let change = shiftP - shiftQ
    // An infinite divergence stays one, however little its part of the row weighs.
    if forward < .infinity { forward = a * (forward + change * sumP) }
    if backward < .infinity { backward = b * (backward - change * sumQ) }
    sumP *= a
    sumQ *= b
    (referenceP, referenceQ) = (p, q)
  }

  /// Adds the next part; both have references above -inf, or nothing to add.
  mutating func merge(_ other: LogitPairRow) {
    isBad = isBad || other.isBad
    divergence += other.divergence
    distance += other.distance
    if other.referenceP == -.infinity && other.referenceQ == -.infinity { return }
    var next = other
    let p = Swift.max(referenceP, next.referenceP)
    let q = Swift.max(referenceQ, next.referenceQ)
    move(toP: p, q: q)
    next.move(toP: p, q: q)
    sumP += next.sumP
    sumQ += next.sumQ
    forward += next.forward
    backward += next.backward
  }
}

/// Two models' logits, of one shape.
public struct LogitPairJob: @unchecked Sendable {
  public var p, q: LogitRows
  public var inverseTemperature = 1.0
  /// `divergence` and `distance`, for which the rows are read a second time.
  public var needsDistance = false
  public init(_ p: LogitRows, _ q: LogitRows) { (self.p, self.q) = (p, q) }
}

extension Backend {
  public func summarise(
    _ job: LogitJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitRow>
  ) throws(TamisError) {
    HostLogits(job, Kernels.active).run(rows, into: into) { self.parallel($0, $1) }
  }

  public func compare(
    _ job: LogitPairJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitPairRow>
  ) throws(TamisError) {
    HostLogitPairs(job, Kernels.active).run(rows, into: into) { self.parallel($0, $1) }
  }
}
