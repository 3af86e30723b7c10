// p V of bf16 and i8 rows by dot-product instructions: rows interleaved, so that a lane's products belong to one column
// (docs/precision.md, "decode"). The weights are packed in place: 16 places take 32 bytes at the front of a query's p.
import CShims

#if ISA_V4X
/// Weights of four queries to pairs of bf16, zeros up to a multiple of 16.
@inline(__always) func packPairs(_ p: Floats, _ n: Int) {
  let out = UnsafeMutableRawPointer(p)
  var t = 0
  while t &+ 16 <= n {
    ts_store_bf16(out + 2 &* t, ts_load_f32(p + t))
    t &+= 16
  }
  if t < n { ts_store_bf16(out + 2 &* t, ts_load_f32_part(p + t, Int32(truncatingIfNeeded: n &- t))) }
}

/// o[g][0 ..< 128] += sum_t p[g][t] v_t for four queries, two rows at a time.
@inline(never) func accumulatePairs(_ r: tk_rows, _ n: Int, _ p: Floats, _ ps: Int, _ d: Int, _ o: Floats) {
  packPairs(p, n)
  packPairs(p + ps, n)
  packPairs(p + 2 &* ps, n)
  packPairs(p + 3 &* ps, n)
  let w0 = UnsafeRawPointer(p)
  let w1 = UnsafeRawPointer(p + ps)
  let w2 = UnsafeRawPointer(p + 2 &* ps)
  let w3 = UnsafeRawPointer(p + 3 &* ps)
  let step = r.stride &* 2
  let zero = ts_splat_word(0)
  var c = 0
  while c < d {
    var a0l0 = ts_splat(0)
    var a0h0 = a0l0, a0l1 = a0l0, a0h1 = a0l0, a1l0 = a0l0, a1h0 = a0l0
    var a1l1 = a0l0, a1h1 = a0l0, a2l0 = a0l0, a2h0 = a0l0, a2l1 = a0l0
    var a2h1 = a0l0, a3l0 = a0l0, a3h0 = a0l0, a3l1 = a0l0, a3h1 = a0l0
    var t = 0
    while t &+ 2 <= n {
      var v0 = r.base.unsafelyUnwrapped + c &* 2
      var v1 = v0
      if let rows = r.rows {
        v0 += Int(rows[t]) &* step
        v1 += Int(rows[t &+ 1]) &* step
      } else {
        v0 += t &* step
        v1 = v0 + step
      }
      if r.ahead != nil {
        let next0 = aheadRow(2, r, t) + c &* 2
        let next1 = aheadRow(2, r, t &+ 1) + c &* 2
        ts_prefetch(next0)
        ts_prefetch(next0 + 64)
        ts_prefetch(next1)
        ts_prefetch(next1 + 64)
      }
      let x0 = ts_load64(v0 + 0), y0 = ts_load64(v1 + 0)
      pairStep(&a0l0, &a0h0, &a1l0, &a1h0, &a2l0, &a2h0, &a3l0, &a3h0, x0, y0, w0, w1, w2, w3, 2 &* t)
      let x1 = ts_load64(v0 + 64), y1 = ts_load64(v1 + 64)
      pairStep(&a0l1, &a0h1, &a1l1, &a1h1, &a2l1, &a2h1, &a3l1, &a3h1, x1, y1, w0, w1, w2, w3, 2 &* t)
      t &+= 2
    }
    if t < n {
      let v = rowAddress(2, r, t) + c &* 2
      pairStep(&a0l0, &a0h0, &a1l0, &a1h0, &a2l0, &a2h0, &a3l0, &a3h0, ts_load64(v + 0), zero, w0, w1, w2, w3, 2 &* t)
      pairStep(&a0l1, &a0h1, &a1l1, &a1h1, &a2l1, &a2h1, &a3l1, &a3h1, ts_load64(v + 64), zero, w0, w1, w2, w3, 2 &* t)
    }
    ts_add_pairs(o + (0 &* d &+ c), a0l0, a0h0)
    ts_add_pairs(o + (0 &* d &+ c &+ 32), a0l1, a0h1)
    ts_add_pairs(o + (1 &* d &+ c), a1l0, a1h0)
    ts_add_pairs(o + (1 &* d &+ c &+ 32), a1l1, a1h1)
    ts_add_pairs(o + (2 &* d &+ c), a2l0, a2h0)
    ts_add_pairs(o + (2 &* d &+ c &+ 32), a2l1, a2h1)
    ts_add_pairs(o + (3 &* d &+ c), a3l0, a3h0)
    ts_add_pairs(o + (3 &* d &+ c &+ 32), a3l1, a3h1)
    c &+= 64
  }
}

@inline(__always) func pairStep(
  _ a0l: inout F, _ a0h: inout F, _ a1l: inout F, _ a1h: inout F, _ a2l: inout F, _ a2h: inout F, _ a3l: inout F,
  _ a3h: inout F, _ x: W, _ y: W, _ w0: UnsafeRawPointer, _ w1: UnsafeRawPointer, _ w2: UnsafeRawPointer, _ w3: UnsafeRawPointer, _ i: Int
) {
  let low = ts_pairs_low(x, y)
  let high = ts_pairs_high(x, y)
  a0l = ts_dot_weights(a0l, low, w0 + i)
  a0h = ts_dot_weights(a0h, high, w0 + i)
  a1l = ts_dot_weights(a1l, low, w1 + i)
  a1h = ts_dot_weights(a1h, high, w1 + i)
  a2l = ts_dot_weights(a2l, low, w2 + i)
  a2h = ts_dot_weights(a2h, high, w2 + i)
  a3l = ts_dot_weights(a3l, low, w3 + i)
  a3h = ts_dot_weights(a3h, high, w3 + i)
}

/// Weights p_t times the rows' scales, in units of 1/65535 of the largest, as high and low bytes: [16 high][16 low] per 16
/// places. Returns the unit; NaN if a weight is not finite.
@inline(__always) func packBytes(_ r: tk_rows, _ p: Floats, _ n: Int) -> Float {
  var top = ts_splat(0)
  var check = ts_splat(0)
  let zero = ts_splat(0)
  let contiguous = r.rows == nil && r.scale_stride == 1
  var t = 0
  while t < n {
    let rest = Int32(truncatingIfNeeded: n &- t)
    var w = rest >= 16 ? ts_load_f32(p + t) : ts_load_f32_part(p + t, rest)
    if let scale = r.scale {
      if contiguous {
        w = w * (rest >= 16 ? ts_load_f32(scale + t) : ts_load_f32_part(scale + t, rest))
      } else {
        var j = 0
        while j < 16 && t &+ j < n {
          w[j] *= rowScale(r, t &+ j)
          j &+= 1
        }
      }
    }
    if rest >= 16 { ts_store_f32(p + t, w) } else { ts_store_f32_part(p + t, w, rest) }
    top = ts_max(w, top)
    check = ts_fma(check, w, zero)
    t &+= 16
  }
  let most = ts_hmax(top)
  let unit = ts_splat(most > 0 ? 65535 / most : 0)
  let out = UnsafeMutableRawPointer(p)
  t = 0
  while t < n {
    let rest = Int32(truncatingIfNeeded: n &- t)
    let w = rest >= 16 ? ts_load_f32(p + t) : ts_load_f32_part(p + t, rest)
    let x = ts_round(w * unit)
    ts_store_bytes(out + 2 &* t, ts_high_bytes(x))
    ts_store_bytes(out + (2 &* t &+ 16), x)
    t &+= 16
  }
  return most * (1.0 / 65535) + ts_sum(check)
}

/// o[g][0 ..< d] += sum_t p[g][t] v_t for four queries, four rows at a time; d is a multiple of 64.
@inline(never) func accumulateBytes(_ r: tk_rows, _ n: Int, _ p: Floats, _ ps: Int, _ d: Int, _ o: Floats) {
  let u0 = packBytes(r, p, n)
  let u1 = packBytes(r, p + ps, n)
  let u2 = packBytes(r, p + 2 &* ps, n)
  let u3 = packBytes(r, p + 3 &* ps, n)
  var c = 0
  while c < d {
    accumulateHalf(r, n, p, ps, d, o, c, false, u0, u1, u2, u3)
    accumulateHalf(r, n, p, ps, d, o, c, true, u0, u1, u2, u3)
    c &+= 64
  }
}

/// Half of the columns c ..< c + 64: those 16 l + 0 ..< 8 or, `upper`, 16 l + 8 ..< 16.
@inline(__always) func accumulateHalf(
  _ r: tk_rows, _ n: Int, _ p: Floats, _ ps: Int, _ d: Int, _ o: Floats, _ c: Int, _ upper: Bool, _ u0: Float, _ u1: Float,
  _ u2: Float, _ u3: Float
) {
  let w0 = UnsafeRawPointer(p)
  let w1 = UnsafeRawPointer(p + ps)
  let w2 = UnsafeRawPointer(p + 2 &* ps)
  let w3 = UnsafeRawPointer(p + 3 &* ps)
  let step = r.stride
  let base = r.base.unsafelyUnwrapped + c
  var h00 = ts_splat_word(0)
  var h01 = h00, h10 = h00, h11 = h00, h20 = h00, h21 = h00
  var h30 = h00, h31 = h00, l00 = h00, l01 = h00, l10 = h00
  var l11 = h00, l20 = h00, l21 = h00, l30 = h00, l31 = h00
  var t = 0
  if r.rows == nil {
    var v = base
    while t &+ 4 <= n {
      if !upper {
        let next = aheadFour(r, t, v - c) + c
        ts_prefetch(next)
        ts_prefetch(next + step)
        ts_prefetch(next + 2 &* step)
        ts_prefetch(next + 3 &* step)
      }
      let (b0, b1) = interleaved(v, v + step, v + 2 &* step, v + 3 &* step, upper)
      let i = (t &>> 4) &* 32 &+ (t & 15)
      quadStep(&h00, &h01, &l00, &l01, b0, b1, w0 + i)
      quadStep(&h10, &h11, &l10, &l11, b0, b1, w1 + i)
      quadStep(&h20, &h21, &l20, &l21, b0, b1, w2 + i)
      quadStep(&h30, &h31, &l30, &l31, b0, b1, w3 + i)
      v += 4 &* step
      t &+= 4
    }
  }
  while t < n {
    // Rows beyond the last repeat it, with weights of zero.
    let v0 = base + rowNumber(r, t) &* step
    let v1 = base + rowNumber(r, t &+ 1 < n ? t &+ 1 : t) &* step
    let v2 = base + rowNumber(r, t &+ 2 < n ? t &+ 2 : t) &* step
    let v3 = base + rowNumber(r, t &+ 3 < n ? t &+ 3 : t) &* step
    if !upper {
      let next = aheadQuad(3, r, t, (v0 - c, v1 - c, v2 - c, v3 - c))
      ts_prefetch(next.0 + c)
      ts_prefetch(next.1 + c)
      ts_prefetch(next.2 + c)
      ts_prefetch(next.3 + c)
    }
    let (b0, b1) = interleaved(v0, v1, v2, v3, upper)
    let i = (t &>> 4) &* 32 &+ (t & 15)
    quadStep(&h00, &h01, &l00, &l01, b0, b1, w0 + i)
    quadStep(&h10, &h11, &l10, &l11, b0, b1, w1 + i)
    quadStep(&h20, &h21, &l20, &l21, b0, b1, w2 + i)
    quadStep(&h30, &h31, &l30, &l31, b0, b1, w3 + i)
    t &+= 4
  }
  let home = o + (c &+ (upper ? 32 : 0))
  addQuads(home, h00, h01, l00, l01, u0)
  addQuads(home + 1 &* d, h10, h11, l10, l11, u1)
  addQuads(home + 2 &* d, h20, h21, l20, l21, u2)
  addQuads(home + 3 &* d, h30, h31, l30, l31, u3)
}

/// Columns 16 l + 0 ..< 4 and 4 ..< 8 (`upper`: 8 ..< 12 and 12 ..< 16) of 64 bytes of four rows, byte r of a word from row r.
@inline(__always) func interleaved(
  _ v0: UnsafeRawPointer, _ v1: UnsafeRawPointer, _ v2: UnsafeRawPointer, _ v3: UnsafeRawPointer, _ upper: Bool
) -> (W, W) {
  let x0 = ts_load64(v0), x1 = ts_load64(v1), x2 = ts_load64(v2), x3 = ts_load64(v3)
  let s = upper ? ts_bytes_high(x0, x1) : ts_bytes_low(x0, x1)
  let e = upper ? ts_bytes_high(x2, x3) : ts_bytes_low(x2, x3)
  return (ts_pairs_low(s, e), ts_pairs_high(s, e))
}

/// Where what follows four rows from t on begins: contiguous rows, or one of a list and what lies behind it.
@inline(__always) func aheadFour(_ r: tk_rows, _ t: Int, _ v: UnsafeRawPointer) -> UnsafeRawPointer {
  guard let ahead = r.ahead else { return v }
  return rowAddress(3, ahead.pointee, t < r.ahead_count ? t : r.ahead_count &- 1)
}

@inline(__always) func quadStep(
  _ h0: inout W, _ h1: inout W, _ l0: inout W, _ l1: inout W, _ b0: W, _ b1: W, _ w: UnsafeRawPointer
) {
  let high = ts_splat_word(w.loadUnaligned(as: Int32.self))
  h0 = ts_dot_u8(h0, high, b0)
  h1 = ts_dot_u8(h1, high, b1)
  let low = ts_splat_word((w + 16).loadUnaligned(as: Int32.self))
  l0 = ts_dot_u8(l0, low, b0)
  l1 = ts_dot_u8(l1, low, b1)
}

@inline(__always) func addQuads(_ o: Floats, _ h0: W, _ h1: W, _ l0: W, _ l1: W, _ unit: Float) {
  let s = ts_splat(unit)
  let x = ts_fma(ts_to_f32(l0), ts_to_f32(h0), ts_splat(256))
  let y = ts_fma(ts_to_f32(l1), ts_to_f32(h1), ts_splat(256))
  ts_store_f32(o, ts_fma(ts_load_f32(o), x, s))
  ts_store_f32(o + 16, ts_fma(ts_load_f32(o + 16), y, s))
}

/// Whether the packed weights of n places fit where the weights were.
@inline(__always) var leastPacked: Int { 8 }

@inline(never) func accumulateBF16Pairs(_ r: Rows, _ n: Int, _ p: Floats, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats) {
  var g = 0
  if n >= leastPacked && d % 64 == 0 {
    while g &+ 4 <= count {
      accumulatePairs(r.pointee, n, p + g &* ps, ps, d, o + g &* d)
      g &+= 4
    }
  }
  accumulateBF16(r, n, p + g &* ps, ps, count &- g, d, o + g &* d)
}

/// Four queries' sums lie as the interleaved rows leave them: of 64 columns vector j holds 16 l + 4 j ..< + 4 in quarter l. Put
/// in order once at the end (reorderI8), not once a block.
@inline(never) func accumulateI8Quads(_ r: Rows, _ n: Int, _ p: Floats, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats) {
  var g = 0
  if d % 64 == 0 {
    while g &+ 4 <= count {
      if n >= leastPacked && n <= 32768 {
        accumulateBytes(r.pointee, n, p + g &* ps, ps, d, o + g &* d)
      } else {
        reorderI8(o + g &* d, 4, d)
        accumulateI8(r, n, p + g &* ps, ps, 4, d, o + g &* d)
        reorderI8(o + g &* d, 4, d)
      }
      g &+= 4
    }
  }
  accumulateI8(r, n, p + g &* ps, ps, count &- g, d, o + g &* d)
}

/// A transposition: there and back.
@inline(never) func reorderI8(_ o: Floats, _ count: Int, _ d: Int) {
  if d % 64 != 0 { return }
  var i = 0
  while i < count / 4 &* 4 &* d {
    ts_transpose_quarters(o + i)
    i &+= 64
  }
}
#endif
