// The vote of heads for tokens (TokenSelect, arXiv 2411.02886, eq. 7 and 8).
import CShims

@inline(__always) var log2e: Float { 1.442_695_04 }

/// NaN -> -inf, infinities -> the largest finite numbers.
@inline(__always) func cleaned(_ x: F) -> F {
  let top = Float.greatestFiniteMagnitude
  let bounded = ts_max(ts_splat(-top), ts_min(ts_splat(top), x))
  return ts_replace_nan(bounded, ts_splat(negativeInfinity), x)
}


@inline(never) func cleanLogits(_ z: Floats, _ n: Int) {
  var i = 0
  while i &+ lanes <= n {
    ts_store_f32(z + i, cleaned(ts_load_f32(z + i)))
    i &+= lanes
  }
  while i < n {
    z[i] = cleaned(ts_splat(z[i]))[0]
    i &+= 1
  }
}

@inline(never) func voteExp(_ z: Floats, _ n: Int, _ m: Floats, _ ahead: UnsafeRawPointer?) -> Float {
  var best = ts_splat(negativeInfinity)
  var i = 0
  while i &+ lanes <= n {
    let x = cleaned(ts_load_f32(z + i))
    ts_store_f32(z + i, x)
    best = ts_max(x, best)
    i &+= lanes
  }
  var top = ts_hmax(best)
  while i < n {
    let x = cleaned(ts_splat(z[i]))[0]
    z[i] = x
    if x > top { top = x }
    i &+= 1
  }
  m[0] = top
  let reference = top == negativeInfinity ? 0 : top
  // Subtracted before it is scaled: (z - m) log2(e) stays finite where z log2(e) would not.
  let mv = ts_splat(reference)
  let a = ts_splat(log2e)
  var sum = ts_splat(0)
  i = 0
  while i &+ lanes <= n {
    if let ahead {
      ts_prefetch(ahead + 8 &* i)
      if lanes == 16 { ts_prefetch(ahead + (8 &* i &+ 64)) }
    }
    let e = ts_exp2((ts_load_f32(z + i) - mv) * a)
    ts_store_f32(z + i, e)
    sum = sum + e
    i &+= lanes
  }
  var total = ts_sum(sum)
  while i < n {
    let e = ts_exp2((ts_splat(z[i]) - mv) * a)[0]
    z[i] = e
    total += e
    i &+= 1
  }
  return total
}

@inline(never) func voteSum(
  _ e: UnsafePointer<Float>, _ stride: Int, _ c: UnsafePointer<Float>, _ heads: Int, _ n: Int, _ vote: Floats
) {
  var t = 0
  while t &+ 4 &* lanes <= n {
    var a0 = ts_splat(0)
    var a1 = a0, a2 = a0, a3 = a0
    var h = 0
    while h < heads {
      let w = ts_splat(c[h])
      let row = e + (h &* stride &+ t)
      a0 = ts_fma(a0, w, ts_load_f32(row))
      a1 = ts_fma(a1, w, ts_load_f32(row + lanes))
      a2 = ts_fma(a2, w, ts_load_f32(row + 2 &* lanes))
      a3 = ts_fma(a3, w, ts_load_f32(row + 3 &* lanes))
      h &+= 1
    }
    ts_store_f32(vote + t, a0)
    ts_store_f32(vote + t + lanes, a1)
    ts_store_f32(vote + t + 2 &* lanes, a2)
    ts_store_f32(vote + t + 3 &* lanes, a3)
    t &+= 4 &* lanes
  }
  while t < n {
    var a = ts_splat(0)
    var h = 0
    while h < heads {
      a = ts_fma(a, ts_splat(c[h]), ts_splat(e[h &* stride &+ t]))
      h &+= 1
    }
    vote[t] = a[0]
    t &+= 1
  }
}

@inline(never) func maxPool(_ x: UnsafePointer<Float>, _ n: Int, _ width: Int, _ out: Floats) {
  let reach = width / 2
  var t = 0
  while t < n {
    if t >= reach && t &+ lanes &+ reach <= n {
      var m = ts_load_f32(x + (t &- reach))
      var j = 1 &- reach
      while j <= reach {
        m = ts_max(ts_load_f32(x + (t &+ j)), m)
        j &+= 1
      }
      ts_store_f32(out + t, m)
      t &+= lanes
    } else {
      var m = negativeInfinity
      var j = t > reach ? t &- reach : 0
      let end = t &+ reach < n ? t &+ reach : n &- 1
      while j <= end {
        if x[j] > m { m = x[j] }
        j &+= 1
      }
      out[t] = m
      t &+= 1
    }
  }
}
