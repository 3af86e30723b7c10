import CShims

/// sums[key] += sum over lanes of 2^(logit - lse): a tile of attention weights, transposed and final, added up over its
/// queries.
///
/// The running sums are f64: a column may add up a hundred thousand rows.
@inline(never) func columnSums(
  _ sT: UnsafeMutablePointer<Float>, _ nkeys: Int, _ key0: Int32, _ lo: UnsafePointer<Int32>, _ hi: UnsafePointer<Int32>,
  _ scale: Float, _ softcap: Float, _ bias0: UnsafePointer<Float>?, _ lse: UnsafePointer<Float>,
  _ sums: UnsafeMutablePointer<Double>
) {
  let s = UnsafeMutableRawPointer(sT)
  let factor = F32x16(repeating: prepareLogits(s, nkeys, key0, lo, hi, scale, softcap, bias0))
  let m0 = finiteReference(loadF32(lse, 0)), m1 = finiteReference(loadF32(lse, 64))
  var key = 0, at = 0
  while key < nkeys {
    let p0 = weightOrZero(exp2(multiplyAdd(-m0, loadF32(s, at), factor)))
    let p1 = weightOrZero(exp2(multiplyAdd(-m1, loadF32(s, at &+ 64), factor)))
    sums[key] += Double(sumOfLanes(p0 + p1))
    key &+= 1
    at &+= panelBytes
  }
}

/// A lane that sees no key has lse -inf and scores -inf, whose difference would be NaN.
@inline(__always) private func finiteReference(_ lse: F32x16) -> F32x16 {
  lse.replacing(with: F32x16.zero, where: lse .== F32x16(repeating: -.infinity))
}

@inline(__always) private func weightOrZero(_ p: F32x16) -> F32x16 { p.replacing(with: F32x16.zero, where: p .!= p) }

@inline(__always) private func sumOfLanes(_ v: F32x16) -> Float {
  let v8 = v.lowHalf + v.highHalf
  let v4 = v8.lowHalf + v8.highHalf
  let v2 = v4.lowHalf + v4.highHalf
  return v2.x + v2.y
}
