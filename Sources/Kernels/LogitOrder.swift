// Order within a block of a row of logits: largest entries, ranks, places, totals. NaN is left out everywhere but in totals.
import CShims

@inline(__always) func logitLargest(_ kind: Int, _ z: UnsafeRawPointer, _ n: Int, _ top: UnsafeMutablePointer<tk_logit_top>) {
  var first = ts_splat(negativeInfinity)
  var (second, third, fourth) = (first, first, first)
  var i = 0
  while i &+ 2 &* lanes <= n {
    let a = load(kind, z, i)
    let b = load(kind, z, i &+ lanes)
    second = tg_max(second, tg_min(first, a))
    first = tg_max(first, a)
    fourth = tg_max(fourth, tg_min(third, b))
    third = tg_max(third, b)
    i &+= 2 &* lanes
  }
  while i < n {
    let a = i &+ lanes <= n ? load(kind, z, i) : loadPart(kind, z, i, n &- i)
    second = tg_max(second, tg_min(first, a))
    first = tg_max(first, a)
    i &+= lanes
  }
  second = tg_max(tg_max(second, fourth), tg_min(first, third))
  first = tg_max(first, third)
  // Across lanes the second largest is some lane's second or another lane's first.
  var (m, s) = (negativeInfinity, negativeInfinity)
  var lane: Int32 = 0
  while lane < Int32(truncatingIfNeeded: lanes) {
    let (f, g) = (tg_lane(first, lane), tg_lane(second, lane))
    if f > m {
      s = g > m ? g : m
      m = f
    } else if f > s {
      s = f
    }
    lane &+= 1
  }
  top.pointee.first = m
  top.pointee.second = s
}

@inline(__always) func logitRanks(
  _ kind: Int, _ z: UnsafeRawPointer, _ n: Int, _ target: Float, _ rank: UnsafeMutablePointer<tk_logit_rank>
) {
  let y = ts_splat(target)
  var larger = tg_zero_ints()
  var equal = larger
  var (moreLarger, moreEqual) = (larger, larger)
  var i = 0
  while i &+ 2 &* lanes <= n {
    let a = load(kind, z, i)
    let b = load(kind, z, i &+ lanes)
    larger = tg_count_above(larger, a, y)
    equal = tg_count_equal(equal, a, y)
    moreLarger = tg_count_above(moreLarger, b, y)
    moreEqual = tg_count_equal(moreEqual, b, y)
    i &+= 2 &* lanes
  }
  var (l, e) = (tg_sum_ints(larger) &+ tg_sum_ints(moreLarger), tg_sum_ints(equal) &+ tg_sum_ints(moreEqual))
  while i < n {
    let a = tg_lane(i &+ lanes <= n ? load(kind, z, i) : loadPart(kind, z, i, n &- i), 0)
    if a > target { l &+= 1 }
    if a == target { e &+= 1 }
    i &+= 1
  }
  rank.pointee.larger = l
  rank.pointee.equal = e
}

@inline(__always) func logitTotal(
  _ kind: Int, _ z: UnsafeRawPointer, _ n: Int, _ total: UnsafeMutablePointer<Float>, _ count: UnsafeMutablePointer<Int32>
) {
  let least = ts_splat(negativeInfinity)
  var sum = ts_splat(0)
  var more = sum
  var removed = tg_zero_ints()
  var i = 0
  while i &+ 2 &* lanes <= n {
    let a = load(kind, z, i)
    let b = load(kind, z, i &+ lanes)
    sum = sum + tg_where_there(a, a)
    more = more + tg_where_there(b, b)
    removed = tg_count_equal(tg_count_equal(removed, a, least), b, least)
    i &+= 2 &* lanes
  }
  var there = Int32(truncatingIfNeeded: i) &- tg_sum_ints(removed)
  while i < n {
    let a = i &+ lanes <= n ? load(kind, z, i) : loadPart(kind, z, i, n &- i)
    sum = sum + tg_where_there(a, a)
    let here = Int32(truncatingIfNeeded: lanes) &- tg_sum_ints(tg_count_equal(tg_zero_ints(), a, least))
    there &+= here
    i &+= lanes
  }
  total.pointee = ts_sum(sum + more)
  count.pointee = there
}

@inline(__always) func logitAbove(
  _ kind: Int, _ z: UnsafeRawPointer, _ n: Int, _ threshold: Float, _ to: UnsafeMutablePointer<Float>
) -> Int {
  let limit = ts_splat(threshold)
  var found = 0
  var i = 0
  while i < n {
    let a = i &+ lanes <= n ? load(kind, z, i) : loadPart(kind, z, i, n &- i)
    var bits = tg_mask_above(a, limit)
    while bits != 0 {
      to[found] = tg_lane(a, Int32(truncatingIfNeeded: bits.trailingZeroBitCount))
      found &+= 1
      bits &= bits &- 1
    }
    i &+= lanes
  }
  return found
}

@inline(__always) func logitFind(_ kind: Int, _ z: UnsafeRawPointer, _ n: Int, _ value: Float) -> Int {
  let wanted = ts_splat(value)
  var i = 0
  while i < n {
    let a = i &+ lanes <= n ? load(kind, z, i) : loadPart(kind, z, i, n &- i)
    if tg_sum_ints(tg_count_equal(tg_zero_ints(), a, wanted)) != 0 {
      var lane: Int32 = 0
      while tg_lane(a, lane) != value { lane &+= 1 }
      let place = i &+ Int(lane)
      return place < n ? place : n
    }
    i &+= lanes
  }
  return n
}

typealias Top = UnsafeMutablePointer<tk_logit_top>
typealias Rank = UnsafeMutablePointer<tk_logit_rank>
typealias Count = UnsafeMutablePointer<Int32>
@inline(never) func logitLargestF32(_ z: UnsafeRawPointer, _ n: Int, _ to: Top) { logitLargest(0, z, n, to) }
@inline(never) func logitLargestF16(_ z: UnsafeRawPointer, _ n: Int, _ to: Top) { logitLargest(1, z, n, to) }
@inline(never) func logitLargestBF16(_ z: UnsafeRawPointer, _ n: Int, _ to: Top) { logitLargest(2, z, n, to) }
@inline(never) func logitRanksF32(_ z: UnsafeRawPointer, _ n: Int, _ y: Float, _ to: Rank) { logitRanks(0, z, n, y, to) }
@inline(never) func logitRanksF16(_ z: UnsafeRawPointer, _ n: Int, _ y: Float, _ to: Rank) { logitRanks(1, z, n, y, to) }
@inline(never) func logitRanksBF16(_ z: UnsafeRawPointer, _ n: Int, _ y: Float, _ to: Rank) { logitRanks(2, z, n, y, to) }
@inline(never) func logitTotalF32(_ z: UnsafeRawPointer, _ n: Int, _ t: Floats, _ c: Count) { logitTotal(0, z, n, t, c) }
@inline(never) func logitTotalF16(_ z: UnsafeRawPointer, _ n: Int, _ t: Floats, _ c: Count) { logitTotal(1, z, n, t, c) }
@inline(never) func logitTotalBF16(_ z: UnsafeRawPointer, _ n: Int, _ t: Floats, _ c: Count) { logitTotal(2, z, n, t, c) }
@inline(never) func logitAboveF32(_ z: UnsafeRawPointer, _ n: Int, _ y: Float, _ to: Floats) -> Int { logitAbove(0, z, n, y, to) }
@inline(never) func logitAboveF16(_ z: UnsafeRawPointer, _ n: Int, _ y: Float, _ to: Floats) -> Int { logitAbove(1, z, n, y, to) }
@inline(never) func logitAboveBF16(_ z: UnsafeRawPointer, _ n: Int, _ y: Float, _ to: Floats) -> Int { logitAbove(2, z, n, y, to) }
@inline(never) func logitFindF32(_ z: UnsafeRawPointer, _ n: Int, _ y: Float) -> Int { logitFind(0, z, n, y) }
@inline(never) func logitFindF16(_ z: UnsafeRawPointer, _ n: Int, _ y: Float) -> Int { logitFind(1, z, n, y) }
@inline(never) func logitFindBF16(_ z: UnsafeRawPointer, _ n: Int, _ y: Float) -> Int { logitFind(2, z, n, y) }

@inline(__always) func fillLogitOrder(_ table: UnsafeMutablePointer<tk_logits>) {
  table.pointee.f32.largest = { logitLargestF32($0, $1, $2) }
  table.pointee.f16.largest = { logitLargestF16($0, $1, $2) }
  table.pointee.bf16.largest = { logitLargestBF16($0, $1, $2) }
  table.pointee.f32.ranks = { logitRanksF32($0, $1, $2, $3) }
  table.pointee.f16.ranks = { logitRanksF16($0, $1, $2, $3) }
  table.pointee.bf16.ranks = { logitRanksBF16($0, $1, $2, $3) }
  table.pointee.f32.total = { logitTotalF32($0, $1, $2, $3) }
  table.pointee.f16.total = { logitTotalF16($0, $1, $2, $3) }
  table.pointee.bf16.total = { logitTotalBF16($0, $1, $2, $3) }
  table.pointee.f32.above = { logitAboveF32($0, $1, $2, $3) }
  table.pointee.f16.above = { logitAboveF16($0, $1, $2, $3) }
  table.pointee.bf16.above = { logitAboveBF16($0, $1, $2, $3) }
  table.pointee.f32.find = { logitFindF32($0, $1, $2) }
  table.pointee.f16.find = { logitFindF16($0, $1, $2) }
  table.pointee.bf16.find = { logitFindBF16($0, $1, $2) }
}
