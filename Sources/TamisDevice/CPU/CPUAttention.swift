import CShims
public import TamisCore

extension CPUBackend {
  public func attend(
    q: TensorView, over keys: CachedKeys, tokens: AttendedTokens, rule: AttentionRule, out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    let store = try own(keys.store)
    let selection = tokens.selected.flatMap { $0 as? CPUSelection }
    if tokens.selected != nil && selection == nil { throw TamisError(.device, "the selection was made on another device") }
    let selectedCount = selection?.count ?? 0
    let rows = AttendedRows(
      keys, store, tokens, selected: selection.map { UnsafePointer($0.tokens) }, selectedCount: selectedCount)
    let c = q.shape[1]
    let position = rule.positions == .natural ? keys.count - c : rows.count - c
    try split(q, rows, kvHeads: store.layout.kvHeads, rule, firstToken: keys.count - c, causal: true, position, out, lse, nil)
  }

  public func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError) {
    if !rule.rope.isNone { throw TamisError(.unsupported, "rope: attention over tensors takes keys and queries as given") }
    if mask.blas {
      try attendPlain(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress)
      return
    }
    let rows = AttendedRows(k: k, v: v)
    try split(
      q, rows, kvHeads: k.shape[0], rule, firstToken: mask.queryOffset, causal: mask.causal, mask.queryOffset, out, lse, progress)
  }

  /// Query i stands at token firstToken + i.
  private func split(
    _ q: TensorView, _ list: AttendedRows, kvHeads: Int, _ rule: AttentionRule, firstToken: Int, causal: Bool,
    _ firstPosition: Int, _ out: TensorView, _ lse: TensorView?, _ progress: Progress?
  ) throws(TamisError) {
    let c = q.shape[1]
    let d = list.headDim
    if c == 0 || q.shape[0] == 0 { return }
    let group = q.shape[0] / kvHeads
    let plan = SplitAttention.plan(count: list.count, c: c, group: group, kvHeads: kvHeads)
    let rowsPerTask = plan.queriesPerTask * group
    let absolute = !rule.rope.isNone && rule.positions == .natural ? list.selectedCount : 0
    let partialCount = plan.parts == 1 ? 0 : kvHeads * plan.queryGroups * plan.parts * rowsPerTask * (d + 2)

    shared.reset(
      reserving: Scratch.bytes(Int32.self, list.listedCount) + Rotation.bytes(rule.rope, selected: absolute)
        + 2 * Scratch.bytes(Int.self, c) + Scratch.bytes(Float.self, partialCount))
    var rows = list
    rows.listRows(in: shared.take(Int32.self, list.listedCount))
    let rotation = Rotation(rule.rope, selected: absolute, in: shared, kernels)
    if absolute > 0 {
      let tokens = rows.selected!
      let piece = 128
      pool.run((absolute + piece - 1) / piece) { task, _ in
        rotation.fillSelected(tokens, task * piece..<min(absolute, (task + 1) * piece), kernels)
      }
    }
    let low = shared.take(Int.self, c)
    let high = shared.take(Int.self, c)
    for i in 0..<c {
      let token = firstToken + i
      high[i] = causal ? rows.places(before: token + 1) : rows.count
      low[i] = rule.window > 0 ? rows.places(before: token - rule.window + 1) : 0
    }
    let work = SplitAttention(
      rows: rows, rotation: rotation, rule: rule, q: q, out: out, lse: lse, group: group, c: c, firstPosition: firstPosition,
      low: low, high: high, table: kernels, kernels: RowKernels(kernels, rows.dtype), queriesPerTask: plan.queriesPerTask,
      queryGroups: plan.queryGroups, part: plan.part, parts: plan.parts,
      partial: partialCount == 0 ? nil : shared.take(Float.self, partialCount))
    try run(work, progress)
  }

  private func run(_ work: SplitAttention, _ progress: Progress?) throws(TamisError) {
    let total = work.taskCount
    // With somebody to ask, ask now and then; otherwise one region.
    let step = progress == nil ? total : max(64, total / 64)
    var done = 0
    while done < total {
      let n = min(step, total - done)
      let first = done
      pool.run(n) { task, worker in work.run(first + task, workers[worker]) }
      done += n
      if let progress, !progress(Double(done) / Double(total)) { throw TamisError(.cancelled, "progress returned 0") }
    }
    if work.parts > 1 {
      pool.run(work.kvHeads * work.queryGroups) { task, worker in work.merge(task, workers[worker]) }
    }
  }
}
