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
    let queries = Queries(q: q, out: out, lse: lse, kvHeads: store.layout.kvHeads, token: keys.count - c, position: position)
    try attend(queries, rows, rule, nil)
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
    let queries = Queries(
      q: q, out: out, lse: lse, kvHeads: k.shape[0], token: mask.queryOffset, position: mask.queryOffset, causal: mask.causal,
      f32Products: mask.f32Products || q.dtype != .bf16 || k.dtype != .bf16, pvThreshold: mask.pvThreshold)
    try attend(queries, AttendedRows(k: k, v: v), rule, progress)
  }

  public func attend(
    q: TensorView, k: TensorView, v: TensorView, tokens: UnsafeBufferPointer<Int32>, rule: AttentionRule, mask: DenseMask,
    out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    let queries = Queries(
      q: q, out: out, lse: lse, kvHeads: k.shape[0], token: mask.queryOffset, position: mask.queryOffset, causal: mask.causal,
      f32Products: mask.f32Products || mask.blas || q.dtype != .bf16 || k.dtype != .bf16)
    try attend(queries, AttendedRows(k: k, v: v, tokens: tokens), rule, nil)
  }

  /// Queries and where their answers go. Query i stands at token `token` + i and turns by position `position` + i.
  private struct Queries {
    var q: TensorView
    var out: TensorView
    var lse: TensorView?
    var kvHeads: Int
    var token: Int
    var position: Int
    var causal = true
    var f32Products = false
    var pvThreshold: Float = 0

    var count: Int { q.shape[1] }
    var group: Int { q.shape[0] / kvHeads }
  }

  /// Tiles where queries fill their lanes, the split form otherwise.
  private func attend(
    _ queries: Queries, _ list: AttendedRows, _ rule: AttentionRule, _ progress: Progress?
  ) throws(TamisError) {
    let c = queries.count
    let d = list.headDim
    if c == 0 || queries.q.shape[0] == 0 { return }
    levelScratch()
    let group = queries.group
    let tiled = c > 1 && c * group >= TiledAttention.lanes / 2
    let plan = SplitAttention.plan(count: list.count, c: c, group: group, kvHeads: queries.kvHeads)
    let rowsPerTask = plan.queriesPerTask * group
    let absolute = !rule.rope.isNone && rule.positions == .natural ? list.selectedCount : 0
    let partialCount = plan.parts == 1 || tiled ? 0 : queries.kvHeads * plan.queryGroups * plan.parts * rowsPerTask * (d + 2)

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
      let token = queries.token + i
      high[i] = queries.causal ? rows.places(before: token + 1) : rows.count
      low[i] = rule.window > 0 ? rows.places(before: token - rule.window + 1) : 0
    }
    if tiled {
      let work = TiledAttention(
        rows: rows, rotation: rotation, rule: rule, q: queries.q, out: queries.out, lse: queries.lse, group: group,
        firstPosition: queries.position, low: low, high: high, table: kernels, f32Products: queries.f32Products,
        pvThreshold: queries.pvThreshold, threads: threads)
      try run(work.taskCount, progress) { work.run($0, $1) }
      return
    }
    let work = SplitAttention(
      rows: rows, rotation: rotation, rule: rule, q: queries.q, out: queries.out, lse: queries.lse, group: group, c: c,
      firstPosition: queries.position, low: low, high: high, table: kernels, kernels: RowKernels(kernels, rows.dtype),
      // A level without products of bf16 pairs widens by itself.
      widens: queries.f32Products && (rows.dtype == .bf16 || rows.dtype == .i8) && kernels.pointee.prefill.scores_bf16 != nil,
      queriesPerTask: plan.queriesPerTask, queryGroups: plan.queryGroups, part: plan.part, parts: plan.parts,
      partial: partialCount == 0 ? nil : shared.take(Float.self, partialCount))
    if progress == nil {
      region(work, work.taskCount) { context, task, worker in
        let region = context.assumingMemoryBound(to: Region.self)
        region.pointee.work.run(task, region.pointee.workers[worker])
      }
    } else {
      try run(work.taskCount, progress) { work.run($0, $1) }
    }
    if work.parts > 1 {
      region(work, work.kvHeads * work.queryGroups) { context, task, worker in
        let region = context.assumingMemoryBound(to: Region.self)
        region.pointee.work.merge(task, region.pointee.workers[worker])
      }
    }
  }

  /// A parallel region without a closure, which would be allocated: a decode step allocates nothing.
  private func region(_ work: SplitAttention, _ tasks: Int, _ body: ThreadPool.Body) {
    withUnsafePointer(to: Region(work: work, workers: workers)) { pool.run(tasks, $0, body) }
  }

  func run(_ total: Int, _ progress: Progress?, _ body: (Int, Scratch) -> Void) throws(TamisError) {
    // With somebody to ask, ask now and then; otherwise one region.
    let step = progress == nil ? total : max(64, total / 64)
    var done = 0
    while done < total {
      let n = min(step, total - done)
      let first = done
      pool.run(n) { task, worker in body(first + task, workers[worker]) }
      done += n
      if let progress, !progress(Double(done) / Double(total)) { throw TamisError(.cancelled, "progress returned 0") }
    }
  }
}

/// What a parallel region of attention needs, where a plain function can find it.
private struct Region {
  let work: SplitAttention
  let workers: [Scratch]
}
