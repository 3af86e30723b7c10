/// SplitMix64: random numbers that are the same on every run.
struct SplitMix {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  /// Uniform in [-1, 1).
  mutating func unit() -> Float { Float(Int64(next() >> 40)) / Float(1 << 23) - 1 }
  mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
}
