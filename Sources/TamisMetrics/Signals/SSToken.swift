public import TamisCore

/// ssToken (arXiv 2510.18250): the response tokens on which a model improved on its own history, and which attend to the
/// prompt. The attention mass is `PromptAttention`'s.
public enum SSToken {
  /// A label that is none.
  public static let noLabel: Int64 = -100

  /// REL_t = history_t - current_t, and gamma norm(REL_t) + (1 - gamma) attention_t with norm over the response tokens of each
  /// sample, (REL - min) / (max - min + 1e-8) as the code has it. 0 outside responses.
  /// - Parameters:
  ///   - current: losses [batch][tokens]; `history` and `labels` likewise, `attention` too unless gamma is 1.
  /// - Throws: `invalidArgument`: a loss or a mass of a response token that is no number, gamma outside [0, 1].
  public static func scores(
    current: TokenValues, history: TokenValues, attention: TokenValues?, labels: UnsafeBufferPointer<Int64>, tokens: Int,
    gamma: Double
  ) throws(TamisError) -> (excess: [Double], scores: [Double]) {
    try requireRange(gamma, "gamma", 0, 1)
    try require(attention != nil || gamma == 1, "attention is NULL; expected an array, as gamma is \(gamma) and not 1")
    var excess = [Double](repeating: 0, count: labels.count)
    var scores = excess
    for row in stride(from: 0, to: labels.count, by: max(tokens, 1)) {
      var (low, high) = (Double.infinity, -Double.infinity)
      for i in row..<row + tokens where labels[i] != noLabel {
        let rel = try number(history, i, "history") - number(current, i, "current")
        excess[i] = rel
        low = min(low, rel)
        high = max(high, rel)
      }
      for i in row..<row + tokens where labels[i] != noLabel {
        let norm = (excess[i] - low) / (high - low + 1e-8)
        let mass = if let attention { try number(attention, i, "attention") } else { 0.0 }
        scores[i] = gamma * norm + (1 - gamma) * mass
      }
    }
    return (excess, scores)
  }

  public enum Rounding: Int32, Sendable {
    /// ceil(n ratio), as ssToken
    case up = 0
    /// floor(n ratio), as the loss-only baseline
    case down = 1
  }
  public enum Scope: Int32, Sendable {
    case sample = 0
    case batch = 1
  }

  /// The labels of the best share of response tokens, `noLabel` elsewhere, and how many each sample keeps.
  /// - Throws: `invalidArgument`: a score of a response token that is no number, ratio outside [0, 1].
  public static func select(
    scores: TokenValues, labels: UnsafeBufferPointer<Int64>, tokens: Int, ratio: Double, rounding: Rounding = .up,
    scope: Scope = .sample
  ) throws(TamisError) -> (labels: [Int64], kept: [Int64]) {
    try requireRange(ratio, "ratio", 0, 1)
    var selected = [Int64](repeating: noLabel, count: labels.count)
    var kept = [Int64](repeating: 0, count: labels.count / max(tokens, 1))
    let width = scope == .sample ? tokens : labels.count
    for row in stride(from: 0, to: labels.count, by: max(width, 1)) {
      var ranked: [(score: Double, place: Int)] = []
      for i in row..<row + width where labels[i] != noLabel { ranked.append((try number(scores, i, "scores"), i)) }
      let share = Double(ranked.count) * ratio
      let k = min(ranked.count, Int(rounding == .up ? share.rounded(.up) : share.rounded(.down)))
      ranked.sort { $0.score > $1.score || $0.score == $1.score && $0.place < $1.place }
      for (_, i) in ranked.prefix(k) {
        selected[i] = labels[i]
        kept[i / tokens] += 1
      }
    }
    return (selected, kept)
  }

  /// history = alpha history + (1 - alpha) current, in f64 and then through f32 to history's dtype. Tensors of one shape; rows
  /// of history are contiguous.
  public static func average(history: TensorView, current: TensorView, alpha: Double) throws(TamisError) {
    try requireRange(alpha, "alpha", 0, 1)
    let table = Kernels.active
    let last = history.ndim - 1
    let n = history.shape[last]
    var rows = 1
    for d in 0..<last { rows *= history.shape[d] }
    let old = UnsafeMutablePointer<Float>.allocate(capacity: n)
    let new = UnsafeMutablePointer<Float>.allocate(capacity: n)
    defer {
      old.deallocate()
      new.deallocate()
    }
    for row in 0..<rows {
      var (rest, to, from) = (row, 0, 0)
      for d in stride(from: last - 1, through: 0, by: -1) {
        to += rest % history.shape[d] * history.stride[d]
        from += rest % history.shape[d] * current.stride[d]
        rest /= history.shape[d]
      }
      let target = history.data + to * history.dtype.size
      TensorRows.load(target, history.dtype, stride: 1, scale: 1, count: n, to: old, table)
      TensorRows.load(
        current.data + from * current.dtype.size, current.dtype, stride: current.stride[last], scale: 1, count: n, to: new,
        table)
      for i in 0..<n { old[i] = Float(alpha * Double(old[i]) + (1 - alpha) * Double(new[i])) }
      TensorRows.store(old, count: n, to: target, history.dtype, stride: 1, table)
    }
  }
}
