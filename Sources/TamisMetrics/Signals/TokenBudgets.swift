public import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// RMT (arXiv 2509.24375): reinforcement mid-training with a shrinking budget of thought, and tokens from easy to hard.
public struct TokenBudgets: Sendable {
  public var steps = 1000
  public var firstBudget = 800
  public var leastBudget = 1
  public var decay = 0.2
  /// Ends of the first mixture of tiers and of the way to the second, as shares of `steps`.
  public var phases = (0.3, 0.7)
  /// Easy, medium, hard.
  public var first: [Double] = [0.6, 0.3, 0.1]
  public var second: [Double] = [0.1, 0.3, 0.6]
  public var lengthWeight = 0.1
  public var largestReward = 1.0

  public init() {}

  public static let noTier: UInt8 = 255
  private static let limit = 1 << 53

  /// - Throws: `invalidArgument` with the names of tamis_rmt_options.
  public func validate() throws(TamisError) {
    for (value, name) in [(steps, "steps"), (firstBudget, "first_budget"), (leastBudget, "least_budget")] {
      try require((1...Self.limit).contains(value), "options->\(name) is \(value); expected 1 to 2^53")
    }
    try require(decay > 0 && decay <= 1, "options->decay is \(decay); expected above 0, at most 1")
    try requireRange(phases.0, "options->phase1", 0, 1)
    try requireRange(phases.1, "options->phase2", phases.0, 1)
    try requireRange(lengthWeight, "options->length_weight", 0, 1)
    try requireRange(largestReward, "options->largest_reward", 0, 1e30)
    for (mixture, which) in [(first, 1), (second, 2)] {
      try require(
        mixture.count == 3 && mixture.allSatisfy { $0 >= 0 && $0 <= 1 }
          && (mixture[0] + mixture[1] + mixture[2] - 1).magnitude <= 1e-9,
        "options->easy\(which), medium\(which), hard\(which) are \(mixture); expected probabilities that add up to 1")
    }
  }

  private func check(_ step: Int) throws(TamisError) {
    try validate()
    try require((0...steps).contains(step), "step is \(step); expected 0 to \(steps), options->steps")
  }

  /// B_t = max(B_min, floor(B_0 gamma^(t / T))).
  public func budget(step: Int) throws(TamisError) -> Int {
    try check(step)
    return max(leastBudget, Int((Double(firstBudget) * pow(decay, Double(step) / Double(steps))).rounded(.down)))
  }

  /// Probabilities of the tiers.
  public func probabilities(step: Int) throws(TamisError) -> [Double] {
    try check(step)
    let t = Double(step)
    let (t1, t2) = (phases.0 * Double(steps), phases.1 * Double(steps))
    if t < t1 { return first }
    if t >= t2 { return second }
    let share = (t - t1) / (t2 - t1)
    return zip(first, second).map { (1 - share) * $0 + share * $1 }
  }

  /// r_len: r_max l / B up to B, r_max (2 B - l) / B up to 2 B, 0 beyond.
  func lengthReward(_ length: Int64, budget: Int) -> Double {
    let (l, b) = (Double(length), Double(budget))
    if l <= b { return largestReward * l / b }
    return l <= 2 * b ? largestReward * (2 * b - l) / b : 0
  }

  /// (1 - w) correct + w r_len of each answer.
  public func rewards(
    step: Int, correct: TokenFlags, lengths: UnsafeBufferPointer<Int64>
  ) throws(TamisError) -> (rewards: [Double], lengthRewards: [Double]) {
    let budget = try budget(step: step)
    var (rewards, parts) = ([Double](), [Double]())
    for i in 0..<lengths.count {
      try require(lengths[i] >= 0, "lengths[\(i)] is \(lengths[i]); expected at least 0")
      parts.append(lengthReward(lengths[i], budget: budget))
      rewards.append((1 - lengthWeight) * (try isSet(correct, i, "correct") ? 1 : 0) + lengthWeight * parts[i])
    }
    return (rewards, parts)
  }

  /// Tiers of tokens by entropy: 0 up to the lower threshold, 1 up to the upper, 2 above; `noTier` outside the mask.
  /// - Parameter thresholds: nil: the terciles of the tokens in the mask.
  public static func tiers(
    entropies: TokenValues, mask: TokenFlags?, thresholds: (Double, Double)?
  ) throws(TamisError) -> (tiers: [UInt8], thresholds: (Double, Double)) {
    var used: [Double] = []
    var isUsed = [Bool](repeating: true, count: entropies.count)
    for i in 0..<entropies.count {
      if let mask { isUsed[i] = try isSet(mask, i, "mask") }
      if isUsed[i] { used.append(try number(entropies, i, "entropies")) }
    }
    var ends = (Double.nan, Double.nan)
    if let thresholds {
      try require(
        thresholds.0 <= thresholds.1, "thresholds are \(thresholds.0) and \(thresholds.1); expected two ascending numbers")
      ends = thresholds
    } else if !used.isEmpty {
      used.sort()
      ends = (used[(used.count + 2) / 3 - 1], used[(2 * used.count + 2) / 3 - 1])
    }
    var tiers = [UInt8](repeating: noTier, count: entropies.count)
    for i in 0..<entropies.count where isUsed[i] { tiers[i] = entropies[i] <= ends.0 ? 0 : entropies[i] <= ends.1 ? 1 : 2 }
    return (tiers, ends)
  }

  /// Places of drawn tokens, with replacement: a tier, then a token of it; two numbers of SplitMix64 a draw.
  public func sample(step: Int, seed: UInt64, tiers: TokenFlags, draws: Int) throws(TamisError) -> [Int64] {
    var shares = try probabilities(step: step)
    var places: [[Int64]] = [[], [], []]
    for i in 0..<tiers.count where tiers[i] != Self.noTier {
      try require(tiers[i] <= 2, "tiers[\(i)] is \(tiers[i]); expected 0 to 2, or 255")
      places[Int(tiers[i])].append(Int64(i))
    }
    try require(draws == 0 || places.contains { !$0.isEmpty }, "tiers has no token of a tier; expected at least one to draw")
    for tier in 0..<3 where places[tier].isEmpty { shares[tier] = 0 }
    if shares[0] + shares[1] + shares[2] == 0 { shares = places.map { $0.isEmpty ? 0 : 1 } }
    let sum = shares[0] + shares[1] + shares[2]
    let last = shares.lastIndex { $0 > 0 } ?? 0
    var random = SeededRandom(seed: seed)
    var drawn: [Int64] = []
    drawn.reserveCapacity(draws)
    for _ in 0..<draws {
      let u = random.unit() * sum
      var tier = 0
      var reach = shares[0]
      while tier < last && u >= reach {
        tier += 1
        reach += shares[tier]
      }
      drawn.append(places[tier][random.below(places[tier].count)])
    }
    return drawn
  }
}
