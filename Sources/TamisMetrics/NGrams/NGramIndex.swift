/// The n-grams of some sequences, numbered order by order: rank 0 where there is none, 1, 2, .. by first appearance. An
/// n-gram is
/// the pair of ranks of its two (n-1)-grams, so numbers are exact.
struct NGramIndex {
  /// Of the order at hand, one per token and one more after each sequence.
  private(set) var ranks: [UInt32] = []
  /// Where sequence i begins in `ranks`; [count + 1].
  private(set) var starts: [Int] = [0]
  /// Different n-grams of the order at hand.
  private(set) var distinct = 0
  private var slots: [(key: UInt64, rank: UInt32)] = []

  /// Order 1.
  init(_ lists: TokenLists) {
    for i in 0..<lists.count {
      for id in lists[i] { ranks.append(UInt32(bitPattern: id)) }
      ranks.append(0)
      starts.append(ranks.count)
    }
    prepare()
    for i in 0..<lists.count {
      for p in starts[i]..<starts[i + 1] - 1 { ranks[p] = number(UInt64(ranks[p])) }
    }
  }

  /// From order n to n + 1.
  mutating func advance() { combine(ranks, 1) }

  /// The n-gram at p joined with `other` at p + distance.
  @_optimize(speed)
  mutating func combine(_ other: [UInt32], _ distance: Int) {
    let before = ranks
    prepare()
    for i in 0..<starts.count - 1 {
      for p in starts[i]..<starts[i + 1] {
        let q = p + distance
        let b = q < starts[i + 1] ? other[q] : 0
        ranks[p] = before[p] != 0 && b != 0 ? number(UInt64(before[p]) << 32 | UInt64(b)) : 0
      }
    }
  }

  private mutating func prepare() {
    var size = 16
    while size < 2 * ranks.count { size *= 2 }
    slots = [(key: UInt64, rank: UInt32)](repeating: (0, 0), count: size)
    distinct = 0
  }

  private mutating func number(_ key: UInt64) -> UInt32 {
    let mask = slots.count - 1
    let hash = key &* 0x9e37_79b9_7f4a_7c15
    var slot = Int(truncatingIfNeeded: hash >> 20) & mask
    while slots[slot].rank != 0 {
      if slots[slot].key == key { return slots[slot].rank }
      slot = (slot + 1) & mask
    }
    distinct += 1
    slots[slot] = (key, UInt32(truncatingIfNeeded: distinct))
    return UInt32(truncatingIfNeeded: distinct)
  }
}
