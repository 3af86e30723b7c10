// DHSA's boundary predictor (arXiv 2510.24606 v1): from a window's outputs to the features of its middle.
import CShims

/// Arguments as `tk_boundaries.pool`. The features' own room holds the pooled halves and, at first, the normalised row.
@inline(never) func windowPool(
  _ y: UnsafePointer<Float>, _ yStride: Int, _ n: Int, _ width: Int, _ weight: UnsafePointer<Float>,
  _ bias: UnsafePointer<Float>, _ gate: UnsafePointer<Float>?, _ epsilon: Float, _ features: Floats
) {
  let half = n / 2
  poolHalf(y, yStride, half, width, weight, bias, gate, epsilon, features, features + 2 &* width)
  poolHalf(
    y + half &* yStride, yStride, half, width, weight, bias, gate, epsilon, features + width, features + 2 &* width)
  let (left, right) = (features, features + width)
  var product = ts_splat(0)
  var leftSquares = product
  var rightSquares = product
  var (p, l, r) = (Float(0), Float(0), Float(0))
  var i = 0
  while i &+ lanes <= width {
    let a = ts_load_f32(left + i)
    let b = ts_load_f32(right + i)
    let d = a - b
    ts_store_f32(features + (2 &* width &+ i), ts_max(d, ts_splat(0) - d))
    ts_store_f32(features + (3 &* width &+ i), a * b)
    product = ts_fma(product, a, b)
    leftSquares = ts_fma(leftSquares, a, a)
    rightSquares = ts_fma(rightSquares, b, b)
    i &+= lanes
  }
  while i < width {
    let (a, b) = (left[i], right[i])
    features[2 &* width &+ i] = a > b ? a - b : b - a
    features[3 &* width &+ i] = a * b
    p += a * b
    l += a * a
    r += b * b
    i &+= 1
  }
  p += ts_sum(product)
  l = tl_sqrt(l + ts_sum(leftSquares))
  r = tl_sqrt(r + ts_sum(rightSquares))
  features[4 &* width] = p / ((l > 1e-6 ? l : 1e-6) * (r > 1e-6 ? r : 1e-6))
}

/// to = sum_r c_r LN(y_r), c_r = 1 / rows or softmax_r(gate . LN(y_r)). `row` has room for one row.
@inline(__always) private func poolHalf(
  _ y: UnsafePointer<Float>, _ yStride: Int, _ rows: Int, _ width: Int, _ weight: UnsafePointer<Float>,
  _ bias: UnsafePointer<Float>, _ gate: UnsafePointer<Float>?, _ epsilon: Float, _ to: Floats, _ row: Floats
) {
  if let gate {
    // Online over the rows: what has been summed so far is worth 2^(old maximum - new maximum).
    var most = negativeInfinity
    var total: Float = 0
    var r = 0
    while r < rows {
      _ = normaliseRow(y + r &* yStride, width, width, weight, bias, epsilon, row)
      let z = headProduct(gate, row, width) * 1.442_695_04
      let top = z > most ? z : most
      let old = r == 0 ? 0 : exp2One(most - top)
      let share = exp2One(z - top)
      var i = 0
      while i < width {
        to[i] = (r == 0 ? 0 : to[i] * old) + share * row[i]
        i &+= 1
      }
      total = total * old + share
      most = top
      r &+= 1
    }
    scaleBy(to, width, 1 / total)
    return
  }
  var r = 0
  while r < rows {
    let (mean, scale) = moments(y + r &* yStride, width, epsilon)
    let factor = scale / Float(rows)
    let shift = ts_splat(mean)
    let from = y + r &* yStride
    var i = 0
    while i &+ lanes <= width {
      let v = (ts_load_f32(from + i) - shift) * ts_splat(factor)
      ts_store_f32(to + i, r == 0 ? v : ts_load_f32(to + i) + v)
      i &+= lanes
    }
    while i < width {
      let v = (from[i] - mean) * factor
      to[i] = r == 0 ? v : to[i] + v
      i &+= 1
    }
    r &+= 1
  }
  var i = 0
  while i &+ lanes <= width {
    ts_store_f32(to + i, ts_fma(ts_load_f32(bias + i), ts_load_f32(to + i), ts_load_f32(weight + i)))
    i &+= lanes
  }
  while i < width {
    to[i] = to[i] * weight[i] + bias[i]
    i &+= 1
  }
}

/// Mean and 1 / sqrt(variance + epsilon) of a row.
@inline(__always) private func moments(_ x: UnsafePointer<Float>, _ n: Int, _ epsilon: Float) -> (Float, Float) {
  var a = ts_splat(0)
  var b = a
  var sum: Float = 0
  var i = 0
  while i &+ 2 &* lanes <= n {
    a = a + ts_load_f32(x + i)
    b = b + ts_load_f32(x + (i &+ lanes))
    i &+= 2 &* lanes
  }
  let whole = i
  while i < n {
    sum += x[i]
    i &+= 1
  }
  let mean = (sum + ts_sum(a + b)) / Float(n)
  let shift = ts_splat(mean)
  a = ts_splat(0)
  b = a
  var squares: Float = 0
  i = 0
  while i < whole {
    let u = ts_load_f32(x + i) - shift
    let v = ts_load_f32(x + (i &+ lanes)) - shift
    a = ts_fma(a, u, u)
    b = ts_fma(b, v, v)
    i &+= 2 &* lanes
  }
  while i < n {
    squares += (x[i] - mean) * (x[i] - mean)
    i &+= 1
  }
  return (mean, 1 / tl_sqrt((squares + ts_sum(a + b)) / Float(n) + epsilon))
}

@inline(never) func productOf(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ count: Int) -> Float {
  headProduct(x, y, count)
}

/// The predictor's part of the table; see `fillTable` on why the closures only call.
@inline(__always) func fillBoundaries(_ table: UnsafeMutablePointer<tk_boundaries>) {
  table.pointee.scores = { windowScores($0, $1, $2, $3, $4, $5, $6, $7, $8, $9) }
  table.pointee.weights = { windowWeights($0, $1, $2, $3, $4) }
  table.pointee.mix = { windowMix($0, $1, $2, $3, $4, $5, $6, $7, $8) }
  table.pointee.pool = { windowPool($0, $1, $2, $3, $4, $5, $6, $7, $8) }
  table.pointee.product = { productOf($0, $1, $2) }
}
