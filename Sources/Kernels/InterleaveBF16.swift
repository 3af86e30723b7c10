import CShims

/// vpairs[j][dim] = (v[2j][dim], v[2j + 1][dim]), the order in which a bf16 dot product takes two keys at a time.
@inline(never) func interleaveBF16(
  _ v: UnsafePointer<UInt16>, _ ldv: Int, _ nkeys: Int, _ dv: Int, _ vpairs: UnsafeMutablePointer<UInt16>
) {
  let to = UnsafeMutableRawPointer(vpairs)
  var key = 0
  while key < nkeys {
    let even = v + key &* ldv
    // An odd last row has no partner: its own bits masked to zero stand in, so nothing past the end is read.
    let odd = key &+ 1 < nkeys ? even + ldv : even
    let keep: UInt32 = key &+ 1 < nkeys ? 0xFFFF_0000 : 0
    let at = (key &>> 1) &* dv &* 4
    var dim = 0
    while dim &+ 16 <= dv {
      let a = UnsafeRawPointer(even + dim).loadUnaligned(as: SIMD16<UInt16>.self)
      let b = UnsafeRawPointer(odd + dim).loadUnaligned(as: SIMD16<UInt16>.self)
      var pairs = SIMD32<UInt16>()
      pairs.evenHalf = a
      pairs.oddHalf = b
      storeU32(unsafeBitCast(pairs, to: U32x16.self) & U32x16(repeating: keep | 0xFFFF), to, at &+ dim &* 4)
      dim &+= 16
    }
    while dim < dv {
      to.storeBytes(of: UInt32(even[dim]) | (UInt32(odd[dim]) &<< 16) & keep, toByteOffset: at &+ dim &* 4, as: UInt32.self)
      dim &+= 1
    }
    key &+= 2
  }
}
