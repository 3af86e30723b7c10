// Logits to probabilities, one block at a time (online softmax: arXiv 2307.08691, section 3.1).
import CShims

@inline(__always) var negativeInfinity: Float { -Float.infinity }

/// 2^t of one number by the vector polynomial, so that tails get the bits of full vectors.
@inline(__always) func exp2One(_ t: Float) -> Float { ts_exp2(ts_splat(t))[0] }

@inline(never) func scaleCap(_ z: Floats, _ n: Int, _ scale: Float, _ cap: Float) {
  var i = 0
  if cap == 0 {
    let a = ts_splat(scale)
    while i &+ lanes <= n {
      ts_store_f32(z + i, ts_load_f32(z + i) * a)
      i &+= lanes
    }
    while i < n {
      z[i] *= scale
      i &+= 1
    }
    return
  }
  // tanh(x) = 1 - 2 / (2^(2 x log2 e) + 1); beyond |x| = 10 it is 1 in f32.
  let inner = ts_splat(scale / cap)
  while i < n {
    let whole = i &+ lanes <= n
    var x = (whole ? ts_load_f32(z + i) : ts_splat(z[i])) * inner
    x = ts_max(ts_splat(-10), ts_min(ts_splat(10), x))
    let e = ts_exp2(x * ts_splat(2.885_390_1))
    let y = (ts_splat(1) - ts_splat(2) / (e + ts_splat(1))) * ts_splat(cap)
    if whole {
      ts_store_f32(z + i, y)
      i &+= lanes
    } else {
      z[i] = y[0]
      i &+= 1
    }
  }
}

/// The greatest of n numbers; NaN are passed over. -inf for none.
@inline(__always) func maximum(_ z: UnsafePointer<Float>, _ n: Int) -> Float {
  var m = ts_splat(negativeInfinity)
  var i = 0
  while i &+ lanes <= n {
    m = ts_max(ts_load_f32(z + i), m)
    i &+= lanes
  }
  var best = ts_hmax(m)
  while i < n {
    if z[i] > best { best = z[i] }
    i &+= 1
  }
  return best
}

/// z = 2^(a z - m) in place; returns the sum.
@inline(__always) func exponentials(_ z: Floats, _ n: Int, _ a: Float, _ m: Float) -> Float {
  let av = ts_splat(a)
  let mv = ts_splat(-m)
  var sum = ts_splat(0)
  var i = 0
  while i &+ lanes <= n {
    let e = ts_exp2(ts_fma(mv, ts_load_f32(z + i), av))
    ts_store_f32(z + i, e)
    sum = sum + e
    i &+= lanes
  }
  var total = ts_sum(sum)
  while i < n {
    let e = ts_exp2(ts_fma(mv, ts_splat(z[i]), av))[0]
    z[i] = e
    total += e
    i &+= 1
  }
  return total
}

@inline(never) func softmaxBlock(_ z: Floats, _ n: Int, _ a: Float, _ m: Floats, _ l: Floats) -> Float {
  let old = m[0]
  var new = (a < 0 ? minimum(z, n) : maximum(z, n)) * a
  if !(new > old) { new = old }
  // Nothing legal so far: measure from 0, so that -inf becomes 0 and not NaN.
  let reference = new == negativeInfinity ? 0 : new
  let rescale = old == new ? 1 : exp2One(old - reference)
  let sum = exponentials(z, n, a, reference)
  m[0] = new
  l[0] = l[0] * rescale + sum
  return rescale
}

/// The least of n numbers; NaN are passed over. Orders the logits when the scale is negative.
@inline(__always) func minimum(_ z: UnsafePointer<Float>, _ n: Int) -> Float {
  var best = Float.infinity
  var i = 0
  while i < n {
    if z[i] < best { best = z[i] }
    i &+= 1
  }
  return best
}

@inline(never) func scaleBy(_ x: Floats, _ n: Int, _ a: Float) {
  let av = ts_splat(a)
  var i = 0
  while i &+ lanes <= n {
    ts_store_f32(x + i, ts_load_f32(x + i) * av)
    i &+= lanes
  }
  while i < n {
    x[i] *= a
    i &+= 1
  }
}

@inline(never) func addScaled(_ y: Floats, _ x: UnsafePointer<Float>, _ n: Int, _ a: Float) {
  let av = ts_splat(a)
  var i = 0
  while i &+ lanes <= n {
    ts_store_f32(y + i, ts_fma(ts_load_f32(y + i), ts_load_f32(x + i), av))
    i &+= lanes
  }
  while i < n {
    y[i] = ts_fma(ts_splat(y[i]), ts_splat(x[i]), av)[0]
    i &+= 1
  }
}
