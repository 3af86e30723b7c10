/// numpy.percentile(values, q) with the "linear" method and an int q, to the bit: the position is (n - 1) q / 100 in f64; the interpolation is in
/// the array's dtype, f32 unless an entry was a Python float, and starts from the upper neighbour in the upper half.
enum Percentile {
  /// `values` not empty; nil when q is outside 0...100. NaN when a value is.
  static func linear(_ values: [Double], _ q: Int, single: Bool) -> Double? {
    guard q >= 0, q <= 100, !values.isEmpty else { return nil }
    if values.contains(where: \.isNaN) { return .nan }
    let sorted = values.sorted()
    let position = Double(sorted.count - 1) * (Double(q) / 100)
    let low = Int(position.rounded(.down))
    guard low < sorted.count - 1 else { return sorted[sorted.count - 1] }
    let t = position - Double(low)
    if single {
      return Double(interpolate(Float(sorted[low]), Float(sorted[low + 1]), Float(t), Float(1 - t), upper: t >= 0.5))
    }
    return interpolate(sorted[low], sorted[low + 1], t, 1 - t, upper: t >= 0.5)
  }

  private static func interpolate<F: BinaryFloatingPoint>(_ a: F, _ b: F, _ t: F, _ rest: F, upper: Bool) -> F {
    upper ? b - (b - a) * rest : a + (b - a) * t
  }
}
