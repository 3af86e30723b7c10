// The k best of n scores in O(n): histograms of order-preserving keys find the key of the k-th, one pass writes the indices.
import CShims

@inline(never) func keyHistogram(
  _ x: UnsafePointer<Float>, _ n: Int, _ prefixShift: UInt32, _ prefix: UInt32, _ shift: UInt32, _ bins: UInt32,
  _ histogram: UnsafeMutablePointer<UInt32>
) {
  var i = 0
  if prefixShift >= 32 {
    while i < n {
      histogram[Int((ts_key(x[i]) &>> shift) & (bins &- 1))] &+= 1
      i &+= 1
    }
    return
  }
  let low = prefix &<< prefixShift
  let width = UInt32(1) &<< prefixShift
  let base = U(repeating: low)
  let top = U(repeating: width &- 1)
  while i &+ lanes <= n {
    var mask = ts_mask_ge(top, ts_keys(ts_load_f32(x + i)) &- base)
    while mask != 0 {
      let j = mask.trailingZeroBitCount
      histogram[Int((ts_key(x[i &+ j]) &>> shift) & (bins &- 1))] &+= 1
      mask &= mask &- 1
    }
    i &+= lanes
  }
  while i < n {
    let key = ts_key(x[i])
    if key &- low < width { histogram[Int((key &>> shift) & (bins &- 1))] &+= 1 }
    i &+= 1
  }
}

@inline(never) func emitTop(
  _ x: UnsafePointer<Float>, _ n: Int, _ threshold: UInt32, _ tieCount: Int, _ base: Int32, _ to: UnsafeMutablePointer<Int32>
) -> Int {
  let bound = U(repeating: threshold)
  var ties = tieCount
  var count = 0
  var i = 0
  while i &+ lanes <= n {
    var mask = ts_mask_ge(ts_keys(ts_load_f32(x + i)), bound)
    while mask != 0 {
      let j = i &+ mask.trailingZeroBitCount
      mask &= mask &- 1
      if ts_key(x[j]) == threshold {
        if ties == 0 { continue }
        ties &-= 1
      }
      to[count] = base &+ Int32(truncatingIfNeeded: j)
      count &+= 1
    }
    i &+= lanes
  }
  while i < n {
    let key = ts_key(x[i])
    if key > threshold || (key == threshold && ties > 0) {
      if key == threshold { ties &-= 1 }
      to[count] = base &+ Int32(truncatingIfNeeded: i)
      count &+= 1
    }
    i &+= 1
  }
  return count
}

@inline(never) func countTop(_ x: UnsafePointer<Float>, _ n: Int, _ threshold: UInt32, _ tieCount: Int, _ count: Floats) {
  var ties = tieCount
  var i = 0
  while i < n {
    let key = ts_key(x[i])
    if key > threshold || (key == threshold && ties > 0) {
      if key == threshold { ties &-= 1 }
      count[i] += 1
    }
    i &+= 1
  }
}
