import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// Losses, log-probabilities and masks as a caller has them: packed, [tokens] or [batch][tokens].
public typealias TokenValues = UnsafeBufferPointer<Double>
public typealias TokenFlags = UnsafeBufferPointer<UInt8>

/// Sums of products of such numbers stay finite.
let tokenNumberLimit = 1e90

/// The number at a place that counts.
/// - Throws: `invalidArgument` unless it is finite and at most 1e90 in magnitude.
@inline(__always)
func number(_ values: TokenValues, _ i: Int, _ name: StaticString) throws(TamisError) -> Double {
  let value = values[i]
  if !(value.magnitude <= tokenNumberLimit) { throw outOfRange(value, i, name) }
  return value
}

@inline(never)
private func outOfRange(_ value: Double, _ i: Int, _ name: StaticString) -> TamisError {
  .invalid("\(name)[\(i)] is \(value); expected a finite number of at most 1e90 in magnitude")
}

/// A scalar option between two bounds.
@inline(never)
func requireRange(_ value: Double, _ name: StaticString, _ low: Double, _ high: Double) throws(TamisError) {
  try require(value >= low && value <= high, "\(name) is \(value); expected \(low) to \(high)")
}

/// A scalar option that scales: above 0.
@inline(never)
func requirePositive(_ value: Double, _ name: StaticString) throws(TamisError) {
  try require(value > 0 && value <= 1e30, "\(name) is \(value); expected a number above 0, at most 1e30")
}

/// 0 or 1.
@inline(__always)
func isSet(_ flags: TokenFlags, _ i: Int, _ name: StaticString) throws(TamisError) -> Bool {
  let flag = flags[i]
  if flag > 1 { throw .invalid("\(name)[\(i)] is \(flag); expected 0 or 1") }
  return flag == 1
}

/// 1 / (1 + e^-x) without overflow.
func sigmoid(_ x: Double) -> Double {
  if x >= 0 { return 1 / (1 + exp(-x)) }
  let e = exp(x)
  return e / (1 + e)
}

/// -ln sigmoid(x) without overflow.
func minusLogSigmoid(_ x: Double) -> Double { max(-x, 0) + log1p(exp(-x.magnitude)) }
