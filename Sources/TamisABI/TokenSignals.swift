// include/tamis/token_signals.h
import CTamis
import Tamis

extension tamis_cdpo_weight_options: VersionedStruct {
  static var firstSize: Int { 24 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, side: TAMIS_ANSWER_REJECTED, only_negative: 1, log_scores: 0, append_eos: 1, leading_zero: 0)
  }
}

extension tamis_treg_options: VersionedStruct {
  static var firstSize: Int { 32 }
  static var defaults: Self {
    Self(struct_size: currentSize, weighted: 1, stop_gradient: 1, reserved: 0, beta: 0.1, alpha: 0.25)
  }
}

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
      decay: 0.8,
      rise: 0.5)
  }
}

@c @implementation public func tamis_cdpo_weight_options_init(_ options: UnsafeMutablePointer<tamis_cdpo_weight_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_treg_options_init(_ options: UnsafeMutablePointer<tamis_treg_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_rmt_options_init(_ options: UnsafeMutablePointer<tamis_rmt_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_caft_options_init(_ options: UnsafeMutablePointer<tamis_caft_options>!) {
  options?.initialize(to: .defaults)
}

// MARK: arguments

/// batch and tokens of packed arrays, and their product.
private func extents(_ batch: Int64, _ tokens: Int64) throws(TamisError) -> (batch: Int, tokens: Int, all: Int) {
  let (b, t) = (try count(batch, "batch", from: 1), try count(tokens, "tokens", from: 1))
  try require(b * t <= countLimit, "batch is \(b) and tokens is \(t); expected a product of at most \(countLimit)")
  return (b, t, b * t)
}

/// An input that may be NULL.
func optionalArray<T>(
  _ pointer: UnsafePointer<T>?, _ count: Int, _ name: StaticString
) throws(TamisError) -> UnsafeBufferPointer<T>? {
  pointer == nil ? nil : try array(pointer, count, name)
}

/// A side of pairs, and where its gradient goes.
private func answers(
  _ pointer: UnsafePointer<tamis_answers>?, _ all: Int, _ name: StaticString, rewards: Bool = false
) throws(TamisError) -> (values: AnswerLogProbs, gradient: UnsafeMutableBufferPointer<Double>?) {
  let raw = try need(pointer, name).pointee
  do throws(TamisError) {
    let weights = rewards ? try array(raw.weights, all, "weights") : try optionalArray(raw.weights, all, "weights")
    return (
      AnswerLogProbs(
        policy: try array(raw.policy, all, "policy"), reference: try array(raw.reference, all, "reference"), weights: weights,
        response: try optionalArray(raw.response, all, "response")),
      try optionalRoom(raw.gradient, all, "gradient")
    )
  } catch {
    throw TamisError(error.status, "\(name)->\(error.message)")
  }
}

/// Writes a pair loss where the caller wants it; nothing can fail any more.
private func store(
  _ result: PairLoss, _ loss: UnsafeMutablePointer<Double>, _ losses: UnsafeMutableBufferPointer<Double>?,
  _ chosen: UnsafeMutableBufferPointer<Double>?, _ rejected: UnsafeMutableBufferPointer<Double>?
) {
  loss.pointee = result.loss
  if let losses { fill(losses, result.losses) }
  if let chosen { fill(chosen, result.chosen) }
  if let rejected { fill(rejected, result.rejected) }
}

// MARK: ssToken

@c @implementation public func tamis_prompt_attention(
  _ handle: OpaquePointer!, _ attention: UnsafePointer<tamis_tensor>!, _ prompt: UnsafePointer<UInt8>!,
  _ rule: tamis_prompt_rule,
  _ mass: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let view = try tensor(attention, "attention", TensorRule(dtypes: .floats, ndim: 3...3)).view
    let mass = try room(mass, view.shape[1], "mass")
    fill(
      mass,
      try PromptAttention.mass(
        attention: view, prompt: try array(prompt, view.shape[2], "prompt"),
        rule: try choice(rule, "rule", PromptAttention.Rule.self, "TAMIS_PROMPT_MASK or TAMIS_PROMPT_PREFIX"), context: context
      ))
  }
}

@c @implementation public func tamis_prompt_attention_keys(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_attention_options>!, _ q: UnsafePointer<tamis_tensor>!,
  _ k: UnsafePointer<tamis_tensor>!, _ prompt: UnsafePointer<UInt8>!, _ rule: tamis_prompt_rule,
  _ mass: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try read(options, "options")
    let q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...3, otherDType: .unsupported))
    let k = try tensor(k, "k", TensorRule(dtypes: .storage, ndim: 3...3, contiguousRows: true, otherDType: .unsupported))
    try checkHeads(q, k)
    let prompts = try choice(rule, "rule", PromptAttention.Rule.self, "TAMIS_PROMPT_MASK or TAMIS_PROMPT_PREFIX")
    let prompt = try array(prompt, k.view.shape[1], "prompt")
    let mass = try room(mass, q.view.shape[1], "mass")
    let (softmax, mask) = try attentionRule(options, q: q.view, k: k.view)
    fill(
      mass,
      try PromptAttention.mass(
        context, q: q.view, k: k.view, prompt: prompt, prompts: prompts, rule: softmax, mask: mask,
        progress: progress(options.progress, options.progress_user)))
  }
}

@c @implementation public func tamis_sstoken_scores(
  _ current: UnsafePointer<Double>!, _ history: UnsafePointer<Double>!, _ attention: UnsafePointer<Double>!,
  _ labels: UnsafePointer<Int64>!, _ batch: Int64, _ tokens: Int64, _ gamma: Double, _ excess: UnsafeMutablePointer<Double>!,
  _ scores: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try extents(batch, tokens)
    let excess = try optionalRoom(excess, n.all, "excess")
    let scores = try room(scores, n.all, "scores")
    let found = try SSToken.scores(
      current: try array(current, n.all, "current"), history: try array(history, n.all, "history"),
      attention: try optionalArray(attention, n.all, "attention"), labels: try array(labels, n.all, "labels"),
      tokens: n.tokens,
      gamma: gamma)
    if let excess { fill(excess, found.excess) }
    fill(scores, found.scores)
  }
}

@c @implementation public func tamis_select_tokens(
  _ scores: UnsafePointer<Double>!, _ labels: UnsafePointer<Int64>!, _ batch: Int64, _ tokens: Int64, _ ratio: Double,
  _ rounding: tamis_rounding, _ scope: tamis_token_scope, _ selected: UnsafeMutablePointer<Int64>!,
  _ kept: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try extents(batch, tokens)
    let selected = try room(selected, n.all, "selected")
    let kept = try optionalRoom(kept, n.batch, "kept")
    let found = try SSToken.select(
      scores: try array(scores, n.all, "scores"), labels: try array(labels, n.all, "labels"), tokens: n.tokens, ratio: ratio,
      rounding: try choice(rounding, "rounding", SSToken.Rounding.self, "TAMIS_ROUND_UP or TAMIS_ROUND_DOWN"),
      scope: try choice(scope, "scope", SSToken.Scope.self, "TAMIS_TOKENS_OF_SAMPLE or TAMIS_TOKENS_OF_BATCH"))
    fill(selected, found.labels)
    if let kept { fill(kept, found.kept) }
  }
}

@c @implementation public func tamis_ema_update(
  _ handle: OpaquePointer!, _ history: UnsafePointer<tamis_tensor>!, _ current: UnsafePointer<tamis_tensor>!, _ alpha: Double
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let history = try tensor(history, "history", TensorRule(dtypes: .floats, ndim: 1...6, contiguousRows: true, output: true))
    let current = try tensor(current, "current", TensorRule(dtypes: .floats, ndim: 1...6))
    try requireShape(of: current, like: history)
    try requireApart(history, current)
    try context.withLock { () throws(TamisError) in
      try SSToken.average(history: history.view, current: current.view, alpha: alpha)
    }
  }
}

// MARK: cDPO, T-REG

@c @implementation public func tamis_cdpo_weights(
  _ options: UnsafePointer<tamis_cdpo_weight_options>!, _ scores: UnsafePointer<Double>!, _ n: Int64,
  _ weights: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let raw = try read(options, "options")
    var options = CriticalTokens.WeightOptions()
    try require(
      (0...1).contains(raw.side), "options->side is \(raw.side); expected TAMIS_ANSWER_CHOSEN or TAMIS_ANSWER_REJECTED")
    options.isChosen = raw.side == TAMIS_ANSWER_CHOSEN
    options.onlyNegative = try flag(raw.only_negative, "options->only_negative")
    options.logScores = try flag(raw.log_scores, "options->log_scores")
    options.appendsEOS = try flag(raw.append_eos, "options->append_eos")
    options.leadingZero = try flag(raw.leading_zero, "options->leading_zero")
    let n = try count(n, "n")
    let weights = try room(weights, n + (options.appendsEOS ? 1 : 0) + (options.leadingZero ? 1 : 0), "weights")
    fill(weights, try CriticalTokens.weights(scores: try array(scores, n, "scores"), options))
  }
}

@c @implementation public func tamis_cdpo_loss(
  _ chosen: UnsafePointer<tamis_answers>!, _ rejected: UnsafePointer<tamis_answers>!, _ batch: Int64, _ tokens: Int64,
  _ beta: Double, _ reduction: tamis_pair_reduction, _ loss: UnsafeMutablePointer<Double>!,
  _ losses: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try extents(batch, tokens)
    let (plus, minus) = (try answers(chosen, n.all, "chosen"), try answers(rejected, n.all, "rejected"))
    let loss = try need(loss, "loss")
    let losses = try optionalRoom(losses, n.batch, "losses")
    let result = try CriticalTokens.loss(
      chosen: plus.values, rejected: minus.values, batch: n.batch, tokens: n.tokens, beta: beta,
      reduction: try choice(
        reduction, "reduction", CriticalTokens.Reduction.self, "TAMIS_SUM_THEN_SIGMOID or TAMIS_BY_POSITION"))
    store(result, loss, losses, plus.gradient, minus.gradient)
  }
}

@c @implementation public func tamis_critical_token(
  _ correct: UnsafePointer<Int64>!, _ n: Int64, _ samples: Int64, _ tolerance: Int64, _ critical: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let critical = try need(critical, "critical")
    let correct = try array(correct, try count(n, "n"), "correct")
    critical.pointee =
      try CriticalTokens.critical(correct: correct, samples: samples, tolerance: tolerance).map { Int64($0) } ?? -1
  }
}

@c @implementation public func tamis_pass_at_k(
  _ correct: UnsafePointer<Int64>!, _ count: Int64, _ n: Int64, _ k: Int64, _ pass: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let count = try TamisABI.count(count, "count")
    let pass = try room(pass, count, "pass")
    fill(pass, try CriticalTokens.pass(correct: try array(correct, count, "correct"), of: n, at: k))
  }
}

@c @implementation public func tamis_treg_rewards(
  _ better: UnsafePointer<Double>!, _ worse: UnsafePointer<Double>!, _ n: Int64, _ rewards: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n")
    let rewards = try room(rewards, n, "rewards")
    fill(rewards, try TokenRewards.rewards(better: try array(better, n, "better"), worse: try array(worse, n, "worse")))
  }
}

@c @implementation public func tamis_treg_loss(
  _ options: UnsafePointer<tamis_treg_options>!, _ chosen: UnsafePointer<tamis_answers>!,
  _ rejected: UnsafePointer<tamis_answers>!, _ batch: Int64, _ tokens: Int64, _ loss: UnsafeMutablePointer<Double>!,
  _ losses: UnsafeMutablePointer<Double>!, _ pairWeights: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let raw = try read(options, "options")
    var options = TokenRewards.Options()
    (options.beta, options.alpha) = (raw.beta, raw.alpha)
    options.isWeighted = try flag(raw.weighted, "options->weighted")
    options.stopsGradient = try flag(raw.stop_gradient, "options->stop_gradient")
    try require(raw.reserved == 0, "options->reserved is \(raw.reserved); expected 0")
    let n = try extents(batch, tokens)
    let plus = try answers(chosen, n.all, "chosen", rewards: true)
    let minus = try answers(rejected, n.all, "rejected", rewards: true)
    let loss = try need(loss, "loss")
    let losses = try optionalRoom(losses, n.batch, "losses")
    let weights = try optionalRoom(pairWeights, n.batch, "pair_weights")
    let result = try TokenRewards.loss(
      chosen: plus.values, rejected: minus.values, batch: n.batch, tokens: n.tokens, options)
    store(result, loss, losses, plus.gradient, minus.gradient)
    if let weights { fill(weights, result.weights) }
  }
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
  _ lengths: UnsafePointer<Int64>!,
  _ n: Int64, _ rewards: UnsafeMutablePointer<Double>!, _ lengthRewards: UnsafeMutablePointer<Double>!
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
