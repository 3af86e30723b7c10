import CShims
public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Score: logits of all heads for every candidate token and their vote (TokenSelect, arXiv 2411.02886, eq. 7 and 8).
///
/// Tasks are blocks of `block` tokens, aligned to multiples of `block`. A block's logits lie together, [qHeads][block], and
/// become e = exp(z - m) with a maximum of the block's own; once every block's (m, sum e) is known, vote_j = sum_h c_h e_hj
/// with c_h = exp(m - M_h) / L_h. Heads are added in ascending order, so the bits do not depend on the number of threads.
struct Scoring {
  static let block = 512

  let store: CPUStore
  let keys: CachedKeys
  let candidates: Range<Int>
  let queries: tk_queries
  /// Query heads in the order in which `queries` holds them: those of KV head 0, of KV head 1, ..
  let heads: UnsafePointer<Int32>
  let group: Int
  let qHeads: Int
  /// [blocks][qHeads][block]
  let z: UnsafeMutablePointer<Float>
  let table: UnsafePointer<tk_table>
  let kernels: RowKernels

  var firstBlock: Int { candidates.lowerBound / Self.block }
  var blocks: Int { candidates.isEmpty ? 0 : (candidates.upperBound - 1) / Self.block - firstBlock + 1 }

  /// Candidate tokens of block b.
  func tokens(_ b: Int) -> Range<Int> {
    let from = (firstBlock + b) * Self.block
    return max(from, candidates.lowerBound)..<min(from + Self.block, candidates.upperBound)
  }

  func logits(_ b: Int, _ scratch: Scratch) {
    let tokens = tokens(b)
    let pageTokens = store.layout.pageTokens
    // Tiles are scored whole; a page's span of a block needs at most 30 more places than it has tokens.
    let room = Self.block + 32
    scratch.reset(reserving: Scratch.bytes(Float.self, group * room))
    let part = scratch.take(Float.self, group * room)
    for h in 0..<store.layout.kvHeads {
      let q = queries.slice(h * group, group)
      var token = tokens.lowerBound
      while token < tokens.upperBound {
        let slot = token % pageTokens
        let n = min(pageTokens - slot, tokens.upperBound - token)
        let row = Int(keys.pages[token / pageTokens]) * store.layout.pageRows + h * pageTokens + slot
        let skip = score(row, n, q, part, room, next: nextRow(token + n, h, tokens))
        for g in 0..<group {
          let home = z + (b * qHeads + Int(heads[h * group + g])) * Self.block + token - tokens.lowerBound
          home.update(from: part + g * room + skip, count: n)
        }
        token += n
      }
    }
  }

  /// The row to be scored after the run that ends before `token`: the next page's, the next head's, or the next block's.
  private func nextRow(_ token: Int, _ h: Int, _ tokens: Range<Int>) -> Int {
    let more = token < tokens.upperBound
    let sameBlock = more || h + 1 < store.layout.kvHeads
    let next = more ? token : sameBlock ? tokens.lowerBound : min(token, candidates.upperBound - 1)
    let head = more ? h : sameBlock ? h + 1 : 0
    let pageTokens = store.layout.pageTokens
    return Int(keys.pages[next / pageTokens]) * store.layout.pageRows + head * pageTokens + next % pageTokens
  }

  /// Logits of n rows from `row` on; `next` is where the run after this one begins. Returns where in `out` the first one lies.
  private func score(_ row: Int, _ n: Int, _ q: tk_queries, _ out: UnsafeMutablePointer<Float>, _ stride: Int, next: Int) -> Int
  {
    let d = store.layout.headDim
    var q = q
    if let copy = store.layout.scoringCopy {
      let skip = row % 16
      let first = row - skip
      let tileCount = (skip + n + 15) / 16
      let tiles = UnsafeRawPointer(store.tiles(keys.layer)! + first * d * copy.size)
      if copy == .i8 {
        table.pointee.score_i8(tiles, store.tileScales(keys.layer)! + first, tileCount, &q, out, stride)
      } else {
        table.pointee.score_bf16(tiles, nil, tileCount, &q, out, stride)
      }
      return skip
    }
    let size = store.layout.dtype.size
    var rows = tk_rows(
      base: store.keys(keys.layer) + row * d * size, rows: nil, stride: d,
      scale: store.keyScales(keys.layer).map { UnsafePointer($0 + row) }, scale_stride: 1, ahead: nil,
      ahead_count: 0)
    var following = rows
    following.base = UnsafeRawPointer(store.keys(keys.layer) + next * d * size)
    withUnsafePointer(to: following) {
      rows.ahead = $0
      rows.ahead_count = n
      kernels.dot(&rows, n, &q, out, stride)
    }
    return 0
  }

  /// Logits to exponentials of block b; writes m and sum at [head][blocks].
  /// Meanwhile the keys of block `next`, which this worker is likely to score next, come near: memory would rest otherwise.
  func exponentials(_ b: Int, _ m: UnsafeMutablePointer<Float>, _ sum: UnsafeMutablePointer<Float>, next: Int) {
    let n = tokens(b).count
    for h in 0..<qHeads {
      sum[h * blocks + b] = table.pointee.vote_exp(
        z + (b * qHeads + h) * Self.block, n, m + h * blocks + b, keyBytes(next, offset: 8 * Self.block * h))
    }
  }

  /// Where the bytes from `offset` on of block b's keys, all heads of a page together, lie.
  private func keyBytes(_ b: Int, offset: Int) -> UnsafeRawPointer? {
    if b >= blocks { return nil }
    let layout = store.layout
    let size = (layout.scoringCopy ?? layout.dtype).size
    let pageBytes = layout.pageElements * size
    let page = tokens(b).lowerBound / layout.pageTokens + offset / pageBytes
    if page * layout.pageTokens >= candidates.upperBound { return nil }
    let base = UnsafeRawPointer(layout.scoringCopy == nil ? store.keys(keys.layer) : store.tiles(keys.layer)!)
    return base + Int(keys.pages[page]) * pageBytes + offset % pageBytes
  }

  /// c[block][head] = exp(m - M_h) / L_h; `m` becomes exp(m - M_h).
  func weights(_ m: UnsafeMutablePointer<Float>, _ sum: UnsafePointer<Float>, _ c: UnsafeMutablePointer<Float>) {
    for h in 0..<qHeads {
      var top: Float = 0
      let mh = m + h * blocks
      _ = table.pointee.vote_exp(mh, blocks, &top, nil)
      var total: Float = 0
      for b in 0..<blocks where sum[h * blocks + b] > 0 { total += mh[b] * sum[h * blocks + b] }
      for b in 0..<blocks { c[b * qHeads + h] = total > 0 && sum[h * blocks + b] > 0 ? mh[b] / total : 0 }
    }
  }

  func vote(_ b: Int, _ c: UnsafePointer<Float>, _ votes: UnsafeMutablePointer<Float>) {
    let tokens = tokens(b)
    table.pointee.vote_sum(
      z + b * qHeads * Self.block, Self.block, c, Int32(qHeads), tokens.count,
      votes + (tokens.lowerBound - candidates.lowerBound))
  }

  /// Logits of one head in candidate order.
  func copyHead(_ h: Int, to: UnsafeMutablePointer<Float>) {
    for b in 0..<blocks {
      let tokens = tokens(b)
      let home = to + (tokens.lowerBound - candidates.lowerBound)
      home.update(from: z + (b * qHeads + h) * Self.block, count: tokens.count)
      table.pointee.clean_logits(home, tokens.count)
    }
  }
}

extension CPUBackend {
  public func score(
    query: UnsafePointer<Float>, qHeads: Int, over keys: CachedKeys, candidates: Range<Int>, rule: VoteRule,
    into scores: any TokenScores
  ) throws(TamisError) {
    let store = try own(keys.store)
    guard let scores = scores as? CPUScores else { throw TamisError(.device, "the scores were made on another device") }
    scores.reset(candidates)
    if candidates.isEmpty { return }
    let kvHeads = store.layout.kvHeads
    let d = store.layout.headDim
    let group = qHeads / kvHeads
    let n = candidates.count
    let blocks = (candidates.upperBound - 1) / Scoring.block - candidates.lowerBound / Scoring.block + 1
    let pooled = rule.pool > 1
    shared.reset(
      reserving: tk_queries.bytes(count: qHeads, dim: d) + Scratch.bytes(Int32.self, qHeads)
        + Scratch.bytes(Float.self, blocks * qHeads * Scoring.block) + 3 * Scratch.bytes(Float.self, blocks * qHeads)
        + (rule.kind == .heads ? Scratch.bytes(Float.self, n) : 0) + (pooled ? Scratch.bytes(Float.self, n) : 0))
    let queries = tk_queries(count: qHeads, dim: d, in: shared)
    let order = shared.take(Int32.self, qHeads)
    for h in 0..<kvHeads {
      for g in 0..<group {
        let head = rule.headMap == .group ? h * group + g : g * kvHeads + h
        order[h * group + g] = Int32(head)
        (queries.f32! + (h * group + g) * d).update(from: query + head * d, count: d)
      }
    }
    for h in 0..<kvHeads { withUnsafePointer(to: queries.slice(h * group, group)) { kernels.pointee.prepare_queries($0) } }
    let work = Scoring(
      store: store, keys: keys, candidates: candidates, queries: queries, heads: order, group: group, qHeads: qHeads,
      z: shared.take(Float.self, blocks * qHeads * Scoring.block), table: kernels,
      kernels: RowKernels(kernels, store.layout.dtype))
    let m = shared.take(Float.self, blocks * qHeads)
    let sum = shared.take(Float.self, blocks * qHeads)
    let c = shared.take(Float.self, blocks * qHeads)
    switch rule.kind {
    case .soft:
      let region = Region(work: work, workers: workers, m: m, sum: sum, c: c, votes: scores.votes)
      withUnsafePointer(to: region) {
        pool.run(blocks, $0) { context, b, worker in
          let region = context.assumingMemoryBound(to: Region.self)
          region.pointee.work.logits(b, region.pointee.workers[worker])
          region.pointee.work.exponentials(b, region.pointee.m, region.pointee.sum, next: b + region.pointee.workers.count)
        }
      }
      work.weights(m, sum, c)
      withUnsafePointer(to: region) {
        pool.run(blocks, $0) { context, b, _ in
          let region = context.assumingMemoryBound(to: Region.self)
          region.pointee.work.vote(b, region.pointee.c + b * region.pointee.work.qHeads, region.pointee.votes)
        }
      }
    case .topK:
      for h in 0..<qHeads { c[h] = 1 }
      pool.run(blocks) { b, worker in
        work.logits(b, workers[worker])
        for h in 0..<qHeads { kernels.pointee.clean_logits(work.z + (b * qHeads + h) * Scoring.block, work.tokens(b).count) }
        work.vote(b, c, scores.votes)
      }
    case .heads:
      pool.run(blocks) { b, worker in work.logits(b, workers[worker]) }
      scores.votes.update(repeating: 0, count: n)
      let logits = shared.take(Float.self, n)
      for h in 0..<qHeads {
        work.copyHead(h, to: logits)
        if rule.topK >= n {
          for t in 0..<n { scores.votes[t] += 1 }
        } else if rule.topK > 0 {
          let bound = TopK.threshold(logits, count: n, k: rule.topK, kernels: kernels)
          kernels.pointee.count_top(logits, n, bound.key, bound.ties, scores.votes)
        }
      }
    }
    if pooled {
      let plain = shared.take(Float.self, n)
      plain.update(from: scores.votes, count: n)
      kernels.pointee.max_pool(plain, n, rule.pool, scores.votes)
    }
  }

  public func select(_ k: Int, from scores: any TokenScores, into selection: any TokenSelection) throws(TamisError) {
    guard let scores = scores as? CPUScores, let selection = selection as? CPUSelection else {
      throw TamisError(.device, "the scores or the selection were made on another device")
    }
    let n = scores.candidates.count
    selection.reset(max(0, min(k, n)))
    _ = TopK.select(
      scores.votes, count: n, k: k, offset: scores.candidates.lowerBound, into: selection.tokens, kernels: kernels)
  }
}

/// What a parallel region of scoring needs, where a plain function can find it.
private struct Region {
  let work: Scoring
  let workers: [Scratch]
  let m: UnsafeMutablePointer<Float>
  let sum: UnsafeMutablePointer<Float>
  let c: UnsafeMutablePointer<Float>
  let votes: UnsafeMutablePointer<Float>
}
