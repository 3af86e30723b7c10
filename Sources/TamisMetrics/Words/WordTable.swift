/// Numbers for words, in the order of their first appearance. Words are compared whole.
struct WordTable {
  private var characters: [UInt32] = []
  private var ends: [Int] = [0]
  /// hash << 32 | number + 1; 0: free.
  private var slots = [UInt64](repeating: 0, count: 1024)

  var count: Int { ends.count - 1 }

  @_optimize(speed)
  mutating func id(_ word: UnsafeBufferPointer<UInt32>) -> Int32 {
    let hash = Self.hash(word)
    let tag = hash >> 32
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot] != 0 {
      if slots[slot] >> 32 == tag {
        let number = Int(slots[slot] & 0xffff_ffff) - 1
        let (start, end) = (ends[number], ends[number + 1])
        if end - start == word.count && characters[start..<end].elementsEqual(word) { return Int32(truncatingIfNeeded: number) }
      }
      slot = (slot + 1) & mask
    }
    let number = count
    slots[slot] = tag << 32 | UInt64(number + 1)
    characters.append(contentsOf: word)
    ends.append(characters.count)
    if 2 * count > slots.count { grow() }
    return Int32(truncatingIfNeeded: number)
  }

  @inline(__always)
  private static func hash(_ word: UnsafeBufferPointer<UInt32>) -> UInt64 {
    var hash: UInt64 = 0x2545_f491_4f6c_dd1d
    for c in word {
      hash = (hash ^ UInt64(c)) &* 0x9e37_79b9_7f4a_7c15
      hash ^= hash >> 29
    }
    return hash
  }

  private mutating func grow() {
    slots = [UInt64](repeating: 0, count: slots.count * 4)
    let mask = slots.count - 1
    for number in 0..<count {
      let hash = characters.withUnsafeBufferPointer {
        Self.hash(UnsafeBufferPointer(rebasing: $0[ends[number]..<ends[number + 1]]))
      }
      var slot = Int(truncatingIfNeeded: hash) & mask
      while slots[slot] != 0 { slot = (slot + 1) & mask }
      slots[slot] = (hash >> 32) << 32 | UInt64(number + 1)
    }
  }
}
