// include/tamis/sinks.h
import CTamis
import Tamis

// MARK: ZeroTuning

extension tamis_zero_tuning_options: VersionedStruct {
  static var firstSize: Int { 36 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, layers: 1, heads: 1, unit: TAMIS_ZERO_TUNING_HEADS, probe_gamma: 2, share: 0.4, gamma_min: 0.25,
      gamma_max: 4, gamma_step: 0.25)
  }
}

extension tamis_zero_tuning_result: VersionedStruct {
  static var firstSize: Int { 48 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_zero_tuning_options_init(_ options: UnsafeMutablePointer<tamis_zero_tuning_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_zero_tuning_bias(
  _ gamma: UnsafePointer<Float>!, _ n: Int64, _ bias: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n", from: 1)
    let gamma = try array(gamma, n, "gamma")
    let bias = try room(bias, n, "bias")
    for i in 0..<n { _ = try ZeroTuning.bias(gamma[i], "gamma[\(i)]") }
    for i in 0..<n { bias[i] = try ZeroTuning.bias(gamma[i]) }
  }
}

@c @implementation public func tamis_zero_tuning_search(
  _ options: UnsafePointer<tamis_zero_tuning_options>!, _ score: tamis_zero_tuning_score_fn!, _ user: UnsafeMutableRawPointer!,
  _ gamma: UnsafeMutablePointer<Float>!, _ unit_effect: UnsafeMutablePointer<Double>!,
  _ result: UnsafeMutablePointer<tamis_zero_tuning_result>!
) -> tamis_status {
  status { () throws(TamisError) in
    let options = try ZeroTuning.Options(try read(options, "options"))
    guard let score else { throw .invalid("score is NULL; expected a function") }
    let gammas = try room(gamma, options.layers * options.heads, "gamma")
    let effects = unit_effect == nil ? nil : try room(unit_effect, options.units, "unit_effect")
    try checkOutput(result, "result")
    let found = try ZeroTuning.search(options) { gammas in
      var value = Double.nan
      let goesOn = score(gammas.baseAddress, Int32(options.layers), Int32(options.heads), &value, user)
      return goesOn == 0 ? nil : value
    }
    fill(gammas, found.gammas)
    if let effects { fill(effects, found.effects) }
    write(
      tamis_zero_tuning_result(
        struct_size: 0, evaluations: Int32(clamping: found.evaluations), up: Int32(clamping: found.up),
        down: Int32(clamping: found.down), neutral: Int32(clamping: found.neutral), tuned: Int32(clamping: found.tuned),
        gamma: found.gamma, reserved: 0, baseline: found.baseline, best: found.best),
      to: result)
  }
}

extension ZeroTuning.Options {
  /// Checked, so that sizes may be computed from it.
  init(_ raw: tamis_zero_tuning_options) throws(TamisError) {
    self.init()
    layers = try count(raw.layers, "options->layers", from: 1)
    heads = try count(raw.heads, "options->heads", from: 1)
    unit = try choice(
      raw.unit, "options->unit", ZeroTuning.Unit.self,
      "TAMIS_ZERO_TUNING_HEADS, TAMIS_ZERO_TUNING_LAYER_HEADS or TAMIS_ZERO_TUNING_LAYERS")
    (probeGamma, share) = (raw.probe_gamma, raw.share)
    (gammaMin, gammaMax, gammaStep) = (raw.gamma_min, raw.gamma_max, raw.gamma_step)
    try check()
  }
}

// MARK: ACT

extension tamis_act_options: VersionedStruct {
  static var firstSize: Int { 24 }
  static var defaults: Self { Self(struct_size: currentSize, threshold: 0.1, beta: 0.4, min_rows: 1, heads: nil) }
}

@c @implementation public func tamis_act_options_init(_ options: UnsafeMutablePointer<tamis_act_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_act_state_create(
  _ handle: OpaquePointer!, _ q_heads: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let heads = try count(q_heads, "q_heads", from: 1)
    let out = try need(out, "out")
    out.pointee = Handle.make(try ACTState(context: context, qHeads: heads), .act_state)
  }
}

@c @implementation public func tamis_act_state_destroy(_ state: OpaquePointer!) {
  Handle<ACTState>.destroy(state, .act_state)
}

@c @implementation public func tamis_act_state_reset(_ handle: OpaquePointer!) -> tamis_status {
  status { () throws(TamisError) in try actState(handle).reset() }
}

@c @implementation public func tamis_act_attention(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_attention_options>!, _ act: UnsafePointer<tamis_act_options>!,
  _ stateHandle: OpaquePointer!, _ q: UnsafePointer<tamis_tensor>!, _ k: UnsafePointer<tamis_tensor>!,
  _ v: UnsafePointer<tamis_tensor>!, _ out: UnsafePointer<tamis_tensor>!, _ lse: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try read(options, "options")
    let act = try read(act, "act")
    let state = stateHandle == nil ? nil : try actState(stateHandle)
    let t = try AttentionTensors(q: q, k: k, v: v, out: out, lse: lse)
    try require(t.q.view.ndim == 3, "q->ndim is \(t.q.view.ndim); expected 3: one sequence")
    let (rule, mask) = try attentionRule(options, t)
    try ACT.attend(
      context, q: t.q.view, k: t.k.view, v: t.v.view, rule: rule, mask: mask,
      options: try ACT.Options(act, heads: t.q.view.shape[0]), state: state, out: t.out.view, lse: t.lse?.view,
      progress: progress(options.progress, options.progress_user))
  }
}

extension ACT.Options {
  fileprivate init(_ raw: tamis_act_options, heads count: Int) throws(TamisError) {
    self.init()
    threshold = try finite(raw.threshold, "act->threshold")
    beta = try finite(raw.beta, "act->beta")
    try require(beta <= 1, "act->beta is \(beta); expected 0 to 1")
    minRows = try TamisABI.count(raw.min_rows, "act->min_rows", from: 1)
    if raw.heads == nil { return }
    let flags = try array(raw.heads, count, "act->heads")
    for (h, flag) in flags.enumerated() {
      try require(flag <= 1, "act->heads[\(h)] is \(flag); expected 0 or 1")
    }
    heads = flags.map { $0 == 1 }
  }
}

@c @implementation public func tamis_act_sinks(
  _ handle: OpaquePointer!, _ head: Int32, _ tokens: UnsafeMutablePointer<Int32>!, _ capacity: Int64,
  _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let state = try actState(handle)
    let n = try need(n, "n")
    let room = try room(tokens, try count(capacity, "capacity"), "tokens")
    let found = try state.sinks(head: try count(head, "head"))
    n.pointee = Int64(found.count)
    if found.count > room.count {
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(found.count)")
    }
    fill(room, found)
  }
}
