import CShims
import TamisCore

/// Exact attention of many queries over lists of key tiles: the arithmetic of `TiledAttention` on the places of a list instead
/// of the places of all keys (docs/architecture.md).
///
/// A task is a query block and a list: its rows are the block's queries of one query head, or of all heads of a KV head where
/// these share a list, so that keys and values are read once. Neighbouring tiles merge into runs, and up to 256 places make a
/// step, as 256 keys do without a list: a row whose list leaves out nothing gets the bits of dense attention.
struct SparseAttention {
  private let queries: QueryPanels
  private let rows: AttendedRows
  private let lists: TileLists
  private let mask: DenseMask
  private let kvHeads: Int
  private let panels: Int
  /// One KV head after the other, so that its keys and values stay in the last-level cache; the most work first within one, so
  /// that threads finish together.
  private let tasks: [Task]

  private struct Task {
    var firstHead, list, block, firstRow: Int
    var places: Int
  }

  init(_ queries: QueryPanels, _ rows: AttendedRows, _ lists: TileLists, _ mask: DenseMask, kvHeads: Int, threads: Int) {
    self.queries = queries
    self.rows = rows
    self.lists = lists
    self.mask = mask
    self.kvHeads = kvHeads
    let heads = queries.q.shape[0]
    let count = queries.q.shape[1]
    // Heads whose rows make one task, and how many lists a KV head has.
    let sharing = lists.heads == heads ? 1 : heads / kvHeads
    let blockPanels = (min(lists.queryBlock, count) * sharing + QueryPanels.lanes - 1) / QueryPanels.lanes
    panels = min(QueryPanels.most, blockPanels, max(1, blockPanels * lists.blocks * heads / sharing / threads))
    var tasks: [Task] = []
    for firstHead in stride(from: 0, to: heads, by: sharing) {
      let list = lists.heads == 1 ? 0 : firstHead / sharing
      for block in 0..<lists.blocks {
        let first = block * lists.queryBlock
        let last = min(first + lists.queryBlock, count) - 1
        let places = ListedPlaces(tiles: lists.row(list, block), tileKeys: lists.keyBlock, keys: rows.count)
        let low = mask.seen(by: first, window: queries.rule.window, of: rows.count).lowerBound
        let high = mask.seen(by: last, window: queries.rule.window, of: rows.count).upperBound
        let seen = places.places(before: high) - places.places(before: low)
        for row in stride(from: 0, to: (last + 1 - first) * sharing, by: panels * QueryPanels.lanes) {
          tasks.append(Task(firstHead: firstHead, list: list, block: block, firstRow: row, places: seen))
        }
      }
    }
    let group = heads / kvHeads
    // The order decides when a task runs, not what it writes; stable, so that blocks of the same work keep theirs.
    self.tasks = tasks.enumerated().sorted { a, b in
      let (x, y) = (a.element.firstHead / group, b.element.firstHead / group)
      if x != y { return x < y }
      if a.element.places != b.element.places { return a.element.places > b.element.places }
      return a.offset < b.offset
    }.map(\.element)
  }

  var taskCount: Int { tasks.count }
  /// The same number for every KV head.
  var tasksPerHead: Int { tasks.count / kvHeads }

  func run(_ task: Int, _ keys: PreparedKeys, _ scratch: Scratch) {
    let task = tasks[task]
    let heads = lists.heads == queries.q.shape[0] ? 1 : queries.q.shape[0] / kvHeads
    let firstQuery = task.block * lists.queryBlock
    let these = QueryPanels.Rows(
      firstHead: task.firstHead, heads: heads, firstQuery: firstQuery,
      count: min(lists.queryBlock, queries.q.shape[1] - firstQuery) * heads)
    let list = ListedPlaces(tiles: lists.row(task.list, task.block), tileKeys: lists.keyBlock, keys: rows.count)
    let count = min(panels, (these.count - task.firstRow + QueryPanels.lanes - 1) / QueryPanels.lanes)
    let kvHead = task.firstHead / (queries.q.shape[0] / kvHeads)
    let biased = queries.rule.keyZeroBias != nil && list.tiles.first == 0

    let s = PanelScratch(queries, panels: panels, scratch)
    for p in 0..<count {
      queries.open(p, these, task.firstRow + p * QueryPanels.lanes, s) { query in
        let seen = mask.seen(by: query, window: queries.rule.window, of: rows.count)
        return (list.places(before: seen.lowerBound), list.places(before: seen.upperBound))
      }
    }
    let (begin, end) = queries.span(count, s)
    var place = begin / QueryPanels.stepKeys * QueryPanels.stepKeys
    while place < end {
      let step = keys.step(kvHead, list, place, min(QueryPanels.stepKeys, end - place), s)
      for p in 0..<count { queries.attend(p, step, biased: biased, pvThreshold: mask.pvThreshold, s) }
      place += step.keys
    }
    for p in 0..<count { queries.close(p, these, task.firstRow + p * QueryPanels.lanes, s) }
  }
}

extension CPUBackend {
  public func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, tiles: TileLists, out: TensorView,
    lse: TensorView?, progress: Progress?
  ) throws(TamisError) {
    if !rule.rope.isNone { throw TamisError(.unsupported, "rope: attention over tensors takes keys and queries as given") }
    if mask.blas { throw TamisError(.unsupported, "compute is TAMIS_COMPUTE_BLAS; expected a tiled form for lists of tiles") }
    if q.shape[0] == 0 || q.shape[1] == 0 { return }
    if tiles.leaveNothingOut(mask, window: rule.window, queries: q.shape[1], keys: k.shape[1]) {
      try attend(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress)
      return
    }
    let kvHeads = k.shape[0]
    levelScratch()
    shared.reset(reserving: Rotation.bytes(rule.rope, selected: 0))
    let rows = AttendedRows(k: k, v: v)
    let queries = QueryPanels(
      q: q, out: out, lse: lse, dtype: k.dtype, rule: rule, rotation: Rotation(rule.rope, selected: 0, in: shared, kernels),
      firstPosition: mask.queryOffset, table: kernels,
      f32Products: mask.f32Products || q.dtype != .bf16 || k.dtype != .bf16)
    let work = SparseAttention(queries, rows, tiles, mask, kvHeads: kvHeads, threads: threads)
    // Copies of one KV head at a time, or of as many as keep the threads busy.
    let perHead = work.tasksPerHead
    let heads =
      PreparedKeys.copyBytes(queries, rows, tiles) == 0
      ? kvHeads : min(kvHeads, (4 * threads + perHead - 1) / perHead)
    let keys = try PreparedKeys(queries, rows, tiles, heads: heads)
    for first in stride(from: 0, to: kvHeads, by: heads) {
      let n = min(heads, kvHeads - first)
      keys.prepare(first, n, of: kvHeads, pool)
      let part: Progress? = progress.map { whole in { done in whole((Double(first) + done * Double(n)) / Double(kvHeads)) } }
      try run(n * perHead, part) { work.run(first * perHead + $0, keys, $1) }
    }
  }
}
