// Sums over a block of a row of logits: exponentials and their moments about a reference near the row's maximum.
import CShims

/// Elements i ..< i + count of a row as f32, -inf above; `count` is less than `lanes`.
@inline(__always) func loadPart(_ kind: Int, _ row: UnsafeRawPointer, _ i: Int, _ count: Int) -> F {
  if kind == 0 { return tg_part_f32(row + i &* 4, count, negativeInfinity) }
  return tg_part_16(row + i &* 2, count, negativeInfinity, kind == 1 ? 1 : 0)
}

/// Two vectors of entries from i on, in any order.
@inline(__always) func loadTwo(_ kind: Int, _ row: UnsafeRawPointer, _ i: Int) -> (F, F) {
  if kind == 2 {
    let words = ts_load_words(row + i &* 2)
    return (tg_even_bf16(words), tg_odd_bf16(words))
  }
  return (load(kind, row, i), load(kind, row, i &+ lanes))
}

/// What one of two accumulators holds.
struct LogitLanes {
  var sum = ts_splat(0)
  var first = ts_splat(0)
  var second = ts_splat(0)
  var squares = ts_splat(0)
}

#if ISA_V2 || ISA_NEON
typealias LogitConstants = F
#else
/// What the loops over sums and first moments hold in registers: the quick exponential's numbers, and the least d.
struct LogitConstants {
  let quick: QuickExponential
  let lowest, magic, magicTwelve: F
}

/// e^z over a power of two: see tamis_logits.h.
struct QuickExponential {
  let steps, step, b, h: F
  let table: U

  /// `held`: see `tg_hold`. Measured: it helps loops with first moments and harms those without.
  @inline(__always) init(held: Bool) {
    steps = hold(ts_splat(0x1.715476p3), held)
    step = hold(ts_splat(-0x1.62e43p-4), held)
    b = hold(ts_splat(0x1.7f4806p+1), held)
    h = hold(ts_splat(0x1.000382p+1), held)
    table = held ? tg_hold_bits(tg_quick_table()) : tg_quick_table()
  }
  @inline(__always) func shifted(_ z: F, _ offset: F) -> F { tg_quick_shifted(z, offset, steps) }
  @inline(__always) func scale(_ shifted: F) -> F { tg_quick_scale(shifted, table) }
  @inline(__always) func cubic(_ z: F, _ shifted: F, _ offset: F) -> F { tg_quick_cubic(z, shifted, offset, step, b, h) }
}
#endif

@inline(__always) func hold(_ v: F, _ held: Bool) -> F { held ? tg_hold(v) : v }

@inline(__always) func logitConstants(held: Bool) -> LogitConstants {
  #if ISA_V2 || ISA_NEON
  return ts_splat(0)
  #else
  return LogitConstants(
    quick: QuickExponential(held: held), lowest: hold(ts_splat(-80), held), magic: hold(ts_splat(12_582_912), held),
    magicTwelve: hold(ts_splat(12_582_924), held))
  #endif
}

/// `moments` 0: sum; 1: and first; 2: everything. A literal at every call. Sums and first moments take the cheaper cubic where
/// the level has it.
@inline(__always) func addLogits(
  _ moments: Int, _ z: F, _ reference: F, _ constants: LogitConstants, _ to: inout LogitLanes
) {
  #if ISA_V2 || ISA_NEON
  let d = tg_floor(z - reference)
  let shifted = tg_shifted(d)
  let scale = tg_scale(shifted)
  let p = tg_cubic(tg_remainder(d, shifted))
  #else
  let d = moments < 2 ? tg_max_constant(z - reference, constants.lowest) : tg_floor(z - reference)
  let shifted = moments < 2 ? constants.quick.shifted(d, constants.magic) : tg_shifted(d)
  let scale = moments < 2 ? constants.quick.scale(shifted) : tg_scale(shifted)
  let p =
    moments < 2
    ? constants.quick.cubic(d, shifted, constants.magicTwelve) : tg_cubic(tg_remainder(d, shifted))
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
/// Bytes ahead of the entries at work that are brought near; rows are longer than what the processor fetches by itself.
let logitAhead = 2048

@inline(__always) func logitMoments(
  _ kind: Int, _ moments: Int, _ z: UnsafeRawPointer, _ n: Int, _ reference: Float, _ sums: UnsafeMutablePointer<tk_logit_sums>
) {
  let c = ts_splat(reference)
  let constants = logitConstants(held: moments == 1)
  var m = ts_splat(negativeInfinity)
  tg_wide_clear(sums)
  var start = 0
  while start < n {
    let end = start &+ logitRun < n ? start &+ logitRun : n
    var i = start
    if moments > 0 {
      // The maximum in a loop of its own: with it the next one's constants would not fit the registers.
      while i &+ 2 &* lanes <= end {
        let v = loadTwo(kind, z, i)
        m = tg_max(tg_max(m, v.0), v.1)
        i &+= 2 &* lanes
      }
    }
    var (a, b) = (LogitLanes(), LogitLanes())
    i = start
    while i &+ 2 &* lanes <= end {
      let v = loadTwo(kind, z, i)
      ts_prefetch(z + (i &* elementSize(kind) &+ logitAhead))
      if moments == 0 { m = tg_max(tg_max(m, v.0), v.1) }
      addLogits(moments, v.0, c, constants, &a)
      if moments < 2 { addLogits(moments, v.1, c, constants, &b) } else { addLogits(moments, v.1, c, constants, &a) }
      i &+= 2 &* lanes
    }
    while i < end {
      let v = i &+ lanes <= end ? load(kind, z, i) : loadPart(kind, z, i, end &- i)
      m = tg_max(m, v)
      addLogits(moments, v, c, constants, &a)
      i &+= lanes
    }
    tg_wide_add(sums, 0, a.sum + b.sum)
    if moments > 0 { tg_wide_add(sums, 1, a.first + b.first) }
    if moments > 1 {
      tg_wide_add(sums, 2, a.second + b.second)
      tg_wide_add(sums, 3, a.squares + b.squares)
    }
    start = end
  }
  sums.pointee.max = ts_hmax(m)
  tg_wide_finish(sums)
}

#if !ISA_V2 && !ISA_NEON
@inline(__always) func addQuick(
  _ moments: Int, _ z: F, _ quick: QuickExponential, _ offset: F, _ shift: F, _ near: F, _ sum: inout F, _ first: inout F
) {
  let shifted = quick.shifted(z, offset)
  let scale = quick.scale(shifted)
  let p = quick.cubic(z, shifted, shift)
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
  let quick = QuickExponential(held: moments == 1)
  var upper = tl_splat_bits(0)
  var lower = upper
  tg_wide_clear(sums)
  var i = 0
  // A whole number of words; the general kernel takes what is left.
  let whole = n & ~(2 &* lanes &- 1)
  while i < whole {
    let end = i &+ logitRun < whole ? i &+ logitRun : whole
    var (a, b) = (ts_splat(0), ts_splat(0))
    var (fa, fb) = (a, a)
    while i < end {
      let v = ts_load_words(z + i &* 2)
      ts_prefetch(z + (i &* 2 &+ logitAhead))
      upper = tg_upper(upper, v)
      lower = tg_lower(lower, v)
      addQuick(moments, tg_even_bf16(v), quick, offset, shift, c, &a, &fa)
      addQuick(moments, tg_odd_bf16(v), quick, offset, shift, c, &b, &fb)
      i &+= 2 &* lanes
    }
    tg_wide_add(sums, 0, a + b)
    if moments > 0 { tg_wide_add(sums, 1, fa + fb) }
  }
  let (high, low) = (tg_upper_value(upper), tg_lower_value(lower))
  // A NaN is neither above nor below.
  if !(high <= near + (moments == 0 ? 16 : 3)) || !(low >= near - 80) || whole != n { return 0 }
  sums.pointee.max = high
  tg_wide_finish(sums)
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
