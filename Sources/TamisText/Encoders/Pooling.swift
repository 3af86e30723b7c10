import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// How the hidden states of a sequence become one vector.
public enum Pooling: Int32, Sendable {
  case mean = 0
  /// The first token's state.
  case cls = 1
  /// The largest of each element.
  case max = 2

  /// states [n, width] to one vector [width]; zeros when n is 0.
  func pool(_ states: UnsafePointer<Float>, count n: Int, width: Int, to out: UnsafeMutablePointer<Float>) {
    guard n > 0 else { return out.update(repeating: 0, count: width) }
    out.update(from: states, count: width)
    switch self {
    case .cls: return
    case .mean:
      for i in 1..<n { for j in 0..<width { out[j] += states[i * width + j] } }
      for j in 0..<width { out[j] /= Float(n) }
    case .max:
      for i in 1..<n { for j in 0..<width { out[j] = Swift.max(out[j], states[i * width + j]) } }
    }
  }

  /// x / max(|x|, 1e-12), in place.
  static func normalise(_ x: UnsafeMutablePointer<Float>, width: Int) {
    var square: Double = 0
    for j in 0..<width { square += Double(x[j]) * Double(x[j]) }
    let length = Float(Swift.max(square.squareRoot(), 1e-12))
    for j in 0..<width { x[j] /= length }
  }
}
