#if canImport(Glibc)
import Glibc
#endif

/// Rotary position embedding (arXiv 2104.09864, eq. 34): pair i of a row at position p turns by p * scale *
/// base^(-2i/rotaryDims).
public struct RoPE: Sendable, Equatable {
  public enum Style: Int32, Sendable {
    case none = 0
    /// pairs (i, i + rotaryDims/2), as Hugging Face models
    case half = 1
    /// pairs (2i, 2i + 1), as the original
    case interleaved = 2
  }

  public var style: Style
  /// Dimensions that turn; the rest pass. Even, at most the head dim.
  public var rotaryDims: Int
  public var base: Double
  public var scale: Double

  public init(style: Style, rotaryDims: Int, base: Double = 10000, scale: Double = 1) {
    self.style = style
    self.rotaryDims = rotaryDims
    self.base = base
    self.scale = scale
  }

  public static let none = RoPE(style: .none, rotaryDims: 0)
  public var isNone: Bool { style == .none }

  /// Angle of pair i per unit of position, in radians.
  public func frequency(_ i: Int) -> Double { scale * pow(base, -2 * Double(i) / Double(rotaryDims)) }

  /// Cosines and sines of positions first, first + 1, ..: row t holds rotaryDims/2 pairs. Angles in f64, results in f32.
  public func fill(first: Int, count: Int, cos c: UnsafeMutablePointer<Float>, sin s: UnsafeMutablePointer<Float>) {
    let half = rotaryDims / 2
    for i in 0..<half {
      let f = frequency(i)
      for t in 0..<count {
        let angle = Double(first + t) * f
        c[t * half + i] = Float(Glibc.cos(angle))
        s[t * half + i] = Float(Glibc.sin(angle))
      }
    }
  }
}
