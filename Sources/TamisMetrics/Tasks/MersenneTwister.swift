/// MT19937 (Matsumoto and Nishimura 1998) as CPython's random.Random draws from it, in whole numbers only.
public struct MersenneTwister: Sendable {
  private static let size = 624
  private static let middle = 397
  private var state: [UInt32]
  private var next = size

  /// `random.Random(seed)`: init_by_array with the seed's 32-bit words, [0] for 0.
  public init(seed: UInt64) {
    let key = seed >> 32 == 0 ? [UInt32(seed)] : [UInt32(truncatingIfNeeded: seed), UInt32(seed >> 32)]
    state = Self.seeded(19_650_218)
    var (i, j) = (1, 0)
    for _ in 0..<Self.size {
      let last = state[i - 1]
      state[i] = (state[i] ^ ((last ^ (last >> 30)) &* 1_664_525)) &+ key[j] &+ UInt32(j)
      (i, j) = (i + 1, (j + 1) % key.count)
      if i == Self.size { (state[0], i) = (state[Self.size - 1], 1) }
    }
    for _ in 1..<Self.size {
      let last = state[i - 1]
      state[i] = (state[i] ^ ((last ^ (last >> 30)) &* 1_566_083_941)) &- UInt32(i)
      i += 1
      if i == Self.size { (state[0], i) = (state[Self.size - 1], 1) }
    }
    state[0] = 0x8000_0000
  }

  private static func seeded(_ seed: UInt32) -> [UInt32] {
    var state = [seed]
    state.reserveCapacity(size)
    for i in 1..<size {
      let last = state[i - 1]
      state.append(1_812_433_253 &* (last ^ (last >> 30)) &+ UInt32(i))
    }
    return state
  }

  /// `getrandbits(32)`
  @_optimize(speed)
  public mutating func word() -> UInt32 {
    if next == Self.size { turn() }
    var y = state[next]
    next += 1
    y ^= y >> 11
    y ^= (y << 7) & 0x9d2c_5680
    y ^= (y << 15) & 0xefc6_0000
    return y ^ (y >> 18)
  }

  @_optimize(speed)
  private mutating func turn() {
    for k in 0..<Self.size {
      let y = (state[k] & 0x8000_0000) | (state[(k + 1) % Self.size] & 0x7fff_ffff)
      state[k] = state[(k + Self.middle) % Self.size] ^ (y >> 1) ^ (y & 1 == 0 ? 0 : 0x9908_b0df)
    }
    next = 0
  }

  /// `getrandbits(bits)`, 1 to 64: words, the first is the least significant, the last gives its highest bits.
  public mutating func bits(_ bits: Int) -> UInt64 {
    if bits <= 32 { return UInt64(word() >> UInt32(32 - bits)) }
    let low = UInt64(word())
    return low | UInt64(word() >> UInt32(64 - bits)) << 32
  }

  /// `getrandbits(128)`, its two halves.
  public mutating func bits128() -> (high: UInt64, low: UInt64) {
    let low = bits(64)
    return (bits(64), low)
  }

  /// `randrange(n)`, n at least 1: draws of as many bits as n has until one is below it.
  public mutating func below(_ n: Int) -> Int {
    let width = Int.bitWidth - n.leadingZeroBitCount
    while true {
      let drawn = bits(width)
      if drawn < UInt64(n) { return Int(drawn) }
    }
  }

  /// `shuffle`
  public mutating func shuffle<T>(_ items: inout [T]) {
    for i in stride(from: items.count - 1, to: 0, by: -1) { items.swapAt(i, below(i + 1)) }
  }

  /// `sample(range(n), count)`, count at most n: a pool that closes up where that takes less room than a set of what was drawn.
  public mutating func sample(_ n: Int, _ count: Int) -> [Int] {
    var room = 21
    if count > 5 {
      var power = 1
      while power < 3 * count { power *= 4 }
      room += power
    }
    var drawn: [Int] = []
    drawn.reserveCapacity(count)
    if n <= room {
      var pool = Array(0..<n)
      for i in 0..<count {
        let j = below(n - i)
        drawn.append(pool[j])
        pool[j] = pool[n - i - 1]
      }
      return drawn
    }
    var seen = Set<Int>()
    while drawn.count < count {
      let j = below(n)
      if seen.insert(j).inserted { drawn.append(j) }
    }
    return drawn
  }
}
