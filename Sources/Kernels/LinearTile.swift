// Written by generate_linear_tile.py.
import CShims

#if ISA_V4 || ISA_V4X
@inline(__always) var linearRows: Int { 12 }
@inline(__always) var linearVectors: Int { 2 }
#elseif ISA_V3 || ISA_NEON
@inline(__always) var linearRows: Int { 6 }
@inline(__always) var linearVectors: Int { 2 }
#else
@inline(__always) var linearRows: Int { 6 }
@inline(__always) var linearVectors: Int { 1 }
#endif

/// Y[row][lane] (+)= sum over word of X[row][word] * W[word][lane] for the first `rows` rows and one panel of W. `kind`
/// and `rows` are literals at every call, so what a smaller tile does not use folds away. Rows of x are read in place:
/// three share a pointer, which leaves registers for the others.
@inline(__always) func linearTile(
  _ kind: Int, _ rows: Int, _ x: UnsafeRawPointer, _ stride: Int, _ w: UnsafeRawPointer, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ yStride: Int, adding: Bool
) {
  let vector = kind == 2 ? i8VectorBytes : lanes &* 4
  var c0a = ts_splat(0)
  var c0b = ts_splat(0)
  var c1a = ts_splat(0)
  var c1b = ts_splat(0)
  var c2a = ts_splat(0)
  var c2b = ts_splat(0)
  var c3a = ts_splat(0)
  var c3b = ts_splat(0)
  var c4a = ts_splat(0)
  var c4b = ts_splat(0)
  var c5a = ts_splat(0)
  var c5b = ts_splat(0)
  var c6a = ts_splat(0)
  var c6b = ts_splat(0)
  var c7a = ts_splat(0)
  var c7b = ts_splat(0)
  var c8a = ts_splat(0)
  var c8b = ts_splat(0)
  var c9a = ts_splat(0)
  var c9b = ts_splat(0)
  var c10a = ts_splat(0)
  var c10b = ts_splat(0)
  var c11a = ts_splat(0)
  var c11b = ts_splat(0)
  if adding {
    if rows > 0 {
      c0a = ts_load_f32(y + 0 &* yStride)
      if linearVectors > 1 { c0b = ts_load_f32(y + (0 &* yStride &+ lanes &* 4)) }
    }
    if rows > 1 {
      c1a = ts_load_f32(y + 1 &* yStride)
      if linearVectors > 1 { c1b = ts_load_f32(y + (1 &* yStride &+ lanes &* 4)) }
    }
    if rows > 2 {
      c2a = ts_load_f32(y + 2 &* yStride)
      if linearVectors > 1 { c2b = ts_load_f32(y + (2 &* yStride &+ lanes &* 4)) }
    }
    if rows > 3 {
      c3a = ts_load_f32(y + 3 &* yStride)
      if linearVectors > 1 { c3b = ts_load_f32(y + (3 &* yStride &+ lanes &* 4)) }
    }
    if rows > 4 {
      c4a = ts_load_f32(y + 4 &* yStride)
      if linearVectors > 1 { c4b = ts_load_f32(y + (4 &* yStride &+ lanes &* 4)) }
    }
    if rows > 5 {
      c5a = ts_load_f32(y + 5 &* yStride)
      if linearVectors > 1 { c5b = ts_load_f32(y + (5 &* yStride &+ lanes &* 4)) }
    }
    if rows > 6 {
      c6a = ts_load_f32(y + 6 &* yStride)
      if linearVectors > 1 { c6b = ts_load_f32(y + (6 &* yStride &+ lanes &* 4)) }
    }
    if rows > 7 {
      c7a = ts_load_f32(y + 7 &* yStride)
      if linearVectors > 1 { c7b = ts_load_f32(y + (7 &* yStride &+ lanes &* 4)) }
    }
    if rows > 8 {
      c8a = ts_load_f32(y + 8 &* yStride)
      if linearVectors > 1 { c8b = ts_load_f32(y + (8 &* yStride &+ lanes &* 4)) }
    }
    if rows > 9 {
      c9a = ts_load_f32(y + 9 &* yStride)
      if linearVectors > 1 { c9b = ts_load_f32(y + (9 &* yStride &+ lanes &* 4)) }
    }
    if rows > 10 {
      c10a = ts_load_f32(y + 10 &* yStride)
      if linearVectors > 1 { c10b = ts_load_f32(y + (10 &* yStride &+ lanes &* 4)) }
    }
    if rows > 11 {
      c11a = ts_load_f32(y + 11 &* yStride)
      if linearVectors > 1 { c11b = ts_load_f32(y + (11 &* yStride &+ lanes &* 4)) }
    }
  }
  var x0 = x + 0 &* stride
  var x3 = x + 3 &* stride
  var x6 = x + 6 &* stride
  var x9 = x + 9 &* stride
  var w = w
  var left = words
  while left > 0 {
    w = tl_here(w)
    let a0 = loadWeights(kind, w)
    let b0 = linearVectors > 1 ? loadWeights(kind, w + vector) : a0
    if rows > 0 { multiply0(kind, x0, stride, &c0a, &c0b, a0, b0) }
    if rows > 1 { multiply1(kind, x0, stride, &c1a, &c1b, a0, b0) }
    if rows > 2 { multiply2(kind, x0, stride, &c2a, &c2b, a0, b0) }
    if rows > 3 { multiply0(kind, x3, stride, &c3a, &c3b, a0, b0) }
    if rows > 4 { multiply1(kind, x3, stride, &c4a, &c4b, a0, b0) }
    if rows > 5 { multiply2(kind, x3, stride, &c5a, &c5b, a0, b0) }
    if rows > 6 { multiply0(kind, x6, stride, &c6a, &c6b, a0, b0) }
    if rows > 7 { multiply1(kind, x6, stride, &c7a, &c7b, a0, b0) }
    if rows > 8 { multiply2(kind, x6, stride, &c8a, &c8b, a0, b0) }
    if rows > 9 { multiply0(kind, x9, stride, &c9a, &c9b, a0, b0) }
    if rows > 10 { multiply1(kind, x9, stride, &c10a, &c10b, a0, b0) }
    if rows > 11 { multiply2(kind, x9, stride, &c11a, &c11b, a0, b0) }
    x0 += 4
    x3 += 4
    x6 += 4
    x9 += 4
    w += linearVectors &* vector
    w = tl_here(w)
    let a1 = loadWeights(kind, w)
    let b1 = linearVectors > 1 ? loadWeights(kind, w + vector) : a1
    if rows > 0 { multiply0(kind, x0, stride, &c0a, &c0b, a1, b1) }
    if rows > 1 { multiply1(kind, x0, stride, &c1a, &c1b, a1, b1) }
    if rows > 2 { multiply2(kind, x0, stride, &c2a, &c2b, a1, b1) }
    if rows > 3 { multiply0(kind, x3, stride, &c3a, &c3b, a1, b1) }
    if rows > 4 { multiply1(kind, x3, stride, &c4a, &c4b, a1, b1) }
    if rows > 5 { multiply2(kind, x3, stride, &c5a, &c5b, a1, b1) }
    if rows > 6 { multiply0(kind, x6, stride, &c6a, &c6b, a1, b1) }
    if rows > 7 { multiply1(kind, x6, stride, &c7a, &c7b, a1, b1) }
    if rows > 8 { multiply2(kind, x6, stride, &c8a, &c8b, a1, b1) }
    if rows > 9 { multiply0(kind, x9, stride, &c9a, &c9b, a1, b1) }
    if rows > 10 { multiply1(kind, x9, stride, &c10a, &c10b, a1, b1) }
    if rows > 11 { multiply2(kind, x9, stride, &c11a, &c11b, a1, b1) }
    x0 += 4
    x3 += 4
    x6 += 4
    x9 += 4
    w += linearVectors &* vector
    w = tl_here(w)
    let a2 = loadWeights(kind, w)
    let b2 = linearVectors > 1 ? loadWeights(kind, w + vector) : a2
    if rows > 0 { multiply0(kind, x0, stride, &c0a, &c0b, a2, b2) }
    if rows > 1 { multiply1(kind, x0, stride, &c1a, &c1b, a2, b2) }
    if rows > 2 { multiply2(kind, x0, stride, &c2a, &c2b, a2, b2) }
    if rows > 3 { multiply0(kind, x3, stride, &c3a, &c3b, a2, b2) }
    if rows > 4 { multiply1(kind, x3, stride, &c4a, &c4b, a2, b2) }
    if rows > 5 { multiply2(kind, x3, stride, &c5a, &c5b, a2, b2) }
    if rows > 6 { multiply0(kind, x6, stride, &c6a, &c6b, a2, b2) }
    if rows > 7 { multiply1(kind, x6, stride, &c7a, &c7b, a2, b2) }
    if rows > 8 { multiply2(kind, x6, stride, &c8a, &c8b, a2, b2) }
    if rows > 9 { multiply0(kind, x9, stride, &c9a, &c9b, a2, b2) }
    if rows > 10 { multiply1(kind, x9, stride, &c10a, &c10b, a2, b2) }
    if rows > 11 { multiply2(kind, x9, stride, &c11a, &c11b, a2, b2) }
    x0 += 4
    x3 += 4
    x6 += 4
    x9 += 4
    w += linearVectors &* vector
    w = tl_here(w)
    let a3 = loadWeights(kind, w)
    let b3 = linearVectors > 1 ? loadWeights(kind, w + vector) : a3
    if rows > 0 { multiply0(kind, x0, stride, &c0a, &c0b, a3, b3) }
    if rows > 1 { multiply1(kind, x0, stride, &c1a, &c1b, a3, b3) }
    if rows > 2 { multiply2(kind, x0, stride, &c2a, &c2b, a3, b3) }
    if rows > 3 { multiply0(kind, x3, stride, &c3a, &c3b, a3, b3) }
    if rows > 4 { multiply1(kind, x3, stride, &c4a, &c4b, a3, b3) }
    if rows > 5 { multiply2(kind, x3, stride, &c5a, &c5b, a3, b3) }
    if rows > 6 { multiply0(kind, x6, stride, &c6a, &c6b, a3, b3) }
    if rows > 7 { multiply1(kind, x6, stride, &c7a, &c7b, a3, b3) }
    if rows > 8 { multiply2(kind, x6, stride, &c8a, &c8b, a3, b3) }
    if rows > 9 { multiply0(kind, x9, stride, &c9a, &c9b, a3, b3) }
    if rows > 10 { multiply1(kind, x9, stride, &c10a, &c10b, a3, b3) }
    if rows > 11 { multiply2(kind, x9, stride, &c11a, &c11b, a3, b3) }
    x0 += 4
    x3 += 4
    x6 += 4
    x9 += 4
    w += linearVectors &* vector
    left &-= 4
  }
  if rows > 0 {
    ts_store_f32(y + 0 &* yStride, c0a)
    if linearVectors > 1 { ts_store_f32(y + (0 &* yStride &+ lanes &* 4), c0b) }
  }
  if rows > 1 {
    ts_store_f32(y + 1 &* yStride, c1a)
    if linearVectors > 1 { ts_store_f32(y + (1 &* yStride &+ lanes &* 4), c1b) }
  }
  if rows > 2 {
    ts_store_f32(y + 2 &* yStride, c2a)
    if linearVectors > 1 { ts_store_f32(y + (2 &* yStride &+ lanes &* 4), c2b) }
  }
  if rows > 3 {
    ts_store_f32(y + 3 &* yStride, c3a)
    if linearVectors > 1 { ts_store_f32(y + (3 &* yStride &+ lanes &* 4), c3b) }
  }
  if rows > 4 {
    ts_store_f32(y + 4 &* yStride, c4a)
    if linearVectors > 1 { ts_store_f32(y + (4 &* yStride &+ lanes &* 4), c4b) }
  }
  if rows > 5 {
    ts_store_f32(y + 5 &* yStride, c5a)
    if linearVectors > 1 { ts_store_f32(y + (5 &* yStride &+ lanes &* 4), c5b) }
  }
  if rows > 6 {
    ts_store_f32(y + 6 &* yStride, c6a)
    if linearVectors > 1 { ts_store_f32(y + (6 &* yStride &+ lanes &* 4), c6b) }
  }
  if rows > 7 {
    ts_store_f32(y + 7 &* yStride, c7a)
    if linearVectors > 1 { ts_store_f32(y + (7 &* yStride &+ lanes &* 4), c7b) }
  }
  if rows > 8 {
    ts_store_f32(y + 8 &* yStride, c8a)
    if linearVectors > 1 { ts_store_f32(y + (8 &* yStride &+ lanes &* 4), c8b) }
  }
  if rows > 9 {
    ts_store_f32(y + 9 &* yStride, c9a)
    if linearVectors > 1 { ts_store_f32(y + (9 &* yStride &+ lanes &* 4), c9b) }
  }
  if rows > 10 {
    ts_store_f32(y + 10 &* yStride, c10a)
    if linearVectors > 1 { ts_store_f32(y + (10 &* yStride &+ lanes &* 4), c10b) }
  }
  if rows > 11 {
    ts_store_f32(y + 11 &* yStride, c11a)
    if linearVectors > 1 { ts_store_f32(y + (11 &* yStride &+ lanes &* 4), c11b) }
  }
}

#if ISA_V4X
@inline(__always) var i8VectorBytes: Int { 64 }
#else
@inline(__always) var i8VectorBytes: Int { lanes &* 2 }
#endif

@inline(__always) func loadWeights(_ kind: Int, _ w: UnsafeRawPointer) -> F { kind == 2 ? tl_load_i8(w) : ts_load_f32(w) }

@inline(__always) func multiply(_ kind: Int, _ x: UnsafeRawPointer, _ ca: inout F, _ cb: inout F, _ a: F, _ b: F) {
  let word = x.loadUnaligned(as: UInt32.self)
  if kind == 0 {
    ca = tl_mac_f32(ca, word, a)
    if linearVectors > 1 { cb = tl_mac_f32(cb, word, b) }
  } else if kind == 1 {
    ca = tl_mac_bf16(ca, word, a)
    if linearVectors > 1 { cb = tl_mac_bf16(cb, word, b) }
  } else {
    ca = tl_mac_i8(ca, word, a)
    if linearVectors > 1 { cb = tl_mac_i8(cb, word, b) }
  }
}

@inline(__always) func multiply0(
  _ kind: Int, _ x: UnsafeRawPointer, _ stride: Int, _ ca: inout F, _ cb: inout F, _ a: F, _ b: F
) {
  #if ISA_V4 || ISA_V4X
  if kind == 0 {
    ca = tl_f32_row_0(ca, x, stride, a)
    cb = tl_f32_row_0(cb, x, stride, b)
    return
  }
  #endif
  #if ISA_V4X
  if kind == 1 {
    ca = tl_bf16_row_0(ca, x, stride, a)
    cb = tl_bf16_row_0(cb, x, stride, b)
  } else {
    ca = tl_i8_row_0(ca, x, stride, a)
    cb = tl_i8_row_0(cb, x, stride, b)
  }
  #else
  multiply(kind, x, &ca, &cb, a, b)
  #endif
}
@inline(__always) func multiply1(
  _ kind: Int, _ x: UnsafeRawPointer, _ stride: Int, _ ca: inout F, _ cb: inout F, _ a: F, _ b: F
) {
  #if ISA_V4 || ISA_V4X
  if kind == 0 {
    ca = tl_f32_row_1(ca, x, stride, a)
    cb = tl_f32_row_1(cb, x, stride, b)
    return
  }
  #endif
  #if ISA_V4X
  if kind == 1 {
    ca = tl_bf16_row_1(ca, x, stride, a)
    cb = tl_bf16_row_1(cb, x, stride, b)
  } else {
    ca = tl_i8_row_1(ca, x, stride, a)
    cb = tl_i8_row_1(cb, x, stride, b)
  }
  #else
  multiply(kind, x + stride, &ca, &cb, a, b)
  #endif
}
@inline(__always) func multiply2(
  _ kind: Int, _ x: UnsafeRawPointer, _ stride: Int, _ ca: inout F, _ cb: inout F, _ a: F, _ b: F
) {
  #if ISA_V4 || ISA_V4X
  if kind == 0 {
    ca = tl_f32_row_2(ca, x, stride, a)
    cb = tl_f32_row_2(cb, x, stride, b)
    return
  }
  #endif
  #if ISA_V4X
  if kind == 1 {
    ca = tl_bf16_row_2(ca, x, stride, a)
    cb = tl_bf16_row_2(cb, x, stride, b)
  } else {
    ca = tl_i8_row_2(ca, x, stride, a)
    cb = tl_i8_row_2(cb, x, stride, b)
  }
  #else
  multiply(kind, x + 2 &* stride, &ca, &cb, a, b)
  #endif
}
