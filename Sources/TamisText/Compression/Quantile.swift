/// Quantiles as numpy's default, the "linear" method, has them.
enum Quantile {
  /// The value below which `share` of the list lies: h = (n - 1) share in f64, linear between the values at floor(h) and
  /// ceil(h) in the list's own arithmetic, from the nearer of the two. `sorted` ascends and holds no NaN; share in [0, 1].
  /// NaN for an empty list.
  static func linear<F: BinaryFloatingPoint>(_ sorted: [F], _ share: Double) -> F {
    guard let last = sorted.last else { return .nan }
    let h = Double(sorted.count - 1) * share
    let low = Int(h)
    guard low < sorted.count - 1 else { return last }
    let a = sorted[low]
    let b = sorted[low + 1]
    let t = h - Double(low)
    if t == 0 || a == b { return a }
    // Between a number and an infinity lies the infinity.
    if !(b - a).isFinite { return a.isInfinite ? a : b }
    return t < 0.5 ? a + (b - a) * F(t) : b - (b - a) * F(1 - t)
  }

  /// numpy.percentile(values, q) with an int q, to the bit: the interpolation is in the array's dtype, f32 (`single`) unless an
  /// entry was a Python float. nil when q is outside 0...100 or `values` is empty; NaN when a value is.
  static func percentile(_ values: [Double], _ q: Int, single: Bool) -> Double? {
    guard q >= 0, q <= 100, !values.isEmpty else { return nil }
    if values.contains(where: \.isNaN) { return .nan }
    let sorted = values.sorted()
    return single ? Double(linear(sorted.map { Float($0) }, Double(q) / 100)) : linear(sorted, Double(q) / 100)
  }

  /// The same with int(q), as Python truncates; nil also for a q that is not finite.
  static func percentile(_ values: [Double], _ q: Double, single: Bool) -> Double? {
    q.isFinite ? percentile(values, Int(max(-1, min(101, q)).rounded(.towardZero)), single: single) : nil
  }
}
