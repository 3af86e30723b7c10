public import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// T-REG (arXiv 2412.02685): token rewards that a model gives itself, as a regulariser of DPO.
public enum TokenRewards {
  /// sigmoid(better - worse) - 0.5, as an odd function.
  public static func rewards(better: TokenValues, worse: TokenValues) throws(TamisError) -> [Double] {
    var rewards = [Double](repeating: 0, count: better.count)
    for i in 0..<better.count { rewards[i] = try 0.5 * tanh((number(better, i, "better") - number(worse, i, "worse")) / 2) }
    return rewards
  }

  public struct Options: Sendable {
    public var beta = 0.1
    public var alpha = 0.25
    /// w = sigmoid(r(rejected) - r(chosen)); else 1.
    public var isWeighted = true
    /// w is a constant in gradients.
    public var stopsGradient = true
    public init() {}
  }

  /// L_DPO + alpha w (L_REG(chosen) + L_REG(rejected)), L_REG = -sum beta reward policy.
  public static func loss(
    chosen: AnswerLogProbs, rejected: AnswerLogProbs, batch: Int, tokens: Int, _ options: Options = Options()
  ) throws(TamisError) -> PairLoss {
    let (beta, alpha) = (options.beta, options.alpha)
    try requirePositive(beta, "options->beta")
    try requireRange(alpha, "options->alpha", 0, 1e30)
    var result = PairLoss()
    result.chosen = [Double](repeating: 0, count: batch * tokens)
    result.rejected = result.chosen
    for b in 0..<batch {
      let places = b * tokens..<(b + 1) * tokens
      let plus = try sums(of: chosen, places, beta)
      let minus = try sums(of: rejected, places, beta)
      let margin = plus.reward - minus.reward
      let w = options.isWeighted ? sigmoid(-margin) : 1
      let regulariser = plus.regulariser + minus.regulariser
      result.losses.append(minusLogSigmoid(margin) + alpha * w * regulariser)
      result.weights.append(w)
      result.loss += result.losses[b]
      // d/d r(chosen); r(rejected) has the opposite sign.
      var slope = -sigmoid(-margin)
      if options.isWeighted && !options.stopsGradient { slope -= alpha * w * (1 - w) * regulariser }
      try gradient(of: chosen, places, beta * slope, alpha * w * beta, Double(batch), &result.chosen)
      try gradient(of: rejected, places, -beta * slope, alpha * w * beta, Double(batch), &result.rejected)
    }
    result.loss /= Double(batch)
    return result
  }

  /// r = beta sum (policy - reference) and L_REG of one answer.
  private static func sums(
    of answer: AnswerLogProbs, _ places: Range<Int>, _ beta: Double
  ) throws(TamisError) -> (reward: Double, regulariser: Double) {
    var (reward, regulariser) = (0.0, 0.0)
    for i in places where try answer.counts(i) {
      reward += try answer.ratio(i)
      regulariser -= try answer.weight(i) * answer.policy[i]
    }
    return (beta * reward, beta * regulariser)
  }

  private static func gradient(
    of answer: AnswerLogProbs, _ places: Range<Int>, _ slope: Double, _ regularised: Double, _ batch: Double,
    _ out: inout [Double]
  ) throws(TamisError) {
    for i in places where try answer.counts(i) { out[i] = (slope - regularised * (try answer.weight(i))) / batch }
  }
}
