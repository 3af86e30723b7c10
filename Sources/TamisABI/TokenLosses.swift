// include/tamis/token_signals.h: RMT, TL-Training, CAFT
import CTamis
import Tamis

extension tamis_rmt_options: VersionedStruct {
  static var firstSize: Int { 120 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, reserved: 0, steps: 1000, first_budget: 800, least_budget: 1, decay: 0.2, phase1: 0.3,
      phase2: 0.7, easy1: 0.6, medium1: 0.3, hard1: 0.1, easy2: 0.1, medium2: 0.3, hard2: 0.6, length_weight: 0.1,
      largest_reward: 1)
  }
}

extension tamis_caft_options: VersionedStruct {
  static var firstSize: Int { 56 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, heads: 4, schedule: TAMIS_CAFT_RSINE, omit_first: 0, step: 0, steps: 1, scale: 0.01,
      decay: 0.8, rise: 0.5)
  }
}

@c @implementation public func tamis_rmt_options_init(_ options: UnsafeMutablePointer<tamis_rmt_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_caft_options_init(_ options: UnsafeMutablePointer<tamis_caft_options>!) {
  options?.initialize(to: .defaults)
}

// MARK: RMT

extension TokenBudgets {
  init(_ raw: tamis_rmt_options) throws(TamisError) {
    self.init()
    try require(raw.reserved == 0, "options->reserved is \(raw.reserved); expected 0")
    (steps, firstBudget, leastBudget) = (Int(raw.steps), Int(raw.first_budget), Int(raw.least_budget))
    (decay, phases) = (raw.decay, (raw.phase1, raw.phase2))
    first = [raw.easy1, raw.medium1, raw.hard1]
    second = [raw.easy2, raw.medium2, raw.hard2]
    (lengthWeight, largestReward) = (raw.length_weight, raw.largest_reward)
    try validate()
  }
}

@c @implementation public func tamis_rmt_schedule(
  _ options: UnsafePointer<tamis_rmt_options>!, _ step: Int64, _ budget: UnsafeMutablePointer<Int64>!,
  _ probabilities: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let budgets = try TokenBudgets(try read(options, "options"))
    let budget = try allow(budget, "budget")
    let probabilities = try optionalRoom(probabilities, 3, "probabilities")
    let found = (try budgets.budget(step: Int(step)), try budgets.probabilities(step: Int(step)))
    budget?.pointee = Int64(found.0)
    if let probabilities { fill(probabilities, found.1) }
  }
}

@c @implementation public func tamis_rmt_rewards(
  _ options: UnsafePointer<tamis_rmt_options>!, _ step: Int64, _ correct: UnsafePointer<UInt8>!,
  _ lengths: UnsafePointer<Int64>!, _ n: Int64, _ rewards: UnsafeMutablePointer<Double>!,
  _ lengthRewards: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let budgets = try TokenBudgets(try read(options, "options"))
    let n = try count(n, "n")
    let rewards = try optionalRoom(rewards, n, "rewards")
    let parts = try optionalRoom(lengthRewards, n, "length_rewards")
    let found = try budgets.rewards(
      step: Int(step), correct: try array(correct, n, "correct"), lengths: try array(lengths, n, "lengths"))
    if let rewards { fill(rewards, found.rewards) }
    if let parts { fill(parts, found.lengthRewards) }
  }
}

@c @implementation public func tamis_rmt_tiers(
  _ entropies: UnsafePointer<Double>!, _ mask: UnsafePointer<UInt8>!, _ n: Int64, _ thresholds: UnsafePointer<Double>!,
  _ tiers: UnsafeMutablePointer<UInt8>!, _ used: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n")
    let tiers = try room(tiers, n, "tiers")
    let used = try optionalRoom(used, 2, "used")
    let ends = try optionalArray(thresholds, 2, "thresholds").map { ($0[0], $0[1]) }
    let found = try TokenBudgets.tiers(
      entropies: try array(entropies, n, "entropies"), mask: try optionalArray(mask, n, "mask"), thresholds: ends)
    fill(tiers, found.tiers)
    if let used { (used[0], used[1]) = found.thresholds }
  }
}

@c @implementation public func tamis_rmt_sample(
  _ options: UnsafePointer<tamis_rmt_options>!, _ step: Int64, _ seed: UInt64, _ tiers: UnsafePointer<UInt8>!, _ n: Int64,
  _ draws: Int64, _ positions: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let budgets = try TokenBudgets(try read(options, "options"))
    let (n, draws) = (try count(n, "n"), try count(draws, "draws"))
    let positions = try room(positions, draws, "positions")
    fill(positions, try budgets.sample(step: Int(step), seed: seed, tiers: try array(tiers, n, "tiers"), draws: draws))
  }
}

// MARK: TL-Training, CAFT

@c @implementation public func tamis_tool_call_weights(
  _ classes: UnsafePointer<UInt8>!, _ n: Int64, _ maxWeight: Double, _ weights: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n")
    let weights = try room(weights, n, "weights")
    fill(weights, try ToolCallWeights.weights(classes: try array(classes, n, "classes"), maxWeight: maxWeight))
  }
}

@c @implementation public func tamis_tool_call_loss(
  _ ce: UnsafePointer<Double>!, _ classes: UnsafePointer<UInt8>!, _ n: Int64, _ maxWeight: Double, _ q: Double,
  _ loss: UnsafeMutablePointer<Double>!, _ gradient: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n")
    let loss = try need(loss, "loss")
    let gradient = try optionalRoom(gradient, n, "gradient")
    let found = try ToolCallWeights.loss(
      ce: try array(ce, n, "ce"), classes: try array(classes, n, "classes"), maxWeight: maxWeight, q: q)
    loss.pointee = found.loss
    if let gradient { fill(gradient, found.gradient) }
  }
}

@c @implementation public func tamis_tool_name_keys(
  _ name: UnsafePointer<Int32>!, _ length: Int64, _ others: UnsafePointer<tamis_token_lists>!,
  _ places: UnsafeMutablePointer<Int64>!, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let name = try array(name, try TamisABI.count(length, "length", from: 1), "name")
    let others = try tokenLists(others, "others")
    let count = try need(count, "count")
    let places = try room(places, others.count + 1, "places")
    let found = ToolCallWeights.keys(name: name, others: others)
    fill(places, found)
    count.pointee = Int64(found.count)
  }
}

extension MultiTokenLoss {
  init(_ raw: tamis_caft_options) throws(TamisError) {
    self.init()
    heads = try count(raw.heads, "options->heads")
    schedule = try choice(
      raw.schedule, "options->schedule", Schedule.self, "TAMIS_CAFT_RSINE to TAMIS_CAFT_SINE_R")
    omitsFirst = try flag(raw.omit_first, "options->omit_first")
    (step, steps) = (Int(raw.step), Int(raw.steps))
    (scale, decay, rise) = (raw.scale, raw.decay, raw.rise)
    try validate()
  }

  /// Room of [heads + 1][batch][tokens].
  fileprivate func extent(_ all: Int) throws(TamisError) -> Int {
    try require(
      (heads + 1) * all <= countLimit, "options->heads is \(heads) over \(all) tokens; expected at most \(countLimit) numbers")
    return (heads + 1) * all
  }
}

@c @implementation public func tamis_caft_weights(
  _ options: UnsafePointer<tamis_caft_options>!, _ labels: UnsafePointer<Int64>!, _ batch: Int64, _ tokens: Int64,
  _ s: UnsafeMutablePointer<Double>!, _ weights: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let caft = try MultiTokenLoss(try read(options, "options"))
    let s = try allow(s, "s")
    if weights != nil {
      let n = try extents(batch, tokens)
      let weights = try room(weights, try caft.extent(n.all), "weights")
      fill(weights, try caft.weights(labels: try array(labels, n.all, "labels"), tokens: n.tokens))
    }
    s?.pointee = caft.share
  }
}

@c @implementation public func tamis_caft_loss(
  _ options: UnsafePointer<tamis_caft_options>!, _ ce: UnsafePointer<Double>!, _ labels: UnsafePointer<Int64>!, _ batch: Int64,
  _ tokens: Int64, _ loss: UnsafeMutablePointer<Double>!, _ headLosses: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let caft = try MultiTokenLoss(try read(options, "options"))
    let n = try extents(batch, tokens)
    let loss = try need(loss, "loss")
    let heads = try optionalRoom(headLosses, caft.heads + 1, "head_losses")
    let found = try caft.loss(
      ce: try array(ce, try caft.extent(n.all), "ce"), labels: try array(labels, n.all, "labels"), tokens: n.tokens)
    loss.pointee = found.loss
    if let heads { fill(heads, found.heads) }
  }
}
