import CShims

/// One step of online softmax (arXiv 1805.02867; arXiv 2307.08691 algorithm 1 lines 9 and 10) over a tile of scores, in base 2.
///
/// m' = max(m, max of the tile's logits);  P = 2^(logit - m');  rescale = 2^(m - m');  l' = l * rescale + sum P.
/// A lane is a query, so maxima and sums run down the rows and no vector is ever reduced across its lanes.
@inline(never) func onlineSoftmax(
  _ sT: UnsafeMutablePointer<Float>, _ nkeys: Int, _ key0: Int32, _ lo: UnsafePointer<Int32>, _ hi: UnsafePointer<Int32>,
  _ scale: Float, _ softcap: Float, _ bias0: UnsafePointer<Float>?, _ m: UnsafeMutablePointer<Float>,
  _ l: UnsafeMutablePointer<Float>, _ rescale: UnsafeMutablePointer<Float>
) -> Int32 {
  let s = UnsafeMutableRawPointer(sT)
  let scale = prepareLogits(s, nkeys, key0, lo, hi, scale, softcap, bias0)
  var moved: Int32 = 0
  var half = 0
  while half < panelBytes {
    let reference = moveMaximum(s + half, nkeys, scale, m, rescale, half, &moved)
    let sum = exponentiate(s + half, nkeys, scale, reference)
    storeF32(multiplyAdd(sum, loadF32(l, half), loadF32(rescale, half)), l, half)
    half &+= 64
  }
  return moved
}

#if ISA_V4X
/// The same with P in bf16 pairs. l sums the rounded P, so that the weights V is multiplied with add up to one.
@inline(never) func onlineSoftmaxBF16(
  _ sT: UnsafeMutablePointer<Float>, _ nkeys: Int, _ key0: Int32, _ lo: UnsafePointer<Int32>, _ hi: UnsafePointer<Int32>,
  _ scale: Float, _ softcap: Float, _ bias0: UnsafePointer<Float>?, _ m: UnsafeMutablePointer<Float>,
  _ l: UnsafeMutablePointer<Float>, _ rescale: UnsafeMutablePointer<Float>, _ pT: UnsafeMutablePointer<UInt16>
) -> Int32 {
  let s = UnsafeMutableRawPointer(sT)
  let scale = prepareLogits(s, nkeys, key0, lo, hi, scale, softcap, bias0)
  var moved: Int32 = 0
  let m0 = moveMaximum(s, nkeys, scale, m, rescale, 0, &moved)
  let m1 = moveMaximum(s + 64, nkeys, scale, m, rescale, 64, &moved)
  let sum = exponentiatePairs(s, nkeys, scale, m0, m1, UnsafeMutableRawPointer(pT))
  storeF32(multiplyAdd(sum.0, loadF32(l, 0), loadF32(rescale, 0)), l, 0)
  storeF32(multiplyAdd(sum.1, loadF32(l, 64), loadF32(rescale, 64)), l, 64)
  return moved
}

/// Both halves of a row in one pass, since a row of pairs overwrites the row of scores before it when P replaces S.
@inline(__always) private func exponentiatePairs(
  _ s: UnsafeMutableRawPointer, _ nkeys: Int, _ scale: Float, _ m0: F32x16, _ m1: F32x16, _ pairs: UnsafeMutableRawPointer
) -> (F32x16, F32x16) {
  let ones = U32x16(repeating: 0x3F80_3F80), factor = F32x16(repeating: scale)
  var l0 = F32x16.zero, l1 = F32x16.zero
  var at = 0, to = 0
  let end = nkeys &* panelBytes
  while at < end {
    let even0 = exp2Coarse(multiplyAdd(-m0, loadF32(s, at), factor))
    let even1 = exp2Coarse(multiplyAdd(-m1, loadF32(s, at &+ 64), factor))
    var odd0 = F32x16.zero, odd1 = F32x16.zero
    if at &+ panelBytes < end {
      odd0 = exp2Coarse(multiplyAdd(-m0, loadF32(s, at &+ 128), factor))
      odd1 = exp2Coarse(multiplyAdd(-m1, loadF32(s, at &+ 192), factor))
    }
    let p0 = tk_pair_bf16(even0, odd0), p1 = tk_pair_bf16(even1, odd1)
    storeU32(p0, pairs, to)
    storeU32(p1, pairs, to &+ 64)
    l0 = tk_dot_bf16(l0, p0, ones)
    l1 = tk_dot_bf16(l1, p1, ones)
    at &+= 2 &* panelBytes
    to &+= panelBytes
  }
  return (l0, l1)
}
#endif

/// Soft cap, bias and mask, each only where it applies. Returns the factor from what sT now holds to logits in base 2.
@inline(__always) func prepareLogits(
  _ s: UnsafeMutableRawPointer, _ nkeys: Int, _ key0: Int32, _ lo: UnsafePointer<Int32>, _ hi: UnsafePointer<Int32>,
  _ scale: Float, _ softcap: Float, _ bias0: UnsafePointer<Float>?
) -> Float {
  var scale = scale
  if softcap > 0 {
    capLogits(s, nkeys, scale, softcap)
    scale = 1
  }
  if let bias0, key0 == 0 { addBias(s, bias0, scale) }
  if crossesRange(nkeys, key0, lo, hi) { maskIllegal(s, nkeys, key0, lo, hi) }
  return scale
}

/// m' and rescale of 16 lanes. Returns m', or 0 in a lane that has seen no legal key: its m' is -inf, and -inf - -inf would
/// be NaN where any finite reference gives P = 0.
@inline(__always) private func moveMaximum(
  _ s: UnsafeMutableRawPointer, _ nkeys: Int, _ scale: Float, _ m: UnsafeMutablePointer<Float>,
  _ rescale: UnsafeMutablePointer<Float>, _ half: Int, _ moved: inout Int32
) -> F32x16 {
  let minusInfinity = F32x16(repeating: -.infinity)
  var top = minusInfinity
  var at = 0
  while at < nkeys &* panelBytes {
    top = larger(top, loadF32(s, at))
    at &+= panelBytes
  }
  let old = loadF32(m, half)
  let new = larger(old, top * F32x16(repeating: scale))
  storeF32(new, m, half)
  let reference = new.replacing(with: F32x16.zero, where: new .== minusInfinity)
  storeF32(exp2(old - reference), rescale, half)
  moved |= differs(old, new)
  return reference
}

/// P = 2^(S * scale - m) in place, and its sum, for 16 lanes.
@inline(__always) private func exponentiate(_ s: UnsafeMutableRawPointer, _ nkeys: Int, _ scale: Float, _ m: F32x16) -> F32x16 {
  let factor = F32x16(repeating: scale)
  var sum = F32x16.zero
  var at = 0
  while at < nkeys &* panelBytes {
    let p = exp2(multiplyAdd(-m, loadF32(s, at), factor))
    storeF32(p, s, at)
    sum += p
    at &+= panelBytes
  }
  return sum
}

/// S becomes cap * tanh(logit / cap), in base 2.
@inline(never) private func capLogits(_ s: UnsafeMutableRawPointer, _ nkeys: Int, _ scale: Float, _ softcap: Float) {
  let log2e: Float = 1.44269504
  let before = F32x16(repeating: scale / (log2e * softcap)), after = F32x16(repeating: softcap * log2e)
  var at = 0
  while at < nkeys &* panelBytes {
    storeF32(tanh(loadF32(s, at) * before) * after, s, at)
    at &+= 64
  }
}

/// Adds a bias in nats to the logits of the first row, which are S * scale in base 2.
@inline(__always) private func addBias(_ s: UnsafeMutableRawPointer, _ bias: UnsafePointer<Float>, _ scale: Float) {
  let unit = F32x16(repeating: 1.44269504 / scale)
  storeF32(multiplyAdd(loadF32(s, 0), loadF32(bias, 0), unit), s, 0)
  storeF32(multiplyAdd(loadF32(s, 64), loadF32(bias, 64), unit), s, 64)
}

/// Whether some lane may not see some key of the tile.
@inline(__always) private func crossesRange(
  _ nkeys: Int, _ key0: Int32, _ lo: UnsafePointer<Int32>, _ hi: UnsafePointer<Int32>
) -> Bool {
  let end = key0 &+ Int32(truncatingIfNeeded: nkeys)
  var lane = 0
  while lane < 32 {
    if lo[lane] > key0 || hi[lane] < end { return true }
    lane &+= 1
  }
  return false
}

@inline(never) private func maskIllegal(
  _ s: UnsafeMutableRawPointer, _ nkeys: Int, _ key0: Int32, _ lo: UnsafePointer<Int32>, _ hi: UnsafePointer<Int32>
) {
  let minusInfinity = F32x16(repeating: -.infinity)
  var half = 0
  while half < panelBytes {
    let lo = loadI32(lo, half), hi = loadI32(hi, half)
    var key = I32x16(repeating: key0)
    var at = half
    while at < nkeys &* panelBytes {
      let x = loadF32(s, at).replacing(with: minusInfinity, where: (key .< lo) .| (key .>= hi))
      storeF32(x, s, at)
      key = key &+ I32x16(repeating: 1)
      at &+= panelBytes
    }
    half &+= 64
  }
}

/// 1 if a running maximum moved: what was summed under the old one must be rescaled.
@inline(__always) private func differs(_ a: F32x16, _ b: F32x16) -> Int32 {
  let d16 = unsafeBitCast(a, to: U32x16.self) ^ unsafeBitCast(b, to: U32x16.self)
  let d8 = d16.lowHalf | d16.highHalf
  let d4 = d8.lowHalf | d8.highHalf
  return (d4.x | d4.y | d4.z | d4.w) == 0 ? 0 : 1
}
