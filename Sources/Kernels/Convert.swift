// Conversion between storage dtypes, sixteen elements at a time. Integer arithmetic on the bit patterns, so that every level
// gives the same bits whether or not it has conversion instructions.

@inline(__always) func loadU16(_ p: UnsafePointer<UInt16>, _ i: Int) -> SIMD16<UInt16> {
  UnsafeRawPointer(p + i).loadUnaligned(as: SIMD16<UInt16>.self)
}

@inline(never) func bf16ToF32(_ from: UnsafePointer<UInt16>, _ to: UnsafeMutablePointer<Float>, _ n: Int) {
  var i = 0
  let out = UnsafeMutableRawPointer(to)
  while i &+ 16 <= n {
    let bits = SIMD16<UInt32>(truncatingIfNeeded: loadU16(from, i)) &<< 16
    out.storeBytes(of: bits, toByteOffset: i &* 4, as: SIMD16<UInt32>.self)
    i &+= 16
  }
  while i < n {
    to[i] = Float(bitPattern: UInt32(truncatingIfNeeded: from[i]) &<< 16)
    i &+= 1
  }
}

@inline(__always) func roundToBF16(_ x: UInt32) -> UInt16 {
  if x & 0x7fff_ffff > 0x7f80_0000 { return UInt16(truncatingIfNeeded: (x | 0x40_0000) &>> 16) }  // keep NaN a NaN
  return UInt16(truncatingIfNeeded: (x &+ 0x7fff &+ ((x &>> 16) & 1)) &>> 16)
}

@inline(never) func f32ToBF16(_ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<UInt16>, _ n: Int) {
  var i = 0
  while i < n {
    to[i] = roundToBF16(from[i].bitPattern)
    i &+= 1
  }
}

@inline(never) func f16ToF32(_ from: UnsafePointer<UInt16>, _ to: UnsafeMutablePointer<Float>, _ n: Int) {
  var i = 0
  while i < n {
    let h = UInt32(truncatingIfNeeded: from[i])
    let sign = (h & 0x8000) &<< 16
    let magnitude = h & 0x7fff
    // 2^112 moves the exponent from f16's bias to f32's and turns subnormals into normals; inf and NaN get all-ones exponents.
    let scaled = Float(bitPattern: magnitude &<< 13) * Float(bitPattern: 0x7780_0000)
    let bits = magnitude >= 0x7c00 ? (magnitude &<< 13) | 0x7f80_0000 : scaled.bitPattern
    to[i] = Float(bitPattern: bits | sign)
    i &+= 1
  }
}

@inline(__always) func roundToF16(_ x: UInt32) -> UInt16 {
  let sign = UInt16(truncatingIfNeeded: (x &>> 16) & 0x8000)
  let magnitude = x & 0x7fff_ffff
  if magnitude > 0x7f80_0000 { return sign | 0x7e00 | UInt16(truncatingIfNeeded: (magnitude &>> 13) & 0x3ff) }
  if magnitude >= 0x4780_0000 { return sign | 0x7c00 }  // 65536 and above
  if magnitude < 0x3880_0000 {  // below 2^-14: adding 0.5 leaves the rounded subnormal in the low bits
    let shifted = Float(bitPattern: magnitude) + 0.5
    return sign | UInt16(truncatingIfNeeded: shifted.bitPattern &- 0x3f00_0000)
  }
  let rounded = magnitude &+ 0xfff &+ ((magnitude &>> 13) & 1)
  return sign | UInt16(truncatingIfNeeded: (rounded &- 0x3800_0000) &>> 13)
}

@inline(never) func f32ToF16(_ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<UInt16>, _ n: Int) {
  var i = 0
  while i < n {
    to[i] = roundToF16(from[i].bitPattern)
    i &+= 1
  }
}
