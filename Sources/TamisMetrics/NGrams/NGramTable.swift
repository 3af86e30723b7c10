/// Hash tables from the keys of one order to ranks 1, 2, .., in memory of the caller. Slots hold ranks and ranks know their
/// keys, which are compared whole. The common loops have no branch on what they find: a key whose first slot is another's goes on a
/// list, and those few are placed one by one afterwards, in the next free slot, with a mark on the slot they missed.
struct NGramTable<Slot: FixedWidthInteger & UnsignedInteger, Key: FixedWidthInteger & UnsignedInteger> {
  /// 2^bits of them; 0: free. The top bit marks slots that some key missed.
  let slots: UnsafeMutablePointer<Slot>
  let bits: Int
  /// By rank.
  let keys: UnsafeMutablePointer<Key>
  /// Room for the places in a list whose keys missed their slot.
  let missed: UnsafeMutablePointer<UInt32>
  /// Room for the ranks that are found.
  let hits: UnsafeMutablePointer<UInt32>
  /// Ranks given so far.
  var known: Slot = 0

  private static var mark: Slot { 1 << Slot(truncatingIfNeeded: Slot.bitWidth - 1) }

  /// Two to five slots for each of `count` keys.
  static func bits(_ count: Int) -> Int {
    var bits = 4
    while 1 << bits < 2 * count + count / 2 { bits += 1 }
    return bits
  }

  @inline(__always)
  private func home(_ key: Key) -> Int {
    if Key.bitWidth == 32 {
      let hash = UInt32(truncatingIfNeeded: key) &* 0x9e37_79b1
      return Int(truncatingIfNeeded: hash &>> UInt32(truncatingIfNeeded: 32 &- bits))
    }
    let hash = UInt64(truncatingIfNeeded: key) &* 0x9e37_79b9_7f4a_7c15
    return Int(truncatingIfNeeded: hash &>> UInt64(truncatingIfNeeded: 64 &- bits))
  }

  @inline(__always)
  private func next(_ slot: Int) -> Int { (slot &+ 1) & (1 &<< bits &- 1) }

  /// Ranks of keys [range], which are numbered where they are new, at their places; counts[rank] goes up by 1 for each.
  @inline(__always)
  mutating func insert(
    _ list: UnsafePointer<Key>, _ range: Range<Int>, _ places: UnsafePointer<UInt32>, _ ranks: UnsafeMutablePointer<UInt32>,
    _ counts: UnsafeMutablePointer<UInt32>
  ) {
    var known = known
    var misses = 0
    var q = range.lowerBound
    while q < range.upperBound {
      let key = list[q]
      let slot = home(key)
      keys[Int(truncatingIfNeeded: known &+ 1)] = key
      let entry = slots[slot]
      let isNew: Slot = entry == 0 ? 1 : 0
      known = known &+ isNew
      let filled = entry | (known & (0 &- isNew))
      slots[slot] = filled
      let rank = filled & ~Self.mark
      let at = Int(truncatingIfNeeded: rank)
      let isSame: UInt32 = keys[at] == key ? 1 : 0
      ranks[Int(places[q])] = UInt32(truncatingIfNeeded: rank)
      counts[at] = counts[at] &+ isSame
      missed[misses] = UInt32(truncatingIfNeeded: q)
      misses = misses &+ 1 &- Int(isSame)
      q = q &+ 1
    }
    for m in 0..<misses {
      let q = Int(missed[m])
      let key = list[q]
      var slot = home(key)
      slots[slot] |= Self.mark
      var rank: Slot
      while true {
        slot = next(slot)
        rank = slots[slot] & ~Self.mark
        if rank == 0 {
          known = known &+ 1
          keys[Int(truncatingIfNeeded: known)] = key
          slots[slot] = known
          rank = known
          break
        }
        if keys[Int(truncatingIfNeeded: rank)] == key { break }
      }
      ranks[Int(places[q])] = UInt32(truncatingIfNeeded: rank)
      counts[Int(truncatingIfNeeded: rank)] = counts[Int(truncatingIfNeeded: rank)] &+ 1
    }
    self.known = known
  }

  /// Ranks of keys [range] at their places, 0 for those that the table lacks, and how many of them there are where each rank
  /// counts left[rank] times at most; left goes down.
  @inline(__always)
  func find(
    _ list: UnsafePointer<Key>, _ range: Range<Int>, _ places: UnsafePointer<UInt32>, _ ranks: UnsafeMutablePointer<UInt32>,
    _ left: UnsafeMutablePointer<UInt32>
  ) -> Int {
    var count = 0
    var misses = 0
    var q = range.lowerBound
    while q < range.upperBound {
      let key = list[q]
      let entry = slots[home(key)]
      let rank = UInt32(truncatingIfNeeded: entry & ~Self.mark)
      let isSame: UInt32 = (keys[Int(rank)] == key ? 1 : 0) & (rank != 0 ? 1 : 0)
      let found = rank & (0 &- isSame)
      hits[count] = found
      count = count &+ Int(isSame)
      ranks[Int(places[q])] = found
      missed[misses] = UInt32(truncatingIfNeeded: q)
      misses = misses &+ Int((1 &- isSame) & UInt32(truncatingIfNeeded: entry &>> Slot(truncatingIfNeeded: Slot.bitWidth - 1)))
      q = q &+ 1
    }
    for m in 0..<misses {
      let q = Int(missed[m])
      let key = list[q]
      var slot = home(key)
      while true {
        slot = next(slot)
        let rank = Int(truncatingIfNeeded: slots[slot] & ~Self.mark)
        if rank == 0 { break }
        if keys[rank] == key {
          hits[count] = UInt32(truncatingIfNeeded: rank)
          count = count &+ 1
          ranks[Int(places[q])] = UInt32(truncatingIfNeeded: rank)
          break
        }
      }
    }
    // Apart from the look-ups, which would wait for each other's counts.
    var matched = 0
    for m in 0..<count {
      let rank = Int(hits[m])
      let more: UInt32 = left[rank] != 0 ? 1 : 0
      left[rank] = left[rank] &- more
      matched = matched &+ Int(more)
    }
    return matched
  }
}
