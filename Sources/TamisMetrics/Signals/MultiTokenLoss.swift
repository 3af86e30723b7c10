public import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// CAFT (arXiv 2506.07833): fine-tuning on several tokens ahead, by auxiliary heads whose part fades.
public struct MultiTokenLoss: Sendable {
  public enum Schedule: Int32, Sendable {
    case rsine = 0
    case sine, linear, constant, sineR
  }

  /// Auxiliary heads H.
  public var heads = 4
  public var schedule = Schedule.rsine
  /// Without L_0: training of the heads alone.
  public var omitsFirst = false
  public var step = 0
  public var steps = 1
  /// c
  public var scale = 0.01
  /// d
  public var decay = 0.8
  /// r of `sineR`
  public var rise = 0.5

  public init() {}

  /// - Throws: `invalidArgument` with the names of tamis_caft_options.
  public func validate() throws(TamisError) {
    try require((0...1024).contains(heads), "options->heads is \(heads); expected 0 to 1024")
    try require((1...1 << 53).contains(steps), "options->steps is \(steps); expected 1 to 2^53")
    try require((0...steps).contains(step), "options->step is \(step); expected 0 to options->steps, \(steps)")
    try requireRange(scale, "options->scale", 0, 1e30)
    try requireRange(decay, "options->decay", 0, 1)
    try require(rise > 0 && rise <= 1, "options->rise is \(rise); expected above 0, at most 1")
  }

  /// s(step).
  public var share: Double {
    let (t, s) = (Double(step), Double(steps))
    return switch schedule {
    case .rsine: sin(.pi / 2 * ((s - t) / s))
    case .sine: sin(.pi / 2 * (t / s))
    case .linear: t / s
    case .constant: 1
    case .sineR: t < rise * s ? sin(.pi / 2 * (t / (rise * s))) : 1
    }
  }

  /// 1 for L_0, c s d^i for L_i.
  private func factor(_ head: Int) -> Double {
    head == 0 ? (omitsFirst ? 0 : 1) : scale * share * pow(decay, Double(head))
  }

  /// Calls `body` with head, places of ce [heads + 1][batch][tokens] whose label counts, and how many they are.
  private func forEachHead(
    _ labels: UnsafeBufferPointer<Int64>, tokens: Int, _ body: (_ head: Int, _ places: [Int]) throws(TamisError) -> Void
  ) throws(TamisError) {
    for head in 0...heads {
      var places: [Int] = []
      for row in stride(from: 0, to: labels.count, by: tokens) {
        for t in 0..<max(0, tokens - 1 - head) where labels[row + t + 1 + head] != SSToken.noLabel {
          places.append(head * labels.count + row + t)
        }
      }
      try body(head, places)
    }
  }

  /// d L / d ce: factor / number of labels at places with a label, 0 elsewhere.
  public func weights(labels: UnsafeBufferPointer<Int64>, tokens: Int) throws(TamisError) -> [Double] {
    try validate()
    var weights = [Double](repeating: 0, count: (heads + 1) * labels.count)
    try forEachHead(labels, tokens: tokens) { (head, places) throws(TamisError) in
      let weight = factor(head) / Double(places.count)
      for i in places { weights[i] = weight }
    }
    return weights
  }

  /// L and the L_i; a head without labels has 0.
  public func loss(
    ce: TokenValues, labels: UnsafeBufferPointer<Int64>, tokens: Int
  ) throws(TamisError) -> (loss: Double, heads: [Double]) {
    try validate()
    var loss = 0.0
    var means: [Double] = []
    try forEachHead(labels, tokens: tokens) { (head, places) throws(TamisError) in
      var sum = 0.0
      for i in places { sum += try number(ce, i, "ce") }
      means.append(places.isEmpty ? 0 : sum / Double(places.count))
      loss += factor(head) * means[head]
    }
    return (loss, means)
  }
}
