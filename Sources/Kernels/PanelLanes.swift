import CShims

typealias F32x16 = SIMD16<Float>
typealias U32x16 = SIMD16<UInt32>
typealias I32x16 = SIMD16<Int32>

/// One row of a panel of `TK_PANEL_LANES` 32-bit lanes.
let panelBytes = 128

@inline(__always) func loadF32(_ p: UnsafeRawPointer, _ offset: Int) -> F32x16 {
  p.loadUnaligned(fromByteOffset: offset, as: F32x16.self)
}
@inline(__always) func loadU32(_ p: UnsafeRawPointer, _ offset: Int) -> U32x16 {
  p.loadUnaligned(fromByteOffset: offset, as: U32x16.self)
}
@inline(__always) func loadI32(_ p: UnsafeRawPointer, _ offset: Int) -> I32x16 {
  p.loadUnaligned(fromByteOffset: offset, as: I32x16.self)
}
@inline(__always) func storeF32(_ v: F32x16, _ p: UnsafeMutableRawPointer, _ offset: Int) {
  p.storeBytes(of: v, toByteOffset: offset, as: F32x16.self)
}
@inline(__always) func storeF32(_ v: F32x16, _ p: UnsafeMutableRawPointer, _ offset: Int, adding: Bool) {
  storeF32(adding ? loadF32(p, offset) + v : v, p, offset)
}
@inline(__always) func storeU32(_ v: U32x16, _ p: UnsafeMutableRawPointer, _ offset: Int) {
  p.storeBytes(of: v, toByteOffset: offset, as: U32x16.self)
}
@inline(__always) func splatF32(_ p: UnsafeRawPointer) -> F32x16 { F32x16(repeating: p.load(as: Float.self)) }
@inline(__always) func splatU32(_ p: UnsafeRawPointer) -> U32x16 {
  U32x16(repeating: p.loadUnaligned(as: UInt32.self))
}

@inline(__always) func multiplyAdd(_ sum: F32x16, _ a: F32x16, _ b: F32x16) -> F32x16 {
  #if ISA_V2
  // Without FMA hardware addingProduct is a call to libm per lane.
  return sum + a * b
  #else
  return sum.addingProduct(a, b)
  #endif
}

/// The larger, lane by lane; a NaN in `x` is ignored.
@inline(__always) func larger(_ m: F32x16, _ x: F32x16) -> F32x16 { m.replacing(with: x, where: x .> m) }
