// Two models' logits of the same entries: sums of KL both ways, then Jensen-Shannon and total variation once both log-sum-exps
// are known; and one row made of two, or of one at another temperature.
import CShims

@inline(__always) private func exponential(_ d: F) -> F {
  let shifted = tg_shifted(d)
  return tg_scale(shifted) * tg_cubic(tg_remainder(d, shifted))
}

@inline(never) func logitPair(
  _ p: UnsafePointer<Float>, _ q: UnsafePointer<Float>, _ n: Int, _ referenceP: Float, _ referenceQ: Float,
  _ sums: UnsafeMutablePointer<tk_logit_pair>
) {
  let (cp, cq) = (ts_splat(referenceP), ts_splat(referenceQ))
  var (maxP, maxQ) = (ts_splat(negativeInfinity), ts_splat(negativeInfinity))
  var (sumP, sumQ, forward, backward) = (ts_splat(0), ts_splat(0), ts_splat(0), ts_splat(0))
  var i = 0
  while i < n {
    let a = i &+ lanes <= n ? load(0, p, i) : loadPart(0, p, i, n &- i)
    let b = i &+ lanes <= n ? load(0, q, i) : loadPart(0, q, i, n &- i)
    maxP = tg_max(maxP, a)
    maxQ = tg_max(maxQ, b)
    let (dp, dq) = (a - cp, b - cq)
    let (ep, eq) = (exponential(tg_floor(dp)), exponential(tg_floor(dq)))
    sumP = sumP + ep
    sumQ = sumQ + eq
    let g = dp - dq
    forward = ts_fma(forward, ep, tg_where_there(g, a))
    backward = ts_fma(backward, eq, tg_where_there(ts_splat(0) - g, b))
    i &+= lanes
  }
  sums.pointee.max_p = ts_hmax(maxP)
  sums.pointee.max_q = ts_hmax(maxQ)
  sums.pointee.sum_p = ts_sum(sumP)
  sums.pointee.sum_q = ts_sum(sumQ)
  sums.pointee.forward = ts_sum(forward)
  sums.pointee.backward = ts_sum(backward)
}

/// ln 2 - ln(1 + e^-|x|) = -ln(1 - y / 2) for y = 1 - e^-|x|: 2 artanh w, w = y / (4 - y) <= 1/3, which is 0 for x = 0 exactly.
@inline(__always) private func halfLog(_ y: F) -> F {
  let w = tg_divide(y, ts_splat(4) - y)
  let u = w * w
  var s = ts_splat(2.0 / 15)
  s = ts_fma(ts_splat(2.0 / 13), s, u)
  s = ts_fma(ts_splat(2.0 / 11), s, u)
  s = ts_fma(ts_splat(2.0 / 9), s, u)
  s = ts_fma(ts_splat(2.0 / 7), s, u)
  s = ts_fma(ts_splat(2.0 / 5), s, u)
  s = ts_fma(ts_splat(2.0 / 3), s, u)
  s = ts_fma(ts_splat(2), s, u)
  return s * w
}

@inline(never) func logitDistance(
  _ p: UnsafePointer<Float>, _ q: UnsafePointer<Float>, _ n: Int, _ lseP: Float, _ lseQ: Float, _ js: Floats, _ tv: Floats
) {
  let (lp, lq) = (ts_splat(lseP), ts_splat(lseQ))
  let (zero, one) = (ts_splat(0), ts_splat(1))
  var (divergence, distance) = (zero, zero)
  var i = 0
  while i < n {
    let a = tg_floor((i &+ lanes <= n ? load(0, p, i) : loadPart(0, p, i, n &- i)) - lp)
    let b = tg_floor((i &+ lanes <= n ? load(0, q, i) : loadPart(0, q, i, n &- i)) - lq)
    let (pa, pb) = (exponential(a), exponential(b))
    let x = b - a
    let h = halfLog(one - exponential(tg_floor(zero - tg_magnitude(x))))
    divergence = ts_fma(divergence, pa, h - tg_max(zero, x))
    divergence = ts_fma(divergence, pb, h - tg_max(zero, zero - x))
    distance = distance + tg_magnitude(pa - pb)
    i &+= lanes
  }
  js.pointee = ts_sum(divergence)
  tv.pointee = ts_sum(distance)
}

@inline(never) func logitCombine(
  _ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ n: Int, _ a: Float, _ c: Float, _ b: Float, _ d: Float, _ to: Floats
) {
  let (va, vc, vb, vd) = (ts_splat(a), ts_splat(c), ts_splat(b), ts_splat(d))
  var i = 0
  while i &+ lanes <= n {
    let (v, w) = (ts_load_f32(x + i), ts_load_f32(y + i))
    // w - w: an infinity in y is NaN, and not an entry that is gone.
    let rest = ts_fma(w - w, w - vd, vb)
    ts_store_f32(to + i, tg_keep_removed(ts_fma(rest, v - vc, va), v))
    i &+= lanes
  }
  while i < n {
    let v = x[i]
    to[i] = v == negativeInfinity ? v : (v - c) * a + ((y[i] - d) * b + (y[i] - y[i]))
    i &+= 1
  }
}

@inline(never) func logitRescale(
  _ x: UnsafePointer<Float>, _ n: Int, _ c: Float, _ high: Float, _ low: Float, _ to: Floats
) {
  let (vc, vh, vl) = (ts_splat(c), ts_splat(high), ts_splat(low))
  var i = 0
  while i &+ lanes <= n {
    let v = ts_load_f32(x + i)
    let d = v - vc
    ts_store_f32(to + i, tg_keep_removed(ts_fma(d * vl, d, vh), v))
    i &+= lanes
  }
  while i < n {
    let v = x[i]
    to[i] = v == negativeInfinity ? v : (v - c) * high + (v - c) * low
    i &+= 1
  }
}
