/// The quantile of a list as numpy's default has it.
enum Quantile {
  /// The value below which `share` of the list lies: h = (n - 1) share, linear between the values at floor(h) and ceil(h). `sorted` ascends and
  /// holds no NaN; share in [0, 1]. NaN for an empty list.
  static func linear(_ sorted: [Double], _ share: Double) -> Double {
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
    return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t)
  }
}
