/// The correctly rounded sum of float64 numbers (Shewchuk 1997): one rounding, whatever the order. Finite terms.
struct ExactSum {
  /// Not overlapping, ascending in magnitude; room for one per term, which the caller owns.
  private let partials: UnsafeMutablePointer<Double>
  private var count = 0

  init(_ room: UnsafeMutablePointer<Double>) { partials = room }

  mutating func add(_ term: Double) {
    var x = term
    var kept = 0
    for i in 0..<count {
      var y = partials[i]
      if x.magnitude < y.magnitude { swap(&x, &y) }
      let high = x + y
      let low = y - (high - x)
      if low != 0 {
        partials[kept] = low
        kept += 1
      }
      x = high
    }
    partials[kept] = x
    count = kept + 1
  }

  var value: Double {
    if count == 0 { return 0 }
    var n = count - 1
    var high = partials[n]
    var low = 0.0
    while n > 0 {
      let x = high
      n -= 1
      let y = partials[n]
      high = x + y
      low = y - (high - x)
      if low != 0 { break }
    }
    // Half way: the partials below say to which side.
    if n > 0 && ((low < 0 && partials[n - 1] < 0) || (low > 0 && partials[n - 1] > 0)) {
      let twice = low * 2
      let x = high + twice
      if twice == x - high { high = x }
    }
    return high
  }

  static func of(_ terms: [Double]) -> Double {
    withUnsafeTemporaryAllocation(of: Double.self, capacity: terms.count + 1) { room in
      var sum = ExactSum(room.baseAddress!)
      for term in terms { sum.add(term) }
      return sum.value
    }
  }
}
