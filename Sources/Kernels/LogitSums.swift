// Sums over a block of a row of logits: exponentials and their moments about a reference near the row's maximum.
import CShims

/// Elements i ..< i + count of a row as f32, -inf above; `count` is less than `lanes`.
@inline(__always) func loadPart(_ kind: Int, _ row: UnsafeRawPointer, _ i: Int, _ count: Int) -> F {
  if kind == 0 { return tg_part_f32(row + i &* 4, count, negativeInfinity) }
  return tg_part_16(row + i &* 2, count, negativeInfinity, kind == 1 ? 1 : 0)
}

/// Four vectors of entries from i on, in any order.
@inline(__always) func loadFour(_ kind: Int, _ row: UnsafeRawPointer, _ i: Int) -> (F, F, F, F) {
  if kind == 2 {
    let a = ts_load_words(row + i &* 2)
    let b = ts_load_words(row + (i &+ 2 &* lanes) &* 2)
    return (tg_even_bf16(a), tg_odd_bf16(a), tg_even_bf16(b), tg_odd_bf16(b))
  }
  return (
    load(kind, row, i), load(kind, row, i &+ lanes), load(kind, row, i &+ 2 &* lanes), load(kind, row, i &+ 3 &* lanes)
  )
}

/// What one of two accumulators holds.
struct LogitLanes {
  var sum = ts_splat(0)
  var first = ts_splat(0)
  var second = ts_splat(0)
  var squares = ts_splat(0)
}

/// `moments` 0: sum; 1: and first; 2: everything. A literal at every call. Sums and first moments take the cheaper cubic where
/// the level has it.
@inline(__always) func addLogits(_ moments: Int, _ z: F, _ reference: F, _ to: inout LogitLanes) {
  let d = tg_floor(z - reference)
  #if ISA_V2 || ISA_NEON
  let shifted = tg_shifted(d)
  let scale = tg_scale(shifted)
  let p = tg_cubic(tg_remainder(d, shifted))
  #else
  let shifted = moments < 2 ? tg_quick_shifted(d, ts_splat(12_582_912)) : tg_shifted(d)
  let scale = moments < 2 ? tg_quick_scale(shifted) : tg_scale(shifted)
  let p =
    moments < 2 ? tg_quick_cubic(d, shifted, ts_splat(12_582_924)) : tg_cubic(tg_remainder(d, shifted))
  #endif
  if moments == 0 {
    to.sum = ts_fma(to.sum, scale, p)
    return
  }
  let e = scale * p
  to.sum = to.sum + e
  if moments == 1 {
    to.first = ts_fma(to.first, e, d)
    return
  }
  let de = d * e
  to.first = to.first + de
  to.second = ts_fma(to.second, de, d)
  to.squares = ts_fma(to.squares, e, e)
}

/// Entries whose f32 sums are put into f64: a lane takes a few numbers only, so that what is small beside the largest entry's 1
/// is not lost to rounding.
let logitRun = 128

@inline(__always) func logitMoments(
  _ kind: Int, _ moments: Int, _ z: UnsafeRawPointer, _ n: Int, _ reference: Float, _ sums: UnsafeMutablePointer<tk_logit_sums>
) {
  let c = ts_splat(reference)
  var m = ts_splat(negativeInfinity)
  var (sum, first, second, squares) = (tg_wide_zero(), tg_wide_zero(), tg_wide_zero(), tg_wide_zero())
  var i = 0
  while i < n {
    let end = i &+ logitRun < n ? i &+ logitRun : n
    // Two accumulators hide the latency; four would not fit the registers.
    var (a, b) = (LogitLanes(), LogitLanes())
    while i &+ 4 &* lanes <= end {
      let v = loadFour(kind, z, i)
      m = tg_max(m, tg_max(tg_max(v.0, v.1), tg_max(v.2, v.3)))
      addLogits(moments, v.0, c, &a)
      addLogits(moments, v.1, c, &b)
      addLogits(moments, v.2, c, &a)
      addLogits(moments, v.3, c, &b)
      i &+= 4 &* lanes
    }
    while i < end {
      let v = i &+ lanes <= end ? load(kind, z, i) : loadPart(kind, z, i, end &- i)
      m = tg_max(m, v)
      addLogits(moments, v, c, &a)
      i &+= lanes
    }
    sum = tg_wide_add(sum, a.sum + b.sum)
    if moments > 0 { first = tg_wide_add(first, a.first + b.first) }
    if moments > 1 {
      second = tg_wide_add(second, a.second + b.second)
      squares = tg_wide_add(squares, a.squares + b.squares)
    }
  }
  sums.pointee.max = ts_hmax(m)
  sums.pointee.sum = tg_wide_sum(sum)
  sums.pointee.first = tg_wide_sum(first)
  sums.pointee.second = tg_wide_sum(second)
  sums.pointee.squares = tg_wide_sum(squares)
}

#if !ISA_V2 && !ISA_NEON
@inline(__always) func addQuick(
  _ moments: Int, _ z: F, _ offset: F, _ shift: F, _ near: F, _ sum: inout F, _ first: inout F
) {
  let shifted = tg_quick_shifted(z, offset)
  let scale = tg_quick_scale(shifted)
  let p = tg_quick_cubic(z, shifted, shift)
  if moments == 0 {
    sum = ts_fma(sum, scale, p)
  } else {
    let e = scale * p
    sum = sum + e
    first = ts_fma(first, e, z - near)
  }
}

/// See `tk_logit_quick`: no entry is compared one by one, as two maxima of 16-bit words tell whether all lie within reach.
@inline(__always) func logitQuick(
  _ moments: Int, _ z: UnsafeRawPointer, _ n: Int, _ steps: Int32, _ near: Float, _ sums: UnsafeMutablePointer<tk_logit_sums>
) -> Int32 {
  let magic = 12_582_912 - Float(steps)
  let (offset, shift, c) = (ts_splat(magic), ts_splat(magic + 12), ts_splat(near))
  var upper = tl_splat_bits(0)
  var lower = upper
  var (sum, first) = (tg_wide_zero(), tg_wide_zero())
  var i = 0
  // A whole number of words; the general kernel takes what is left.
  let whole = n & ~(4 &* lanes &- 1)
  while i < whole {
    let end = i &+ logitRun < whole ? i &+ logitRun : whole
    var (a, b) = (ts_splat(0), ts_splat(0))
    var (fa, fb) = (a, a)
    while i < end {
      let v = ts_load_words(z + i &* 2)
      let w = ts_load_words(z + (i &+ 2 &* lanes) &* 2)
      upper = tg_upper(tg_upper(upper, v), w)
      lower = tg_lower(tg_lower(lower, v), w)
      addQuick(moments, tg_even_bf16(v), offset, shift, c, &a, &fa)
      addQuick(moments, tg_odd_bf16(v), offset, shift, c, &b, &fb)
      addQuick(moments, tg_even_bf16(w), offset, shift, c, &a, &fa)
      addQuick(moments, tg_odd_bf16(w), offset, shift, c, &b, &fb)
      i &+= 4 &* lanes
    }
    sum = tg_wide_add(sum, a + b)
    if moments > 0 { first = tg_wide_add(first, fa + fb) }
  }
  let (high, low) = (tg_upper_value(upper), tg_lower_value(lower))
  // A NaN is neither.
  if !(high <= near + 1) || !(low >= near - 80) || whole != n { return 0 }
  sums.pointee.max = high
  sums.pointee.sum = tg_wide_sum(sum)
  sums.pointee.first = tg_wide_sum(first)
  sums.pointee.second = 0
  sums.pointee.squares = 0
  return 1
}

@inline(never) func logitQuickSums(_ z: UnsafeRawPointer, _ n: Int, _ steps: Int32, _ near: Float, _ to: Sums) -> Int32 {
  logitQuick(0, z, n, steps, near, to)
}
@inline(never) func logitQuickFirst(_ z: UnsafeRawPointer, _ n: Int, _ steps: Int32, _ near: Float, _ to: Sums) -> Int32 {
  logitQuick(1, z, n, steps, near, to)
}
#endif

typealias Sums = UnsafeMutablePointer<tk_logit_sums>
@inline(never) func logitSumsF32(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(0, 0, z, n, c, to) }
@inline(never) func logitSumsF16(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(1, 0, z, n, c, to) }
@inline(never) func logitSumsBF16(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(2, 0, z, n, c, to) }
@inline(never) func logitFirstF32(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(0, 1, z, n, c, to) }
@inline(never) func logitFirstF16(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(1, 1, z, n, c, to) }
@inline(never) func logitFirstBF16(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(2, 1, z, n, c, to) }
@inline(never) func logitAllF32(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(0, 2, z, n, c, to) }
@inline(never) func logitAllF16(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(1, 2, z, n, c, to) }
@inline(never) func logitAllBF16(_ z: UnsafeRawPointer, _ n: Int, _ c: Float, _ to: Sums) { logitMoments(2, 2, z, n, c, to) }

/// The logit part of the table; see `fillTable` on why the closures only call.
@inline(__always) func fillLogits(_ table: UnsafeMutablePointer<tk_logits>) {
  table.pointee.f32.sums = { logitSumsF32($0, $1, $2, $3) }
  table.pointee.f16.sums = { logitSumsF16($0, $1, $2, $3) }
  table.pointee.bf16.sums = { logitSumsBF16($0, $1, $2, $3) }
  table.pointee.f32.moments = { logitFirstF32($0, $1, $2, $3) }
  table.pointee.f16.moments = { logitFirstF16($0, $1, $2, $3) }
  table.pointee.bf16.moments = { logitFirstBF16($0, $1, $2, $3) }
  table.pointee.f32.all = { logitAllF32($0, $1, $2, $3) }
  table.pointee.f16.all = { logitAllF16($0, $1, $2, $3) }
  table.pointee.bf16.all = { logitAllBF16($0, $1, $2, $3) }
  #if !ISA_V2 && !ISA_NEON
  table.pointee.quick_sums = { logitQuickSums($0, $1, $2, $3, $4) }
  table.pointee.quick_moments = { logitQuickFirst($0, $1, $2, $3, $4) }
  #else
  table.pointee.quick_sums = nil
  table.pointee.quick_moments = nil
  #endif
  fillLogitOrder(table)
  table.pointee.pair = { logitPair($0, $1, $2, $3, $4, $5) }
  table.pointee.distance = { logitDistance($0, $1, $2, $3, $4, $5, $6) }
  table.pointee.combine = { logitCombine($0, $1, $2, $3, $4, $5, $6, $7) }
  table.pointee.rescale = { logitRescale($0, $1, $2, $3, $4, $5) }
}
