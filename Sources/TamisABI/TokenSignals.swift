// include/tamis/token_signals.h: ssToken, cDPO, T-REG; the rest is in TokenLosses.swift
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

@c @implementation public func tamis_cdpo_weight_options_init(_ options: UnsafeMutablePointer<tamis_cdpo_weight_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_treg_options_init(_ options: UnsafeMutablePointer<tamis_treg_options>!) {
  options?.initialize(to: .defaults)
}

// MARK: arguments

/// batch and tokens of packed arrays, and their product.
func extents(_ batch: Int64, _ tokens: Int64) throws(TamisError) -> (batch: Int, tokens: Int, all: Int) {
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
  _ rule: tamis_prompt_rule, _ mass: UnsafeMutablePointer<Double>!
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
      tokens: n.tokens, gamma: gamma)
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
