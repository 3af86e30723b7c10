import TamisCore

/// Which pairs of tokens merge: (left, right) -> (rank, result). Lower ranks merge first.
final class MergeTable: @unchecked Sendable {
  private struct Entry {
    var pair: UInt64
    var rank: UInt32
    var result: Int32
  }
  private var entries: UnsafeMutablePointer<Entry>
  private var mask: Int
  private(set) var count = 0
  /// One bit per pair of symbols that some merge may join across, by hash: a clear bit is certain, a set one is not.
  private let crossings: UnsafeMutablePointer<UInt64>
  private static let crossingBits = 20
  private static let vacant = UInt64.max
  static let never = UInt32.max

  init(expecting merges: Int) {
    var capacity = 16
    while capacity < 2 * merges { capacity *= 2 }
    entries = .allocate(capacity: capacity)
    entries.initialize(repeating: Entry(pair: Self.vacant, rank: Self.never, result: -1), count: capacity)
    mask = capacity - 1
    crossings = .allocate(capacity: 1 << (Self.crossingBits - 6))
    crossings.initialize(repeating: 0, count: 1 << (Self.crossingBits - 6))
  }

  deinit {
    entries.deallocate()
    crossings.deallocate()
  }

  @inline(__always)
  private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// A pair that stands twice keeps the later rank, as in a map.
  func insert(_ left: Int32, _ right: Int32, rank: UInt32, result: Int32) {
    if 2 * (count + 1) > mask + 1 { grow() }
    let pair = Self.pair(left, right)
    var slot = Int(truncatingIfNeeded: Vocabulary.fold(pair)) & mask
    while entries[slot].pair != Self.vacant, entries[slot].pair != pair { slot = (slot + 1) & mask }
    if entries[slot].pair == Self.vacant { count += 1 }
    entries[slot] = Entry(pair: pair, rank: rank, result: result)
  }

  private func grow() {
    let old = entries
    let oldCapacity = mask + 1
    mask = 2 * oldCapacity - 1
    entries = .allocate(capacity: 2 * oldCapacity)
    entries.initialize(repeating: Entry(pair: Self.vacant, rank: Self.never, result: -1), count: 2 * oldCapacity)
    for i in 0..<oldCapacity where old[i].pair != Self.vacant {
      var slot = Int(truncatingIfNeeded: Vocabulary.fold(old[i].pair)) & mask
      while entries[slot].pair != Self.vacant { slot = (slot + 1) & mask }
      entries[slot] = old[i]
    }
    old.deallocate()
  }

  /// Rank `never` when the pair does not merge.
  @inline(__always)
  func find(_ left: Int32, _ right: Int32) -> (rank: UInt32, result: Int32) {
    let pair = Self.pair(left, right)
    var slot = Int(truncatingIfNeeded: Vocabulary.fold(pair)) & mask
    while true {
      let entry = entries[slot]
      if entry.pair == pair { return (entry.rank, entry.result) }
      if entry.pair == Self.vacant { return (Self.never, -1) }
      slot = (slot &+ 1) & mask
    }
  }

  /// Notes that a merge joins a token ending in the symbol `left` to one beginning with `right`.
  func noteCrossing(_ left: Int32, _ right: Int32) {
    let bit = Self.crossing(left, right)
    crossings[bit >> 6] |= 1 << UInt64(bit & 63)
  }

  /// Whether a merge may ever join across these neighbouring symbols.
  @inline(__always)
  func mayCross(_ left: Int32, _ right: Int32) -> Bool {
    let bit = Self.crossing(left, right)
    return crossings[bit >> 6] &>> UInt64(bit & 63) & 1 != 0
  }

  @inline(__always)
  private static func crossing(_ left: Int32, _ right: Int32) -> Int {
    Int(truncatingIfNeeded: Vocabulary.fold(pair(left, right)) & (1 << crossingBits - 1))
  }
}
