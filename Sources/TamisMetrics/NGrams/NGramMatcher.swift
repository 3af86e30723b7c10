/// Clipped n-gram matches of hypotheses with a set of references, exactly, with memory linear in their tokens.
///
/// Rank refinement: a 1-gram's rank is the number of its token among the different tokens of the references, and an n-gram at
/// i is the pair of ranks of the (n-1)-grams at i and i + 1. So one n-gram is one key of two ranks whatever n, keys are
/// compared whole, and nothing can match at order n that did not match twice at order n - 1: both sides keep lists of the
/// places where there is anything left to match, and these lists shrink from order to order. Rank 0 is "no match".
final class NGramMatcher {
  private var memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)
  private var capacity = 4096

  init() {}
  deinit { memory.deallocate() }

  /// More tokens of references than these need ranks of 32 bits and keys of 64.
  static let mostShort = 0x7ffe

  /// matches[k * maxN + n - 1] for hypotheses k: sum over n-grams g of min(count in hypothesis k, max over references of the
  /// count in it). Places that hold `excluded` are in no n-gram.
  /// - Parameter orders: the largest n that references j takes part in; nil: maxN.
  func match(
    _ hypotheses: TokenLists, _ hypothesisRange: Range<Int>, _ references: TokenLists, _ referenceRange: Range<Int>,
    maxN: Int, excluded: Int32? = nil, orders: [Int32]? = nil, _ matches: UnsafeMutablePointer<Int64>
  ) {
    for i in 0..<hypothesisRange.count * maxN { matches[i] = 0 }
    let tokens = (hypotheses.tokens(hypothesisRange), references.tokens(referenceRange))
    if tokens.0 == 0 || tokens.1 == 0 { return }
    if tokens.1 <= Self.mostShort {
      let room = Room<UInt16, UInt32>(hypothesisRange.count, tokens.0, referenceRange.count, tokens.1)
      reserve(room.bytes)
      room.match(memory, hypotheses, hypothesisRange, references, referenceRange, maxN, excluded, orders, matches)
    } else {
      let room = Room<UInt32, UInt64>(hypothesisRange.count, tokens.0, referenceRange.count, tokens.1)
      reserve(room.bytes)
      room.match(memory, hypotheses, hypothesisRange, references, referenceRange, maxN, excluded, orders, matches)
    }
  }

  private func reserve(_ bytes: Int) {
    if bytes <= capacity { return }
    memory.deallocate()
    capacity = bytes + bytes / 4
    memory = .allocate(byteCount: capacity, alignment: 64)
  }
}

/// The places of one side where there is something left to match.
private struct Side<Key: FixedWidthInteger & UnsignedInteger> {
  let keys: UnsafeMutablePointer<Key>
  let places: UnsafeMutablePointer<UInt32>
  /// By place; sequences one after another with a place between two that holds 0.
  let ranks: UnsafeMutablePointer<UInt32>
  /// Where the places of each sequence end.
  let ends: UnsafeMutablePointer<Int>
  let count: Int

  var size: Int { ends[count - 1] }

  /// The tokens of the sequences as keys.
  @inline(__always)
  func gather(_ lists: TokenLists, _ first: Int, _ excluded: Int32?) {
    var m = 0
    var place = 0
    for i in 0..<count {
      let ids = lists[first &+ i]
      if let base = ids.baseAddress {
        if let excluded {
          for t in 0..<ids.count {
            keys[m] = Key(truncatingIfNeeded: UInt32(bitPattern: base[t]))
            places[m] = UInt32(truncatingIfNeeded: place &+ t)
            ranks[place &+ t] = 0
            m = m &+ (base[t] == excluded ? 0 : 1)
          }
        } else {
          for t in 0..<ids.count {
            keys[m &+ t] = Key(truncatingIfNeeded: UInt32(bitPattern: base[t]))
            places[m &+ t] = UInt32(truncatingIfNeeded: place &+ t)
          }
          m = m &+ ids.count
        }
        place = place &+ ids.count
      }
      ranks[place] = 0
      place = place &+ 1
      ends[i] = m
    }
  }

  /// Keys of the next order at the places that have both their parts.
  /// - Parameter kept: by rank: 1 for the n-grams that are not left out. kept[0] is 0.
  @inline(__always)
  func refine(_ kept: UnsafePointer<UInt8>) {
    var m = 0
    var q = 0
    for i in 0..<count {
      let end = ends[i]
      while q < end {
        let place = Int(places[q])
        let a = ranks[place]
        let b = ranks[place &+ 1]
        ranks[place] = 0
        keys[m] = Key(truncatingIfNeeded: a) &<< Key(truncatingIfNeeded: Key.bitWidth / 2) | Key(truncatingIfNeeded: b)
        places[m] = UInt32(truncatingIfNeeded: place)
        m = m &+ Int(kept[Int(a)] & kept[Int(b)])
        q = q &+ 1
      }
      ends[i] = m
    }
  }

  /// Leaves out the sequences that take part in orders below n only.
  func forget(_ orders: [Int32], below n: Int) {
    var m = 0
    var q = 0
    for i in 0..<count {
      let isKept = Int(orders[i]) >= n
      while q < ends[i] {
        keys[m] = keys[q]
        places[m] = places[q]
        m += isKept ? 1 : 0
        q += 1
      }
      ends[i] = m
    }
  }
}

/// Where everything lies in the scratch memory of one call, of which references take 35 to 61 bytes a token and hypotheses
/// 16 to 20.
private struct Room<Slot: FixedWidthInteger & UnsignedInteger, Key: FixedWidthInteger & UnsignedInteger> {
  private(set) var bytes = 0
  private let hypotheses: (count: Int, tokens: Int)
  private let references: (count: Int, tokens: Int)
  private typealias Sides = (Int, Int)
  private var offsets: (ends: Sides, keys: Sides, places: Sides, ranks: Sides) = ((0, 0), (0, 0), (0, 0), (0, 0))
  private var (rankKeys, limits, left, running, hit, missed, hits, slots) = (0, 0, 0, 0, 0, 0, 0, 0)

  init(_ hypotheses: Int, _ hypothesisTokens: Int, _ references: Int, _ referenceTokens: Int) {
    self.hypotheses = (hypotheses, hypothesisTokens)
    self.references = (references, referenceTokens)
    let (h, r) = (hypothesisTokens + hypotheses + 1, referenceTokens + references + 1)
    offsets.ends = (place(hypotheses, Int.self), place(references, Int.self))
    offsets.keys = (place(h, Key.self), place(r, Key.self))
    offsets.places = (place(h, UInt32.self), place(r, UInt32.self))
    offsets.ranks = (place(h, UInt32.self), place(r, UInt32.self))
    rankKeys = place(r + 1, Key.self)
    limits = place(r + 1, UInt32.self)
    left = place(r + 1, UInt32.self)
    running = references > 1 ? place(r + 1, UInt32.self) : limits
    hit = place(r + 1, UInt8.self)
    missed = place(max(h, r), UInt32.self)
    hits = place(h, UInt32.self)
    slots = place(1 << NGramTable<Slot, Key>.bits(referenceTokens), Slot.self)
  }

  private mutating func place<T>(_ count: Int, _ type: T.Type) -> Int {
    let offset = bytes
    bytes += (count * MemoryLayout<T>.stride + 63) & ~63
    return offset
  }

  @_optimize(speed)
  func match(
    _ memory: UnsafeMutableRawPointer, _ hypothesisLists: TokenLists, _ hypothesisRange: Range<Int>,
    _ referenceLists: TokenLists, _ referenceRange: Range<Int>, _ maxN: Int, _ excluded: Int32?, _ orders: [Int32]?,
    _ matches: UnsafeMutablePointer<Int64>
  ) {
    func at<T>(_ offset: Int, _ type: T.Type) -> UnsafeMutablePointer<T> { (memory + offset).assumingMemoryBound(to: T.self) }
    let h = Side(
      keys: at(offsets.keys.0, Key.self), places: at(offsets.places.0, UInt32.self), ranks: at(offsets.ranks.0, UInt32.self),
      ends: at(offsets.ends.0, Int.self), count: hypotheses.count)
    let r = Side(
      keys: at(offsets.keys.1, Key.self), places: at(offsets.places.1, UInt32.self), ranks: at(offsets.ranks.1, UInt32.self),
      ends: at(offsets.ends.1, Int.self), count: references.count)
    let (limits, left, running) = (at(limits, UInt32.self), at(left, UInt32.self), at(running, UInt32.self))
    let hit = at(hit, UInt8.self)
    h.gather(hypothesisLists, hypothesisRange.lowerBound, excluded)
    r.gather(referenceLists, referenceRange.lowerBound, excluded)
    for n in 1...maxN {
      if n > 1 {
        // What no hypothesis has is left out of the references.
        h.refine(hit)
        r.refine(hit)
      }
      if let orders { r.forget(orders, below: n) }
      if h.size == 0 || r.size == 0 { return }
      var table = NGramTable<Slot, Key>(
        slots: at(slots, Slot.self), bits: NGramTable<Slot, Key>.bits(r.size), keys: at(rankKeys, Key.self),
        missed: at(missed, UInt32.self), hits: at(hits, UInt32.self))
      clear(table.slots, 1 << table.bits)
      clear(limits, r.size + 2)
      if r.count == 1 {
        table.insert(r.keys, 0..<r.size, r.places, r.ranks, limits)
      } else {
        clear(running, r.size + 2)
        var start = 0
        for j in 0..<r.count {
          table.insert(r.keys, start..<r.ends[j], r.places, r.ranks, running)
          for q in start..<r.ends[j] {
            let rank = Int(r.ranks[Int(r.places[q])])
            limits[rank] = max(limits[rank], running[rank])
            running[rank] = 0
          }
          start = r.ends[j]
        }
      }
      let ranks = Int(table.known) + 1
      clear(hit, ranks)
      var start = 0
      for k in 0..<h.count {
        left.update(from: limits, count: ranks)
        matches[k &* maxN &+ n &- 1] = Int64(table.find(h.keys, start..<h.ends[k], h.places, h.ranks, left))
        if n < maxN {
          for rank in 0..<ranks { hit[rank] |= left[rank] == limits[rank] ? 0 : 1 }
        }
        start = h.ends[k]
      }
    }
  }

  @inline(__always)
  private func clear<T>(_ base: UnsafeMutablePointer<T>, _ count: Int) {
    UnsafeMutableRawPointer(base).initializeMemory(as: UInt8.self, repeating: 0, count: count * MemoryLayout<T>.stride)
  }
}
