// Written by generate_micro_tile.py.
import CShims

#if ISA_V3
/// The register tile of this level: `tileRows` rows of A times `tileLanes` lanes of B.
let tileRows = 6
let tileLanes = 16

/// C[row][lane] (+)= sum over step of A[row][step] * B[step][lane], for 6 rows and 16 lanes.
///
/// A is read in place: `aRow` and `aStep` are its strides in bytes, so the same tile serves K . Q^T (steps along a row)
/// and V^T . P^T (steps down a column). B and C have rows of `panelBytes`. Of the 6 rows the first `rows` are stored;
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
  var c00 = F32x16.zero
  var c10 = F32x16.zero
  var c20 = F32x16.zero
  var c30 = F32x16.zero
  var c40 = F32x16.zero
  var c50 = F32x16.zero
  var b = b
  var left = steps
  while left > 0 {
    let b0 = loadF32(b, 0)
    let s0 = splatF32(a0)
    c00 = multiplyAdd(c00, s0, b0)
    a0 += aStep
    let s1 = splatF32(a1)
    c10 = multiplyAdd(c10, s1, b0)
    a1 += aStep
    let s2 = splatF32(a2)
    c20 = multiplyAdd(c20, s2, b0)
    a2 += aStep
    let s3 = splatF32(a3)
    c30 = multiplyAdd(c30, s3, b0)
    a3 += aStep
    let s4 = splatF32(a4)
    c40 = multiplyAdd(c40, s4, b0)
    a4 += aStep
    let s5 = splatF32(a5)
    c50 = multiplyAdd(c50, s5, b0)
    a5 += aStep
    b += panelBytes
    left &-= 1
  }
  storeF32(c00, c, 0 &* panelBytes &+ 0, adding: adding)
  if last >= 1 {
    storeF32(c10, c, 1 &* panelBytes &+ 0, adding: adding)
  }
  if last >= 2 {
    storeF32(c20, c, 2 &* panelBytes &+ 0, adding: adding)
  }
  if last >= 3 {
    storeF32(c30, c, 3 &* panelBytes &+ 0, adding: adding)
  }
  if last >= 4 {
    storeF32(c40, c, 4 &* panelBytes &+ 0, adding: adding)
  }
  if last >= 5 {
    storeF32(c50, c, 5 &* panelBytes &+ 0, adding: adding)
  }
}
#endif
