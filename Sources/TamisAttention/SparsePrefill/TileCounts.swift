public import TamisCore
public import TamisDevice

/// What a mask makes of the keys that queries may see: sums over query heads, query blocks and the batch. They wrap.
public struct TileCounts: Equatable, Sendable {
  public var tilesListed = 0
  /// Tiles with a key that some query of the block may see.
  public var tilesLegal = 0
  /// (query, key) pairs, legal and listed.
  public var pairsAttended = 0
  public var pairsLegal = 0

  public init() {}
}

extension TileMask {
  /// - Parameter heads: query heads, a multiple of the mask's heads.
  public func counts(_ mask: DenseMask, window: Int, heads: Int) -> TileCounts {
    var rule = AttentionRule(scale: 1)
    rule.window = window
    let (bounded, mask) = Dense.bounded(rule, mask, queries: queries, keys: keys)
    let each = heads / self.heads
    var counts = TileCounts()
    for element in 0..<batch {
      let lists = lists(element)
      for block in 0..<blocks {
        let seen = SeenPairs(self, block, mask, window: bounded.window)
        let legal = seen.pairs(0, keys)
        for head in 0..<self.heads {
          let row = lists.row(head, block)
          counts.tilesListed &+= each &* row.count
          counts.tilesLegal &+= each &* seen.tiles.count
          counts.pairsAttended &+= each &* seen.pairs(in: ListedPlaces(tiles: row, tileKeys: keyBlock, keys: keys))
          counts.pairsLegal &+= each &* legal
        }
      }
    }
    return counts
  }
}

/// The pairs of one query block, by sums in closed form: query i sees keys [low + i, high + i), cut off at 0 and `keys`.
private struct SeenPairs {
  let queries, keys, keyBlock: Int
  let low, high: Int
  /// Tiles that some query sees a key of, and those that every query sees whole.
  let tiles, whole: Range<Int>

  init(_ mask: TileMask, _ block: Int, _ rule: DenseMask, window: Int) {
    let first = block * mask.queryBlock
    queries = min(mask.queryBlock, mask.queries - first)
    keys = mask.keys
    keyBlock = mask.keyBlock
    // Bounds that do not move with i lie so far out that the cut makes them 0 or `keys` for every i.
    let token = rule.queryOffset + first
    high = rule.causal ? token + 1 : keys
    low = window > 0 ? token - window + 1 : -queries
    let every = (rule.seen(by: first, window: window, of: keys), rule.seen(by: first + queries - 1, window: window, of: keys))
    let all = every.0.lowerBound..<max(every.0.lowerBound, every.1.upperBound)
    tiles = all.isEmpty ? 0..<0 : all.lowerBound / keyBlock..<(all.upperBound - 1) / keyBlock + 1
    let from = (every.1.lowerBound + keyBlock - 1) / keyBlock
    let to = every.0.upperBound / keyBlock
    whole = from..<max(from, to)
  }

  /// Pairs with a key in [a, b).
  func pairs(_ a: Int, _ b: Int) -> Int {
    let above = sum(high, upTo: b) - sum(high, upTo: a)
    let below = sum(low, upTo: b) - sum(low, upTo: a)
    return max(0, above - below)
  }

  func pairs(in list: ListedPlaces) -> Int {
    let (first, last) = (list.tilesBelow(whole.lowerBound), list.tilesBelow(whole.upperBound))
    let legal = list.tilesBelow(tiles.lowerBound)..<list.tilesBelow(tiles.upperBound)
    var sum = (last - first) * keyBlock * queries
    for i in legal where i < first || i >= last { sum += tile(list, i) }
    return sum
  }

  private func tile(_ list: ListedPlaces, _ i: Int) -> Int {
    let a = Int(list.tiles[i]) * keyBlock
    return pairs(a, min(a + keyBlock, keys))
  }

  /// sum over i in 0 ..< queries of min(max(start + i, 0), limit)
  private func sum(_ start: Int, upTo limit: Int) -> Int {
    let from = min(max(-start, 0), queries)
    let to = min(max(limit - start, from), queries)
    return (to - from) * start + (from + to - 1) * (to - from) / 2 + (queries - to) * limit
  }
}
