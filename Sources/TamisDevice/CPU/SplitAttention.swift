import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Attention of a few queries over a long list, split over the list as in Flash-Decoding: a task is one KV head, one group of
/// queries and one part of the list; each key and value row is read once for all query heads of the group. Part sizes depend
/// on shapes only and parts are merged in order, so the bits do not depend on the number of threads.
struct SplitAttention {
  let rows: AttendedRows
  let rotation: Rotation
  let rule: AttentionRule
  let q: TensorView
  let out: TensorView
  let lse: TensorView?
  /// Query heads of a KV head.
  let group: Int
  /// Queries [first, ..) of the tensor, c in all.
  let c: Int
  /// Position by which query 0 turns.
  let firstPosition: Int
  /// Places [low[i], high[i]) that query i may see.
  let low: UnsafePointer<Int>
  let high: UnsafePointer<Int>
  let table: UnsafePointer<tk_table>
  let kernels: RowKernels
  /// Keys and values are widened to f32 before the products, which else would round queries and weights to fit them.
  let widens: Bool

  /// Queries (of one head) per task.
  let queriesPerTask: Int
  let queryGroups: Int
  let part: Int
  let parts: Int
  /// [kvHead][queryGroup][part][row] of m, l and o[d]; unused when there is one part.
  let partial: UnsafeMutablePointer<Float>?

  var rowsPerTask: Int { queriesPerTask * group }
  var partialSize: Int { rowsPerTask * (rows.headDim + 2) }
  static var stride: Int { AttendedRows.block }

  /// The split, from shapes alone.
  static func plan(count: Int, c: Int, group: Int, kvHeads: Int) -> (queriesPerTask: Int, queryGroups: Int, part: Int, parts: Int) {
    let perTask = min(c, max(1, 8 / group))
    let groups = (c + perTask - 1) / perTask
    let wanted = max(1, 128 / max(1, kvHeads * groups))
    let even = (count + wanted - 1) / wanted
    let part = max(512, (even + 63) / 64 * 64)
    return (perTask, groups, part, max(1, (count + part - 1) / part))
  }

  static func workerBytes(rowsPerTask r: Int, dim d: Int, half: Int) -> Int {
    2 * tk_queries.bytes(count: r, dim: d) + Scratch.bytes(Float.self, r * stride) + Scratch.bytes(Float.self, r * d)
      + 2 * Scratch.bytes(Float.self, r) + Scratch.bytes(Float.self, stride * d) + 2 * Scratch.bytes(Float.self, half)
  }

  var taskCount: Int { kvHeads * queryGroups * parts }
  var kvHeads: Int { q.shape[0] / group }

  /// Runs task `task` with scratch of `workerBytes`.
  func run(_ task: Int, _ scratch: Scratch) {
    let part = task % parts
    let queryGroup = task / parts % queryGroups
    let head = task / parts / queryGroups
    let first = queryGroup * queriesPerTask
    let n = min(queriesPerTask, c - first)
    let d = rows.headDim
    scratch.reset(reserving: Self.workerBytes(rowsPerTask: rowsPerTask, dim: d, half: rotation.half))
    let state = State(rows: n * group, d: d, half: rotation.half, scratch)
    for i in 0..<n {
      for g in 0..<group { q.loadRow(head * group + g, first + i, to: state.q.f32! + (i * group + g) * d, table) }
    }
    if rotation.half == 0 && rows.dtype != .f32 && rows.dtype != .f16 {
      withUnsafePointer(to: state.q) { table.pointee.prepare_queries($0) }
    }
    attend(head, first, n, part * self.part, min(rows.count, (part + 1) * self.part), state)
    reorder(state.o, n * group)
    if parts == 1 {
      for r in 0..<n * group {
        finish(head, first + r / group, r % group, m: state.m[r], l: state.l[r], state.o + r * d)
      }
      return
    }
    let home = partial! + ((head * queryGroups + queryGroup) * parts + part) * partialSize
    for r in 0..<n * group {
      home[r] = state.m[r]
      home[rowsPerTask + r] = state.l[r]
    }
    (home + 2 * rowsPerTask).update(from: state.o, count: n * group * d)
  }

  /// What one task carries from block to block.
  struct State {
    let q: tk_queries
    let turned: tk_queries
    let z: UnsafeMutablePointer<Float>
    let o: UnsafeMutablePointer<Float>
    let m: UnsafeMutablePointer<Float>
    let l: UnsafeMutablePointer<Float>
    let keys: UnsafeMutablePointer<Float>
    let cos: UnsafeMutablePointer<Float>
    let sin: UnsafeMutablePointer<Float>

    init(rows r: Int, d: Int, half: Int, _ scratch: Scratch) {
      q = tk_queries(count: r, dim: d, in: scratch)
      turned = tk_queries(count: r, dim: d, in: scratch)
      z = scratch.take(Float.self, r * SplitAttention.stride)
      o = scratch.take(Float.self, r * d)
      m = scratch.take(Float.self, r)
      l = scratch.take(Float.self, r)
      keys = scratch.take(Float.self, SplitAttention.stride * d)
      cos = scratch.take(Float.self, half)
      sin = scratch.take(Float.self, half)
      for i in 0..<r {
        m[i] = -.infinity
        l[i] = 0
      }
      for i in 0..<r * d { o[i] = 0 }
    }
  }

  private func attend(_ head: Int, _ first: Int, _ n: Int, _ from: Int, _ to: Int, _ state: State) {
    var least = Int.max
    var most = 0
    for i in first..<first + n where low[i] < high[i] {
      least = min(least, low[i])
      most = max(most, high[i])
    }
    var place = max(from, least)
    let end = min(to, most)
    if place >= end { return }
    // Short blocks keep what comes near in the first-level cache; int8 pays for its weights once per block.
    let span = rows.dtype == .i8 && rotation.half == 0 ? AttendedRows.block : Rotation.span
    var block = rows.block(at: place, before: end, most: span)
    while true {
      // Memory never rests: a block's values come near while its keys are worked on, the next keys while its values are.
      let after = place + block.count
      let next = after < end ? rows.block(at: after, before: end, most: span) : nil
      logits(head, first, n, place, block, next, state)
      weigh(head, first, n, place, block, next, state)
      guard let next else { return }
      place = after
      block = next
    }
  }

  /// z = q . k of a block, keys and queries turned to where they stand.
  private func logits(
    _ head: Int, _ first: Int, _ n: Int, _ place: Int, _ block: AttendedRows.Block, _ next: AttendedRows.Block?, _ state: State
  ) {
    var keys = rows.keyRows(block, head: head)
    let d = rows.headDim
    let gathers = gathers(block)
    if rotation.half == 0 && !gathers {
      withUnsafePointer(to: rows.valueRows(block, head: head)) { values in
        keys.ahead = values
        keys.ahead_count = block.count
        withUnsafePointer(to: state.q) { kernels.dot(&keys, block.count, $0, state.z, Self.stride) }
      }
      return
    }
    if rotation.half == 0 {
      gather(&keys, block, next.map { rows.keyRows($0, head: head) }, next?.count ?? 0, state, turned: nil)
      dot(state.q, head, block, state)
      return
    }
    let natural = rule.positions == .natural
    let start = natural ? (block.isSelected ? 0 : rows.token(at: place)) : place
    let offset = (place - rows.sinks) * rotation.half
    let absolute = natural && block.isSelected
    let cos = UnsafePointer(absolute ? rotation.selectedCos! + offset : rotation.cos)
    let sin = UnsafePointer(absolute ? rotation.selectedSin! + offset : rotation.sin)
    gather(&keys, block, next.map { rows.keyRows($0, head: head) }, next?.count ?? 0, state, turned: (cos, sin))
    state.turned.f32!.update(from: state.q.f32!, count: n * group * d)
    for i in 0..<n {
      table.pointee.angles(Double(firstPosition + first + i - start), rotation.frequency, rotation.half, state.cos, state.sin)
      rotation.turn(state.turned.f32! + i * group * d, group, d, state.cos, state.sin, stride: 0, table)
    }
    dot(state.turned, head, block, state)
  }

  /// Whether a block's rows go through scratch. Rows that lie apart do: in a loop that only copies them and asks for those of
  /// the next block memory is busy all the time, and the products then find everything near. Rows of half the bytes or fewer
  /// have products that keep pace by themselves.
  private func gathers(_ block: AttendedRows.Block) -> Bool { widens || (block.rows != nil && rows.dtype == .f32) }

  /// Copies rows to scratch as f32 while the rows of the next block come near; `turned`: by these cosines and sines.
  private func gather(
    _ from: inout tk_rows, _ block: AttendedRows.Block, _ next: tk_rows?, _ nextCount: Int, _ state: State,
    turned: (cos: UnsafePointer<Float>, sin: UnsafePointer<Float>)?
  ) {
    guard let next, block.rows != nil else {
      gather(&from, block.count, state, turned)
      return
    }
    withUnsafePointer(to: next) { next in
      from.ahead = next
      from.ahead_count = nextCount
      gather(&from, block.count, state, turned)
    }
  }

  private func gather(
    _ from: inout tk_rows, _ n: Int, _ state: State, _ turned: (cos: UnsafePointer<Float>, sin: UnsafePointer<Float>)?
  ) {
    let d = rows.headDim
    guard let (cos, sin) = turned else {
      kernels.gather(&from, n, Int32(d), state.keys)
      return
    }
    let half = rotation.half
    if rotation.rope.style == .half {
      kernels.turn(&from, n, Int32(d), Int32(half), cos, sin, half, state.keys)
    } else {
      kernels.gather(&from, n, Int32(d), state.keys)
      rotation.turn(state.keys, n, d, cos, sin, stride: half, table)
    }
  }

  /// z = q . k of the gathered keys of a block, while its values come near.
  private func dot(_ queries: tk_queries, _ head: Int, _ block: AttendedRows.Block, _ state: State) {
    if gathers(block) {
      var keys = widened(state.keys)
      withUnsafePointer(to: queries) { table.pointee.dot_f32(&keys, block.count, $0, state.z, Self.stride) }
      return
    }
    // The kernel measures rows in its own elements, of four bytes.
    var following = rows.valueRows(block, head: head)
    following.stride = following.stride * rows.dtype.size / 4
    withUnsafePointer(to: following) { values in
      // Not while keys are gathered: prefetches that come faster than memory answers are dropped.
      var keys = tk_rows(
        base: state.keys, rows: nil, stride: rows.headDim, scale: nil, scale_stride: 0, ahead: values, ahead_count: block.count)
      withUnsafePointer(to: queries) { table.pointee.dot_f32(&keys, block.count, $0, state.z, Self.stride) }
    }
  }

  /// Softmax and p.V of a block. Where some query may not see all of it, each query gets its own range, so that a value no
  /// query sees, NaN or not, is never touched on its behalf.
  private func weigh(_ head: Int, _ first: Int, _ n: Int, _ place: Int, _ block: AttendedRows.Block, _ next: AttendedRows.Block?, _ state: State) {
    let d = rows.headDim
    var values = rows.valueRows(block, head: head)
    let all = n * group
    let biases = rows.token(at: place) == 0 ? rule.keyZeroBias : nil
    let log2e: Float = 1.442_695_04
    var whole = true
    for r in 0..<all {
      let i = first + r / group
      let from = max(low[i] - place, 0)
      let to = min(high[i] - place, block.count)
      if from > 0 || to < block.count { whole = false }
      if from >= to { continue }
      let z = state.z + r * Self.stride
      // A head without a bias has the bits of attention without biases.
      let bias = from == 0 ? biases?[head * group + r % group] ?? 0 : 0
      let plain = rule.softcap == 0 && bias == 0
      if !plain {
        table.pointee.scale_cap(z + from, to - from, rule.scale, rule.softcap)
        z[from] += bias
      }
      let a = plain ? rule.scale * log2e : log2e
      let worth = table.pointee.softmax_block(z + from, to - from, a, state.m + r, state.l + r)
      if worth != 1 { table.pointee.scale_by(state.o + r * d, d, worth) }
    }
    let gathers = gathers(block)
    let accumulate = gathers ? table.pointee.accumulate_f32 : kernels.accumulate
    if gathers {
      gather(&values, block, next.map { rows.valueRows($0, head: head) }, next?.count ?? 0, state, turned: nil)
      values = widened(state.keys)
    }
    if whole {
      let following = next ?? block
      withUnsafePointer(to: rows.keyRows(following, head: head)) { keys in
        if next != nil && !gathers {
          values.ahead = keys
          values.ahead_count = following.count
        }
        accumulate(&values, block.count, state.z, Self.stride, Int32(all), Int32(d), state.o)
      }
      return
    }
    reorder(state.o, all)
    for r in 0..<all {
      let i = first + r / group
      let from = max(low[i] - place, 0)
      let to = min(high[i] - place, block.count)
      if from >= to { continue }
      var part = block
      if let list = block.rows { part.rows = list + from } else { part.firstRow += from }
      var seen = gathers ? widened(state.keys + from * d) : rows.valueRows(part, head: head)
      accumulate(&seen, to - from, state.z + r * Self.stride + from, Self.stride, 1, Int32(d), state.o + r * d)
    }
    reorder(state.o, all)
  }

  /// The columns of int8 rows' sums to their natural order, or back to that of the kernel.
  private func reorder(_ o: UnsafeMutablePointer<Float>, _ count: Int) {
    if rows.dtype == .i8 && !widens { table.pointee.reorder_i8(o, Int32(count), Int32(rows.headDim)) }
  }

  /// Rows of f32 in scratch.
  private func widened(_ base: UnsafePointer<Float>) -> tk_rows {
    tk_rows(base: base, rows: nil, stride: rows.headDim, scale: nil, scale_stride: 0, ahead: nil, ahead_count: 0)
  }

  // MARK: results

  /// Merges the parts of all queries of one (KV head, query group), in order.
  func merge(_ headAndGroup: Int, _ scratch: Scratch) {
    let head = headAndGroup / queryGroups
    let first = headAndGroup % queryGroups * queriesPerTask
    let n = min(queriesPerTask, c - first)
    let d = rows.headDim
    scratch.reset(reserving: Scratch.bytes(Float.self, d))
    let o = scratch.take(Float.self, d)
    let base = partial! + headAndGroup * parts * partialSize
    for r in 0..<n * group {
      var m = -Float.infinity
      for p in 0..<parts where base[p * partialSize + r] > m { m = base[p * partialSize + r] }
      var l: Float = 0
      for i in 0..<d { o[i] = 0 }
      for p in 0..<parts {
        let home = base + p * partialSize
        let mp = home[r]
        let lp = home[rowsPerTask + r]
        if mp == -.infinity && lp == 0 { continue }
        let worth = exp2f(mp - m)
        l += worth * lp
        table.pointee.add_scaled(o, home + 2 * rowsPerTask + r * d, d, worth)
      }
      finish(head, first + r / group, r % group, m: m, l: l, o)
    }
  }

  private func finish(_ head: Int, _ i: Int, _ g: Int, m: Float, l: Float, _ o: UnsafeMutablePointer<Float>) {
    let d = rows.headDim
    let h = head * group + g
    let empty = l == 0
    table.pointee.scale_by(o, d, empty ? 0 : 1 / l)
    out.storeRow(h, i, from: o, table)
    if let lse {
      let value = empty ? -Float.infinity : Float((Double(m) + log2(Double(l))) * 0.693_147_180_559_945_3)
      lse.data.assumingMemoryBound(to: Float.self)[h * lse.stride[0] + i * lse.stride[1]] = value
    }
  }
}
