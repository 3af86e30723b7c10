import CShims

/// 2^x for x <= 1 with a relative error under 1.6e-7; 2^-inf is 0, 2^0 is 1 and NaN stays NaN.
///
/// x = n + f; 2^f is a minimax polynomial of degree 5 through 1 at f = 0, and 2^n goes into the exponent.
@inline(__always) func exp2(_ x: F32x16) -> F32x16 {
  #if ISA_V4 || ISA_V4X
  let f = tk_fraction(x)
  var p = F32x16(repeating: 1.8671300495043397e-3)
  p = multiplyAdd(F32x16(repeating: 9.017030708491802e-3), p, f)
  p = multiplyAdd(F32x16(repeating: 5.579991266131401e-2), p, f)
  p = multiplyAdd(F32x16(repeating: 0.24016444385051727), p, f)
  p = multiplyAdd(F32x16(repeating: 0.6931512951850891), p, f)
  p = multiplyAdd(F32x16(repeating: 1), p, f)
  return tk_scale_by_exp2(p, x)
  #else
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the significand.
  let magic = F32x16(repeating: 12_582_912)
  let smallest = F32x16(repeating: -126)
  let clamped = x.replacing(with: smallest, where: x .< smallest)
  let shifted = clamped + magic
  let f = clamped - (shifted - magic)
  var p = F32x16(repeating: 1.326472731307149e-3)
  p = multiplyAdd(F32x16(repeating: 9.671512991189957e-3), p, f)
  p = multiplyAdd(F32x16(repeating: 5.550733581185341e-2), p, f)
  p = multiplyAdd(F32x16(repeating: 0.24022242426872253), p, f)
  p = multiplyAdd(F32x16(repeating: 0.6931470036506653), p, f)
  p = multiplyAdd(F32x16(repeating: 1), p, f)
  let n = (unsafeBitCast(shifted, to: U32x16.self) &+ U32x16(repeating: 127)) &<< U32x16(repeating: 23)
  p = p * unsafeBitCast(n, to: F32x16.self)
  return p.replacing(with: F32x16.zero, where: x .< smallest)
  #endif
}

#if ISA_V4X
/// 2^x for x <= 1 with a relative error under 1.1e-4, a twentieth of what rounding to bf16 then adds.
@inline(__always) func exp2Coarse(_ x: F32x16) -> F32x16 {
  let f = tk_fraction(x)
  var p = F32x16(repeating: 0.07706703990697861)
  p = multiplyAdd(F32x16(repeating: 0.22764499485492706), p, f)
  p = multiplyAdd(F32x16(repeating: 0.6951167583465576), p, f)
  p = multiplyAdd(F32x16(repeating: 1), p, f)
  return tk_scale_by_exp2(p, x)
}
#endif

/// tanh x = sign(x) (1 - e) / (1 + e), e = exp(-2|x|): absolute error under 2e-7; NaN stays NaN.
@inline(__always) func tanh(_ x: F32x16) -> F32x16 {
  let magnitude = x.replacing(with: -x, where: x .< F32x16.zero)
  let e = exp2(magnitude * F32x16(repeating: -2.885_390_1))
  let t = (F32x16(repeating: 1) - e) / (F32x16(repeating: 1) + e)
  return t.replacing(with: -t, where: x .< F32x16.zero)
}
