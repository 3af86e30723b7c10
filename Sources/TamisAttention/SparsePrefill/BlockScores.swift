import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// How a query block and a key tile become one number.
public enum BlockScore: Int32, Sendable {
  /// log-mean-exp of the logits of 4 query and 2 key sub-blocks' means: the training-free base of DHSA's learned score (arXiv
  /// 2510.24606 v2), which sees a short passage that a mean over the whole tile would drown.
  case logMeanExp = 0
  /// Product of the block means.
  case mean = 1

  var queryParts: Int { self == .logMeanExp ? 4 : 1 }
  var keyParts: Int { self == .logMeanExp ? 2 : 1 }
}

/// Scores of (query block, key tile) pairs from means: f32, by panels of 32 tiles.
final class BlockScores: @unchecked Sendable {
  let score: BlockScore
  let heads, blocks, tiles: Int
  private let group: Int
  private let q, k: BlockMeans
  /// Key means [kvHead][part]: panel p holds that part of tiles [32p, 32p + 32).
  private let panels: [VectorPanels]
  private let rule: AttentionRule

  /// Means of the parts of blocks and tiles; `score.queryParts` and `keyParts` of them make one.
  convenience init(_ input: SparseInput, queryBlock: Int, keyBlock: Int, _ score: BlockScore, on backend: any Backend)
    throws(TamisError)
  {
    let q = try BlockMeans(input.q, rows: queryBlock / score.queryParts, on: backend)
    let k = try BlockMeans(input.k, rows: keyBlock / score.keyParts, on: backend)
    try self.init(q: q, k: k, score, rule: input.rule)
  }

  init(q: BlockMeans, k: BlockMeans, _ score: BlockScore, rule: AttentionRule) throws(TamisError) {
    self.score = score
    self.q = q
    self.k = k
    self.rule = rule
    heads = q.heads
    group = q.heads / k.heads
    blocks = (q.blocks + score.queryParts - 1) / score.queryParts
    tiles = (k.blocks + score.keyParts - 1) / score.keyParts
    var panels: [VectorPanels] = []
    for kvHead in 0..<k.heads {
      for part in 0..<score.keyParts {
        // A last tile without this part repeats the part before; `combine` leaves it out.
        panels.append(
          try VectorPanels(tiles, dim: k.dim) {
            UnsafePointer(k.mean(kvHead, min($0 * score.keyParts + part, k.blocks - 1)))
          })
      }
    }
    self.panels = panels
  }

  /// Floats between rows of scores.
  var stride: Int { (tiles + VectorPanels.lanes - 1) / VectorPanels.lanes * VectorPanels.lanes }

  /// Calls `body(head, block, scores)` for every block of every head, `scores` indexed by tile and set within `range(block)`;
  /// blocks are spread over threads. A block whose range is empty is passed on without scores being made.
  func forEachRow(
    _ range: (Int) -> Range<Int>, on backend: any Backend,
    _ body: (_ head: Int, _ block: Int, _ scores: UnsafeMutablePointer<Float>) -> Void
  ) {
    let run = 8
    let tasks = (blocks + run - 1) / run
    backend.parallel(heads * tasks) { task in
      let head = task % heads
      // Long rows first, so that threads finish together.
      let from = (tasks - 1 - task / heads) * run
      let blocks = from..<min(from + run, self.blocks)
      let floats = run * stride + run * score.queryParts * score.keyParts * VectorPanels.lanes
      let room = UnsafeMutableRawPointer.allocate(byteCount: floats * 4, alignment: 64)
      defer { room.deallocate() }
      let memory = room.bindMemory(to: Float.self, capacity: floats)
      fill(head, blocks, range, memory, memory + run * stride)
      for b in blocks { body(head, b, memory + (b - from) * stride) }
    }
  }

  /// Scores of blocks [from, ..) of one head: table[b - from][tile].
  private func fill(
    _ head: Int, _ blocks: Range<Int>, _ range: (Int) -> Range<Int>, _ table: UnsafeMutablePointer<Float>,
    _ products: UnsafeMutablePointer<Float>
  ) {
    let lanes = VectorPanels.lanes
    let (qParts, kParts) = (score.queryParts, score.keyParts)
    let kvHead = head / group
    let ranges = blocks.map(range)
    let low = ranges.filter { !$0.isEmpty }.map(\.lowerBound).min() ?? 0
    let high = ranges.map { $0.isEmpty ? 0 : $0.upperBound }.max() ?? 0
    if high <= low { return }
    let firstPart = blocks.lowerBound * qParts
    let parts = min(blocks.upperBound * qParts, q.blocks) - firstPart
    for p in low / lanes...(high - 1) / lanes {
      for e in 0..<kParts {
        panels[kvHead * kParts + e].products(
          p, rows: q.mean(head, firstPart), stride: q.dim, count: parts, into: products + e * parts * lanes)
      }
      for (i, b) in blocks.enumerated() where ranges[i].lowerBound < (p + 1) * lanes && ranges[i].upperBound > p * lanes {
        let to = table + i * stride + p * lanes
        let from = products + i * qParts * lanes
        if score == .mean {
          to.update(from: from, count: lanes)
        } else {
          combine(from, parts: min(qParts, q.blocks - b * qParts), step: parts * lanes, p, into: to)
        }
      }
    }
  }

  /// to[lane] = log mean exp over query parts a and key parts e of cap(scale products[e * step + a * 32 + lane]).
  private func combine(
    _ products: UnsafePointer<Float>, parts: Int, step: Int, _ p: Int, into to: UnsafeMutablePointer<Float>
  ) {
    let lanes = VectorPanels.lanes
    for lane in 0..<min(lanes, tiles - p * lanes) {
      let keyParts = min(score.keyParts, k.blocks - (p * lanes + lane) * score.keyParts)
      var logits = InlineArray<8, Float>(repeating: -.infinity)
      var top = -Float.infinity
      var n = 0
      for e in 0..<keyParts {
        for a in 0..<parts {
          let z = logit(products[e * step + a * lanes + lane])
          logits[n] = z
          n += 1
          if z > top { top = z }
        }
      }
      var sum: Float = 0
      for i in 0..<n { sum += expf(logits[i] - top) }
      to[lane] = top.isInfinite ? top : top + logf(sum / Float(n))
    }
  }

  /// NaN is -inf.
  private func logit(_ product: Float) -> Float {
    let z = product * rule.scale
    if z.isNaN { return -.infinity }
    return rule.softcap > 0 ? rule.softcap * tanhf(z / rule.softcap) : z
  }
}
