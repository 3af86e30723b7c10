public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Calibration of the confidence in the top token, binned as torchmetrics 1.9.0 does: bin i holds confidences in
/// [i / bins, (i + 1) / bins), and one more bin holds 1.0.
public enum Calibration {
  public enum Norm: Int32, Sendable {
    case l1 = 0
    case l2, max
  }

  /// The number of boundaries i / bins, in f32, that are at most x, less one.
  public static func bin(_ x: Float, of bins: Int) -> Int {
    let boundary = { (i: Int) in Calibration.boundary(i, of: bins) }
    var i = Swift.min(bins, Swift.max(0, Int(x * Float(bins))))
    while i > 0 && boundary(i) > x { i -= 1 }
    while i < bins && boundary(i + 1) <= x { i += 1 }
    return i
  }

  /// torch.linspace(0, 1, bins + 1): counted from both ends with one f32 step, each boundary rounded once.
  static func boundary(_ i: Int, of bins: Int) -> Float {
    let step = Double(1 / Float(bins))
    return Float(i < (bins + 1) / 2 ? step * Double(i) : 1 - step * Double(bins - i))
  }

  /// `bins` holds triples: tokens, sum of confidences, correct ones.
  public static func error(_ bins: UnsafeBufferPointer<Double>, norm: Norm) -> Double {
    var total = 0.0
    for i in stride(from: 0, to: bins.count, by: 3) { total += bins[i] }
    if total == 0 { return 0 }
    var result = 0.0
    for i in stride(from: 0, to: bins.count, by: 3) where bins[i] > 0 {
      let gap = abs(bins[i + 2] - bins[i + 1]) / bins[i]
      let share = bins[i] / total
      switch norm {
      case .l1: result += share * gap
      case .l2: result += share * gap * gap
      case .max: result = Swift.max(result, gap)
      }
    }
    return norm == .l2 ? result.squareRoot() : result
  }

  /// Bins of equal mass over tokens in order of confidence; of equal ones the earlier comes first. PROPOSED.
  public static func adaptiveError(
    _ confidence: UnsafeBufferPointer<Float>, correct: UnsafeBufferPointer<UInt8>, bins: Int, norm: Norm
  ) -> Double {
    let n = confidence.count
    let order = (0..<n).sorted { (confidence[$0], $0) < (confidence[$1], $1) }
    var triples = [Double](repeating: 0, count: 3 * bins)
    for i in 0..<bins {
      for j in i * n / bins..<(i + 1) * n / bins {
        triples[3 * i] += 1
        triples[3 * i + 1] += Double(confidence[order[j]])
        triples[3 * i + 2] += Double(correct[order[j]])
      }
    }
    return triples.withUnsafeBufferPointer { error($0, norm: norm) }
  }
}

/// The temperature with the least NLL. In b = 1 / temperature the NLL is convex: its slope is sum (E_b[z] - z_y), its curvature
/// the sum of the variances of z. Newton's method within a bracket that the slopes' signs close. PROPOSED.
public enum TemperatureFit {
  public static let range = 1e-3...1e3
  private static let mostPasses = 60

  public struct Answer: Sendable {
    public var temperature: Double
    /// Mean over the tokens.
    public var nll: Double
    public var passes: Int
  }

  /// - Throws: `invalidArgument` where no row is left; `cancelled`.
  public static func run(
    _ job: LogitJob, from temperature: Double, context: Context, progress: Progress?
  ) throws(TamisError) -> Answer {
    var (low, high) = (1 / range.upperBound, 1 / range.lowerBound)
    var b = min(high, max(low, 1 / temperature))
    var best: Answer?
    for pass in 1...mostPasses {
      let (slope, curvature, nll, tokens) = try sums(job, b, context, progress)
      if tokens == 0 { throw .invalid("targets has no row that counts; expected one that is neither ignored nor NaN") }
      let answer = Answer(temperature: 1 / b, nll: nll / tokens, passes: pass)
      if best == nil || answer.nll < best!.nll { best = answer } else { best!.passes = pass }
      if slope > 0 { high = b } else { low = b }
      if slope == 0 { return answer }
      var next = curvature > 0 ? b - slope / curvature : slope > 0 ? low : high
      // Outside the bracket: as far as its end, by way of a middle that treats temperatures alike.
      if !(next > low && next < high) { next = (low * high).squareRoot() }
      // The step is worth less than a billionth of a nat a token: with it Newton's method has arrived.
      if abs(slope * (next - b)) <= 1e-9 * tokens && curvature * (next - b) * (next - b) <= 1e-9 * tokens {
        return Answer(temperature: 1 / next, nll: answer.nll, passes: pass)
      }
      b = next
    }
    return best!
  }

  private static func sums(
    _ job: LogitJob, _ b: Double, _ context: Context, _ progress: Progress?
  ) throws(TamisError) -> (slope: Double, curvature: Double, nll: Double, tokens: Double) {
    var job = job
    job.inverseTemperature = b
    job.needs = .allMoments
    var (slope, curvature, nll, tokens) = (0.0, 0.0, 0.0, 0.0)
    try LogitPass(job, context: context, progress: progress).runStates { row, state in
      guard let state, !state.isBad, state.reference > -.infinity else { return }
      let target = job.targetValue(row)
      let mean = state.first / state.sum
      // Of values b z: a slope in b is one in values over b.
      slope += (mean + (state.reference - target)) / b
      curvature += max(0, state.second / state.sum - mean * mean) / (b * b)
      nll += max(0, (state.reference - target) + log(state.sum))
      tokens += 1
    }
    return (slope, curvature, nll, tokens)
  }
}

/// Windows over a text that is longer than a model's context; every token is scored once.
public struct SlidingWindows: Sendable {
  public let tokens, window, stride: Int

  /// window at least 1, stride 1 to window.
  public init(tokens: Int, window: Int, stride: Int) {
    (self.tokens, self.window, self.stride) = (tokens, window, stride)
  }

  public var count: Int {
    tokens == 0 ? 0 : tokens <= window ? 1 : 1 + (tokens - window - 1) / stride + 1
  }

  /// What window i sees, and from where on it is scored.
  public subscript(_ i: Int) -> (seen: Range<Int>, scored: Range<Int>) {
    // Compared before it is multiplied: the end of the last window is the text's.
    let end = i >= count - 1 ? tokens : window + i * stride
    let from = i == 0 ? 0 : window + (i - 1) * stride
    return (max(0, end - window)..<end, from..<end)
  }
}
