// DHSA's boundary predictor (arXiv 2510.24606 v1) between its linear layers: attention within windows of n tokens.
import CShims

/// q . k over one head.
@inline(__always) func headProduct(_ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ dim: Int) -> Float {
  var sum = ts_splat(0)
  var i = 0
  while i &+ lanes <= dim {
    sum = ts_fma(sum, ts_load_f32(q + i), ts_load_f32(k + i))
    i &+= lanes
  }
  if i &+ 8 <= dim {
    sum = ts_fma(sum, ts_load_half_f32(q + i), ts_load_half_f32(k + i))
    i &+= 8
  }
  var total = ts_sum(sum)
  while i < dim {
    total += q[i] * k[i]
    i &+= 1
  }
  return total
}

/// Four queries `stride` apart with one key, a head's width being a multiple of 8; the bits of `headProduct`.
@inline(__always) func headProducts4(
  _ q: UnsafePointer<Float>, _ stride: Int, _ k: UnsafePointer<Float>, _ dim: Int, _ scale: Float, _ to: Floats
) {
  var a = ts_splat(0)
  var b = a
  var c = a
  var d = a
  var i = 0
  while i &+ lanes <= dim {
    let key = ts_load_f32(k + i)
    a = ts_fma(a, ts_load_f32(q + i), key)
    b = ts_fma(b, ts_load_f32(q + (stride &+ i)), key)
    c = ts_fma(c, ts_load_f32(q + (2 &* stride &+ i)), key)
    d = ts_fma(d, ts_load_f32(q + (3 &* stride &+ i)), key)
    i &+= lanes
  }
  if i < dim {
    let key = ts_load_half_f32(k + i)
    a = ts_fma(a, ts_load_half_f32(q + i), key)
    b = ts_fma(b, ts_load_half_f32(q + (stride &+ i)), key)
    c = ts_fma(c, ts_load_half_f32(q + (2 &* stride &+ i)), key)
    d = ts_fma(d, ts_load_half_f32(q + (3 &* stride &+ i)), key)
  }
  let sums = ts_sum4(a, b, c, d)
  to[0] = sums[0] * scale
  to[1] = sums[1] * scale
  to[2] = sums[2] * scale
  to[3] = sums[3] * scale
}

@inline(never) func windowScores(
  _ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ stride: Int, _ rows: Int, _ heads: Int, _ dim: Int, _ n: Int,
  _ room: Int, _ scale: Float, _ to: Floats
) {
  var j = 0
  while j < rows {
    let low = j &- n &+ 1 > 0 ? j &- n &+ 1 : 0
    let high = j &+ n < rows ? j &+ n : rows
    var h = 0
    while h < heads {
      let key = k + (j &* stride &+ h &* dim)
      let home = to + ((j &* heads &+ h) &* 2 &* room &+ n &- 1 &- j)
      var t = low
      if dim & 7 == 0 {
        while t &+ 4 <= high {
          headProducts4(q + (t &* stride &+ h &* dim), stride, key, dim, scale, home + t)
          t &+= 4
        }
      }
      while t < high {
        home[t] = headProduct(q + (t &* stride &+ h &* dim), key, dim) * scale
        t &+= 1
      }
      h &+= 1
    }
    j &+= 1
  }
}

@inline(never) func windowWeights(_ scores: UnsafePointer<Float>, _ heads: Int, _ n: Int, _ room: Int, _ to: Floats) {
  var h = 0
  while h < heads {
    var r = 0
    while r < n {
      // Query r of the window and its token j are n - 1 + r - j apart in the row of scores of j.
      let from = scores + (h &* 2 &* room &+ n &- 1 &+ r)
      let step = heads &* 2 &* room &- 1
      let home = to + (h &* room &+ r)
      let homeStep = heads &* room
      var most = ts_splat(negativeInfinity)
      var j = 0
      while j < n {
        most = ts_max(ts_load_f32(from + j &* step), most)
        j &+= 1
      }
      var sum = ts_splat(0)
      j = 0
      while j < n {
        let e = ts_exp2(ts_load_f32(from + j &* step) - most)
        sum = sum + e
        ts_store_f32(home + j &* homeStep, e)
        j &+= 1
      }
      let inverse = ts_splat(1) / sum
      j = 0
      while j < n {
        ts_store_f32(home + j &* homeStep, ts_load_f32(home + j &* homeStep) * inverse)
        j &+= 1
      }
      r &+= lanes
    }
    h &+= 1
  }
}

@inline(never) func windowMix(
  _ a: UnsafePointer<Float>, _ room: Int, _ n: Int, _ count: Int, _ x: UnsafePointer<Float>, _ xStride: Int, _ width: Int,
  _ y: Floats, _ yStride: Int
) {
  var r = 0
  while r < n {
    var c = 0
    if lanes == 16 {
      while c &+ 2 &* lanes <= width {
        mixTile(true, a + r, room, count, x + c, xStride, y + (r &* yStride &+ c), yStride)
        c &+= 2 &* lanes
      }
    }
    while c < width {
      mixTile(false, a + r, room, count, x + c, xStride, y + (r &* yStride &+ c), yStride)
      c &+= lanes
    }
    r &+= 8
  }
}

/// Eight rows times one vector of columns, or two.
@inline(__always) private func mixTile(
  _ wide: Bool, _ a: UnsafePointer<Float>, _ room: Int, _ count: Int, _ x: UnsafePointer<Float>, _ xStride: Int, _ y: Floats,
  _ yStride: Int
) {
  var c0a = ts_splat(0)
  var (c1a, c2a, c3a, c4a, c5a, c6a, c7a) = (c0a, c0a, c0a, c0a, c0a, c0a, c0a)
  var (c0b, c1b, c2b, c3b, c4b, c5b, c6b, c7b) = (c0a, c0a, c0a, c0a, c0a, c0a, c0a, c0a)
  var i = 0
  while i < count {
    let p = a + i &* room
    let u = ts_load_f32(x + i &* xStride)
    let w0 = ts_splat(p[0])
    let w1 = ts_splat(p[1])
    let w2 = ts_splat(p[2])
    let w3 = ts_splat(p[3])
    let w4 = ts_splat(p[4])
    let w5 = ts_splat(p[5])
    let w6 = ts_splat(p[6])
    let w7 = ts_splat(p[7])
    c0a = ts_fma(c0a, u, w0)
    c1a = ts_fma(c1a, u, w1)
    c2a = ts_fma(c2a, u, w2)
    c3a = ts_fma(c3a, u, w3)
    c4a = ts_fma(c4a, u, w4)
    c5a = ts_fma(c5a, u, w5)
    c6a = ts_fma(c6a, u, w6)
    c7a = ts_fma(c7a, u, w7)
    if wide {
      let v = ts_load_f32(x + (i &* xStride &+ lanes))
      c0b = ts_fma(c0b, v, w0)
      c1b = ts_fma(c1b, v, w1)
      c2b = ts_fma(c2b, v, w2)
      c3b = ts_fma(c3b, v, w3)
      c4b = ts_fma(c4b, v, w4)
      c5b = ts_fma(c5b, v, w5)
      c6b = ts_fma(c6b, v, w6)
      c7b = ts_fma(c7b, v, w7)
    }
    i &+= 1
  }
  ts_store_f32(y, c0a)
  ts_store_f32(y + yStride, c1a)
  ts_store_f32(y + 2 &* yStride, c2a)
  ts_store_f32(y + 3 &* yStride, c3a)
  ts_store_f32(y + 4 &* yStride, c4a)
  ts_store_f32(y + 5 &* yStride, c5a)
  ts_store_f32(y + 6 &* yStride, c6a)
  ts_store_f32(y + 7 &* yStride, c7a)
  if wide {
    ts_store_f32(y + lanes, c0b)
    ts_store_f32(y + (yStride &+ lanes), c1b)
    ts_store_f32(y + (2 &* yStride &+ lanes), c2b)
    ts_store_f32(y + (3 &* yStride &+ lanes), c3b)
    ts_store_f32(y + (4 &* yStride &+ lanes), c4b)
    ts_store_f32(y + (5 &* yStride &+ lanes), c5b)
    ts_store_f32(y + (6 &* yStride &+ lanes), c6b)
    ts_store_f32(y + (7 &* yStride &+ lanes), c7b)
  }
}
