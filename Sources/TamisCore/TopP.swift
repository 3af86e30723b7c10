/// A budget of mass instead of a number: the fewest of the largest scores that hold a share of the total (top-p). With n known,
/// `TopK.select` names them.
public enum TopP {
  public enum Edge: Sendable {
    /// Up to and with the score that reaches the share.
    case reaching
    /// As `reaching`, and one more where the share is met exactly.
    case passing
    /// Only while the sum does not exceed the share.
    case within
  }

  /// How many of the largest scores: in descending order, equal ones by index, those before which (`reaching`: the sum is less
  /// than `mass`; `passing`: is not more) or with which (`within`) the sum is not more. NaN and negative scores add nothing. Sums
  /// are f64, from the largest score down, and start at `from`.
  public static func count(
    _ scores: UnsafePointer<Float>, count: Int, mass: Double, from: Double = 0, _ edge: Edge
  ) -> Int {
    // Order among equals changes no sum: values alone are sorted, by their bits, which order as they do from 0 on.
    var sorted = ContiguousArray<UInt32>(unsafeUninitializedCapacity: count) { values, n in
      for i in 0..<count { values.initializeElement(at: i, to: scores[i] > 0 ? ~scores[i].bitPattern : ~0) }
      n = count
    }
    sorted.sort()
    var sum = from
    for i in 0..<count {
      let score = Float(bitPattern: ~sorted[i])
      switch edge {
      case .reaching: if !(sum < mass) { return i }
      case .passing: if sum > mass { return i }
      case .within: if sum + Double(score) > mass { return i }
      }
      sum += Double(score)
    }
    return count
  }
}
