/// The correctly rounded sum of float64 numbers (Shewchuk 1997): one rounding, whatever the order. Finite terms.
struct ExactSum {
  /// Not overlapping, ascending in magnitude.
  private var partials: [Double] = []

  mutating func add(_ term: Double) {
    var x = term
    var kept = 0
    for i in 0..<partials.count {
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
    partials.removeLast(partials.count - kept)
    partials.append(x)
  }

  var value: Double {
    guard var high = partials.last else { return 0 }
    var n = partials.count - 1
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
}
