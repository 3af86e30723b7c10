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

/// What one of four accumulators holds.
struct LogitLanes {
  var sum = ts_splat(0)
  var first = ts_splat(0)
  var second = ts_splat(0)
  var squares = ts_splat(0)
}

/// `moments` 0: sum; 1: and first; 2: everything. A literal at every call.
@inline(__always) func addLogits(_ moments: Int, _ z: F, _ reference: F, _ to: inout LogitLanes) {
  let d = tg_floor(z - reference)
  let shifted = tg_shifted(d)
  let scale = tg_scale(shifted)
  let p = tg_cubic(tg_remainder(d, shifted))
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

@inline(__always) func logitMoments(
  _ kind: Int, _ moments: Int, _ z: UnsafeRawPointer, _ n: Int, _ reference: Float, _ sums: UnsafeMutablePointer<tk_logit_sums>
) {
  let c = ts_splat(reference)
  var (a, b, x, y) = (LogitLanes(), LogitLanes(), LogitLanes(), LogitLanes())
  var m = ts_splat(negativeInfinity)
  var k = m
  var i = 0
  while i &+ 4 &* lanes <= n {
    let v = loadFour(kind, z, i)
    m = tg_max(tg_max(m, v.0), v.1)
    k = tg_max(tg_max(k, v.2), v.3)
    addLogits(moments, v.0, c, &a)
    addLogits(moments, v.1, c, &b)
    addLogits(moments, v.2, c, &x)
    addLogits(moments, v.3, c, &y)
    i &+= 4 &* lanes
  }
  while i < n {
    let v = i &+ lanes <= n ? load(kind, z, i) : loadPart(kind, z, i, n &- i)
    m = tg_max(m, v)
    addLogits(moments, v, c, &a)
    i &+= lanes
  }
  sums.pointee.max = ts_hmax(tg_max(m, k))
  sums.pointee.sum = ts_sum((a.sum + b.sum) + (x.sum + y.sum))
  sums.pointee.first = ts_sum((a.first + b.first) + (x.first + y.first))
  sums.pointee.second = ts_sum((a.second + b.second) + (x.second + y.second))
  sums.pointee.squares = ts_sum((a.squares + b.squares) + (x.squares + y.squares))
}

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
  fillLogitOrder(table)
  table.pointee.pair = { logitPair($0, $1, $2, $3, $4, $5) }
  table.pointee.distance = { logitDistance($0, $1, $2, $3, $4, $5, $6) }
  table.pointee.combine = { logitCombine($0, $1, $2, $3, $4, $5, $6, $7) }
  table.pointee.rescale = { logitRescale($0, $1, $2, $3, $4, $5) }
}
