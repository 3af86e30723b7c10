/// Clipped n-gram matches of hypotheses with a set of references, exactly, with memory linear in their tokens.
///
/// Rank refinement: a 1-gram's rank is the number of its token among the different tokens of the references, and an n-gram at
/// i is the pair of ranks of the (n-1)-grams at i and i + 1. So one n-gram is one 64-bit key whatever n, keys are compared
/// whole, and nothing can match at order n that did not match twice at order n - 1: both sides keep lists of the places where
/// there is anything left to match, and these lists shrink from order to order. Rank 0 is "no match".
final class NGramMatcher {
  private var table = Storage<UInt64>()  // tag << 32 | rank; 0: free
  private var keyOf = Storage<UInt64>()  // by rank
  private var limit = Storage<UInt32>()  // by rank: the largest count in one reference
  private var used = Storage<UInt32>()  // by rank: how many the hypothesis at hand has matched
  private var running = Storage<UInt32>()  // by rank: the count in the reference at hand
  private var reference = Storage<UInt32>()  // by rank: the reference at hand when it was last seen
  private var hit = Storage<UInt8>()  // by rank: whether any hypothesis has it
  private var referenceRanks = Storage<UInt32>()
  private var referencePlaces = Storage<UInt32>()
  private var referenceKeys = Storage<UInt64>()
  private var hypothesisRanks = Storage<UInt32>()
  private var hypothesisPlaces = Storage<UInt32>()
  private var hypothesisKeys = Storage<UInt64>()
  private var referenceEnds: [Int] = []
  private var hypothesisEnds: [Int] = []
  private var bits: UInt64 = 0
  private var ranks = 0

  /// matches[k * maxN + n - 1] for hypotheses k: sum over n-grams g of min(count in hypothesis k, max over references of the
  /// count in it). Places that hold `excluded` are in no n-gram.
  /// - Parameter orders: the largest n that references j takes part in; nil: maxN.
  @_optimize(speed)
  func match(
    _ hypotheses: TokenLists, _ hypothesisRange: Range<Int>, _ references: TokenLists, _ referenceRange: Range<Int>,
    maxN: Int, excluded: Int32? = nil, orders: [Int32]? = nil, _ matches: UnsafeMutablePointer<Int64>
  ) {
    for i in 0..<hypothesisRange.count * maxN { matches[i] = 0 }
    gather(references, referenceRange, excluded, &referenceKeys, &referencePlaces, &referenceRanks, &referenceEnds)
    gather(hypotheses, hypothesisRange, excluded, &hypothesisKeys, &hypothesisPlaces, &hypothesisRanks, &hypothesisEnds)
    var isShort = true  // keys have 32 bits
    for n in 1...maxN {
      if n > 1 {
        isShort = ranks < 0x1_0000
        let shift: UInt64 = isShort ? 16 : 32
        refine(&referenceKeys, &referencePlaces, referenceRanks, &referenceEnds, shift, prune: true)
        refine(&hypothesisKeys, &hypothesisPlaces, hypothesisRanks, &hypothesisEnds, shift, prune: false)
      }
      if hypothesisEnds.last == 0 || referenceEnds.last == 0 { return }
      if let orders {
        var start = 0
        for j in 0..<referenceRange.count {
          if Int(orders[j]) < n { forget(start..<referenceEnds[j]) }
          start = referenceEnds[j]
        }
      }
      makeTable(for: referenceEnds.last ?? 0)
      switch (isShort, referenceRange.count == 1 && orders == nil) {
      case (true, true): insert(isShort: true, isOne: true)
      case (true, false): insert(isShort: true, isOne: false)
      case (false, true): insert(isShort: false, isOne: true)
      case (false, false): insert(isShort: false, isOne: false)
      }
      var start = 0
      for k in 0..<hypothesisRange.count {
        if k > 0 { used.clear(ranks + 1) }
        let range = start..<hypothesisEnds[k]
        matches[k * maxN + n - 1] = Int64(isShort ? find(range, isShort: true) : find(range, isShort: false))
        start = range.upperBound
      }
    }
  }

  /// The tokens of some sequences as keys, one after another, with a place between two sequences that nothing matches.
  @_optimize(speed)
  private func gather(
    _ lists: TokenLists, _ range: Range<Int>, _ excluded: Int32?, _ keys: inout Storage<UInt64>,
    _ places: inout Storage<UInt32>, _ ranks: inout Storage<UInt32>, _ ends: inout [Int]
  ) {
    let room = lists.tokens(range) + range.count + 1
    keys.reserve(room)
    places.reserve(room)
    ranks.reserve(room)
    ends.removeAll(keepingCapacity: true)
    let (key, placeOf, rank) = (keys.base, places.base, ranks.base)
    var m = 0
    var place = 0
    for i in range {
      let ids = lists[i]
      if let excluded {
        for id in ids {
          key[m] = UInt64(UInt32(bitPattern: id))
          placeOf[m] = UInt32(truncatingIfNeeded: place)
          rank[place] = 0
          m &+= id == excluded ? 0 : 1
          place &+= 1
        }
      } else if let base = ids.baseAddress {
        for t in 0..<ids.count {
          key[m &+ t] = UInt64(UInt32(bitPattern: base[t]))
          placeOf[m &+ t] = UInt32(truncatingIfNeeded: place &+ t)
        }
        m &+= ids.count
        place &+= ids.count
      }
      rank[place] = 0
      place &+= 1
      ends.append(m)
    }
  }

  /// Keys of the next order at the places that have both their parts. What no hypothesis has is left out of the references.
  @_optimize(speed)
  private func refine(
    _ keys: inout Storage<UInt64>, _ places: inout Storage<UInt32>, _ ranks: borrowing Storage<UInt32>, _ ends: inout [Int],
    _ shift: UInt64, prune: Bool
  ) {
    let (key, placeOf, rank, hit) = (keys.base, places.base, ranks.base, hit.base)
    var m = 0
    var q = 0
    for s in 0..<ends.count {
      let end = ends[s]
      while q < end {
        let place = Int(placeOf[q])
        let a = rank[place]
        let b = rank[place &+ 1]
        rank[place] = 0
        key[m] = UInt64(a) << shift | UInt64(b)
        placeOf[m] = UInt32(truncatingIfNeeded: place)
        if prune {
          m &+= Int(hit[Int(a)] & hit[Int(b)])
        } else {
          m &+= a != 0 && b != 0 ? 1 : 0
        }
        q &+= 1
      }
      ends[s] = m
    }
  }

  /// Places of a reference that has no part in this order and longer ones.
  private func forget(_ range: Range<Int>) {
    for q in range {
      referenceKeys.base[q] = .max
      referenceRanks.base[Int(referencePlaces.base[q])] = 0
    }
  }

  private func makeTable(for count: Int) {
    var size = 16
    bits = 4
    while size < 2 * count {
      size *= 2
      bits += 1
    }
    table.reserve(size)
    table.clear(size)
    let room = count + 1
    keyOf.reserve(room)
    limit.reserve(room)
    used.reserve(room)
    running.reserve(room)
    reference.reserve(room)
    hit.reserve(room)
    hit.base[0] = 0
    ranks = 0
  }

  /// Slot and tag of a key. A short key is its own tag; a long one is compared whole once its tag fits.
  @inline(__always)
  private func place(_ key: UInt64, isShort: Bool, _ bits: UInt64) -> (slot: Int, tag: UInt64) {
    if isShort {
      let hash = UInt32(truncatingIfNeeded: key) &* 0x9e37_79b1
      return (Int(hash >> UInt32(truncatingIfNeeded: 32 &- bits)), key)
    }
    let hash = key &* 0x9e37_79b9_7f4a_7c15
    return (Int(truncatingIfNeeded: hash >> (64 &- bits)), (hash ^ key >> 17) & 0xffff_ffff)
  }

  @inline(__always)
  private func insert(isShort: Bool, isOne: Bool) {
    let (table, keyOf, limit, used, hit) = (table.base, keyOf.base, limit.base, used.base, hit.base)
    let (running, reference) = (running.base, reference.base)
    let (key, placeOf, rank) = (referenceKeys.base, referencePlaces.base, referenceRanks.base)
    let bits = bits
    let mask = 1 << Int(bits) &- 1
    var known: UInt32 = 0
    var q = 0
    for j in 0..<referenceEnds.count {
      let end = referenceEnds[j]
      while q < end {
        let k = key[q]
        if !isOne && k == .max {
          q &+= 1
          continue
        }
        var (slot, tag) = place(k, isShort: isShort, bits)
        var r: UInt32
        while true {
          let entry = table[slot]
          r = UInt32(truncatingIfNeeded: entry)
          if r == 0 {
            known &+= 1
            r = known
            table[slot] = tag << 32 | UInt64(r)
            if !isShort { keyOf[Int(r)] = k }
            limit[Int(r)] = 0
            used[Int(r)] = 0
            hit[Int(r)] = 0
            if !isOne { reference[Int(r)] = .max }
            break
          }
          if entry >> 32 == tag && (isShort || keyOf[Int(r)] == k) { break }
          slot = (slot &+ 1) & mask
        }
        rank[Int(placeOf[q])] = r
        let at = Int(r)
        if isOne {
          limit[at] &+= 1
        } else {
          let count = reference[at] == UInt32(truncatingIfNeeded: j) ? running[at] &+ 1 : 1
          reference[at] = UInt32(truncatingIfNeeded: j)
          running[at] = count
          limit[at] = max(limit[at], count)
        }
        q &+= 1
      }
    }
    ranks = Int(known)
  }

  /// Looks up one hypothesis: ranks at its places, and the clipped matches.
  @inline(__always)
  private func find(_ range: Range<Int>, isShort: Bool) -> Int {
    let (table, keyOf, limit, used, hit) = (table.base, keyOf.base, limit.base, used.base, hit.base)
    let (key, placeOf, rank) = (hypothesisKeys.base, hypothesisPlaces.base, hypothesisRanks.base)
    let bits = bits
    let mask = 1 << Int(bits) &- 1
    var matched = 0
    for q in range {
      let k = key[q]
      var (slot, tag) = place(k, isShort: isShort, bits)
      var r: UInt32
      while true {
        let entry = table[slot]
        r = UInt32(truncatingIfNeeded: entry)
        if r == 0 { break }
        if entry >> 32 == tag && (isShort || keyOf[Int(r)] == k) {
          let at = Int(r)
          let count = used[at]
          let more: UInt32 = count < limit[at] ? 1 : 0
          used[at] = count &+ more
          matched &+= Int(more)
          hit[at] = 1
          break
        }
        slot = (slot &+ 1) & mask
      }
      rank[Int(placeOf[q])] = r
    }
    return matched
  }
}

/// Memory that grows and is not initialised.
struct Storage<Element: BitwiseCopyable>: ~Copyable {
  private(set) var base: UnsafeMutablePointer<Element>
  private var capacity: Int

  init() {
    capacity = 64
    base = .allocate(capacity: capacity)
  }

  deinit { base.deallocate() }

  /// Room for n elements; what it held is lost where it has to grow.
  mutating func reserve(_ n: Int) {
    if n <= capacity { return }
    base.deallocate()
    capacity = max(n, capacity * 2)
    base = .allocate(capacity: capacity)
  }

  func clear(_ n: Int) {
    UnsafeMutableRawPointer(base).initializeMemory(as: UInt8.self, repeating: 0, count: n * MemoryLayout<Element>.stride)
  }
}
