// Written by generate_micro_tile.py.
import CShims

#if ISA_V4 || ISA_V4X
/// The register tile of this level: `tileRows` rows of A times `tileLanes` lanes of B.
let tileRows = 8
let tileLanes = 32

/// C[row][lane] (+)= sum over step of A[row][step] * B[step][lane], for 8 rows and 32 lanes.
///
/// A is read in place: `aRow` and `aStep` are its strides in bytes, so the same tile serves K . Q^T (steps along a row)
/// and V^T . P^T (steps down a column). B and C have rows of `panelBytes`. Of the 8 rows the first `rows` are stored;
/// the others repeat the last one, so nothing out of bounds is read.
@inline(__always)
func tileF32(
  _ a: UnsafeRawPointer, aRow: Int, aStep: Int, _ b: UnsafeRawPointer, steps: Int,
  _ c: UnsafeMutableRawPointer, rows: Int, adding: Bool
) {
  let last = rows &- 1
  var a0 = a
  var a1 = a + (last < 1 ? last : 1) &* aRow
  var a2 = a + (last < 2 ? last : 2) &* aRow
  var a3 = a + (last < 3 ? last : 3) &* aRow
  var a4 = a + (last < 4 ? last : 4) &* aRow
  var a5 = a + (last < 5 ? last : 5) &* aRow
  var a6 = a + (last < 6 ? last : 6) &* aRow
  var a7 = a + (last < 7 ? last : 7) &* aRow
  var c00 = F32x16.zero
  var c01 = F32x16.zero
  var c10 = F32x16.zero
  var c11 = F32x16.zero
  var c20 = F32x16.zero
  var c21 = F32x16.zero
  var c30 = F32x16.zero
  var c31 = F32x16.zero
  var c40 = F32x16.zero
  var c41 = F32x16.zero
  var c50 = F32x16.zero
  var c51 = F32x16.zero
  var c60 = F32x16.zero
  var c61 = F32x16.zero
  var c70 = F32x16.zero
  var c71 = F32x16.zero
  var b = b
  var left = steps
  while left > 0 {
    let b0 = loadF32(b, 0)
    let b1 = loadF32(b, 64)
    let s0 = splatF32(a0)
    c00 = multiplyAdd(c00, s0, b0)
    c01 = multiplyAdd(c01, s0, b1)
    a0 += aStep
    let s1 = splatF32(a1)
    c10 = multiplyAdd(c10, s1, b0)
    c11 = multiplyAdd(c11, s1, b1)
    a1 += aStep
    let s2 = splatF32(a2)
    c20 = multiplyAdd(c20, s2, b0)
    c21 = multiplyAdd(c21, s2, b1)
    a2 += aStep
    let s3 = splatF32(a3)
    c30 = multiplyAdd(c30, s3, b0)
    c31 = multiplyAdd(c31, s3, b1)
    a3 += aStep
    let s4 = splatF32(a4)
    c40 = multiplyAdd(c40, s4, b0)
    c41 = multiplyAdd(c41, s4, b1)
    a4 += aStep
    let s5 = splatF32(a5)
    c50 = multiplyAdd(c50, s5, b0)
    c51 = multiplyAdd(c51, s5, b1)
    a5 += aStep
    let s6 = splatF32(a6)
    c60 = multiplyAdd(c60, s6, b0)
    c61 = multiplyAdd(c61, s6, b1)
    a6 += aStep
    let s7 = splatF32(a7)
    c70 = multiplyAdd(c70, s7, b0)
    c71 = multiplyAdd(c71, s7, b1)
    a7 += aStep
    b += panelBytes
    left &-= 1
  }
  storeF32(c00, c, 0 &* panelBytes &+ 0, adding: adding)
  storeF32(c01, c, 0 &* panelBytes &+ 64, adding: adding)
  if last >= 1 {
    storeF32(c10, c, 1 &* panelBytes &+ 0, adding: adding)
    storeF32(c11, c, 1 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 2 {
    storeF32(c20, c, 2 &* panelBytes &+ 0, adding: adding)
    storeF32(c21, c, 2 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 3 {
    storeF32(c30, c, 3 &* panelBytes &+ 0, adding: adding)
    storeF32(c31, c, 3 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 4 {
    storeF32(c40, c, 4 &* panelBytes &+ 0, adding: adding)
    storeF32(c41, c, 4 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 5 {
    storeF32(c50, c, 5 &* panelBytes &+ 0, adding: adding)
    storeF32(c51, c, 5 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 6 {
    storeF32(c60, c, 6 &* panelBytes &+ 0, adding: adding)
    storeF32(c61, c, 6 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 7 {
    storeF32(c70, c, 7 &* panelBytes &+ 0, adding: adding)
    storeF32(c71, c, 7 &* panelBytes &+ 64, adding: adding)
  }
}

#if ISA_V4X
/// As `tileF32`, where an element of A and of B is a pair of bf16 and a step adds both products.
@inline(__always)
func tileBF16(
  _ a: UnsafeRawPointer, aRow: Int, aStep: Int, _ b: UnsafeRawPointer, steps: Int,
  _ c: UnsafeMutableRawPointer, rows: Int, adding: Bool
) {
  let last = rows &- 1
  var a0 = a
  var a1 = a + (last < 1 ? last : 1) &* aRow
  var a2 = a + (last < 2 ? last : 2) &* aRow
  var a3 = a + (last < 3 ? last : 3) &* aRow
  var a4 = a + (last < 4 ? last : 4) &* aRow
  var a5 = a + (last < 5 ? last : 5) &* aRow
  var a6 = a + (last < 6 ? last : 6) &* aRow
  var a7 = a + (last < 7 ? last : 7) &* aRow
  var c00 = F32x16.zero
  var c01 = F32x16.zero
  var c10 = F32x16.zero
  var c11 = F32x16.zero
  var c20 = F32x16.zero
  var c21 = F32x16.zero
  var c30 = F32x16.zero
  var c31 = F32x16.zero
  var c40 = F32x16.zero
  var c41 = F32x16.zero
  var c50 = F32x16.zero
  var c51 = F32x16.zero
  var c60 = F32x16.zero
  var c61 = F32x16.zero
  var c70 = F32x16.zero
  var c71 = F32x16.zero
  var b = b
  var left = steps
  while left > 0 {
    let b0 = loadU32(b, 0)
    let b1 = loadU32(b, 64)
    let s0 = splatU32(a0)
    c00 = tk_dot_bf16(c00, s0, b0)
    c01 = tk_dot_bf16(c01, s0, b1)
    a0 += aStep
    let s1 = splatU32(a1)
    c10 = tk_dot_bf16(c10, s1, b0)
    c11 = tk_dot_bf16(c11, s1, b1)
    a1 += aStep
    let s2 = splatU32(a2)
    c20 = tk_dot_bf16(c20, s2, b0)
    c21 = tk_dot_bf16(c21, s2, b1)
    a2 += aStep
    let s3 = splatU32(a3)
    c30 = tk_dot_bf16(c30, s3, b0)
    c31 = tk_dot_bf16(c31, s3, b1)
    a3 += aStep
    let s4 = splatU32(a4)
    c40 = tk_dot_bf16(c40, s4, b0)
    c41 = tk_dot_bf16(c41, s4, b1)
    a4 += aStep
    let s5 = splatU32(a5)
    c50 = tk_dot_bf16(c50, s5, b0)
    c51 = tk_dot_bf16(c51, s5, b1)
    a5 += aStep
    let s6 = splatU32(a6)
    c60 = tk_dot_bf16(c60, s6, b0)
    c61 = tk_dot_bf16(c61, s6, b1)
    a6 += aStep
    let s7 = splatU32(a7)
    c70 = tk_dot_bf16(c70, s7, b0)
    c71 = tk_dot_bf16(c71, s7, b1)
    a7 += aStep
    b += panelBytes
    left &-= 1
  }
  storeF32(c00, c, 0 &* panelBytes &+ 0, adding: adding)
  storeF32(c01, c, 0 &* panelBytes &+ 64, adding: adding)
  if last >= 1 {
    storeF32(c10, c, 1 &* panelBytes &+ 0, adding: adding)
    storeF32(c11, c, 1 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 2 {
    storeF32(c20, c, 2 &* panelBytes &+ 0, adding: adding)
    storeF32(c21, c, 2 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 3 {
    storeF32(c30, c, 3 &* panelBytes &+ 0, adding: adding)
    storeF32(c31, c, 3 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 4 {
    storeF32(c40, c, 4 &* panelBytes &+ 0, adding: adding)
    storeF32(c41, c, 4 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 5 {
    storeF32(c50, c, 5 &* panelBytes &+ 0, adding: adding)
    storeF32(c51, c, 5 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 6 {
    storeF32(c60, c, 6 &* panelBytes &+ 0, adding: adding)
    storeF32(c61, c, 6 &* panelBytes &+ 64, adding: adding)
  }
  if last >= 7 {
    storeF32(c70, c, 7 &* panelBytes &+ 0, adding: adding)
    storeF32(c71, c, 7 &* panelBytes &+ 64, adding: adding)
  }
}
#endif
#endif
