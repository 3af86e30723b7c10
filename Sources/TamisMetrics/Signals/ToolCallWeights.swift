public import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// TL-Training (arXiv 2412.15495): the tokens that decide which tool is called weigh more.
public enum ToolCallWeights {
  /// Classes of tokens: other, key, end of an argument's value, and no response token.
  public static let other: UInt8 = 0, key: UInt8 = 1, end: UInt8 = 2, none: UInt8 = 255

  /// w_K = min(|O| / |K|, maxWeight) where the key tokens are fewer than the others, else 1; the rest 1; `none` 0.
  public static func weights(classes: TokenFlags, maxWeight: Double = 9) throws(TamisError) -> [Double] {
    try requireRange(maxWeight, "max_weight", 1, 1e30)
    var counts = (others: 0, keys: 0)
    for i in 0..<classes.count {
      let kind = classes[i]
      try require(kind <= 2 || kind == none, "classes[\(i)] is \(kind); expected 0 to 2, or 255")
      if kind == other { counts.others += 1 }
      if kind == key { counts.keys += 1 }
    }
    let weight =
      counts.keys < counts.others && counts.keys > 0 ? min(Double(counts.others) / Double(counts.keys), maxWeight) : 1
    var weights: [Double] = []
    weights.reserveCapacity(classes.count)
    for kind in classes { weights.append(kind == key ? weight : kind == none ? 0 : 1) }
    return weights
  }

  /// sum w f(ce) / sum w and its gradient, f(ce) = ce, or (1 - e^(-q ce)) / q for q > 0.
  public static func loss(
    ce: TokenValues, classes: TokenFlags, maxWeight: Double = 9, q: Double = 0
  ) throws(TamisError) -> (loss: Double, gradient: [Double]) {
    try requireRange(q, "q", 0, 1)
    let weights = try weights(classes: classes, maxWeight: maxWeight)
    var (sum, all) = (0.0, 0.0)
    var gradient = [Double](repeating: 0, count: ce.count)
    for i in 0..<ce.count where weights[i] > 0 {
      let x = try number(ce, i, "ce")
      try require(x >= 0, "ce[\(i)] is \(x); expected a cross entropy, at least 0")
      sum += weights[i] * (q == 0 ? x : -expm1(-q * x) / q)
      gradient[i] = weights[i] * (q == 0 ? 1 : exp(-q * x))
      all += weights[i]
    }
    try require(all > 0, "classes has no response token; expected at least one of class 0 to 2")
    for i in 0..<ce.count { gradient[i] /= all }
    return (sum / all, gradient)
  }

  /// Key places in a tool's name: 0, and behind the common prefix with each other name that begins alike.
  public static func keys(name: UnsafeBufferPointer<Int32>, others: TokenLists) -> [Int64] {
    var isKey = [Bool](repeating: false, count: name.count + 1)
    if name.count > 0 { isKey[0] = true }
    for i in 0..<others.count {
      let other = others[i]
      var n = 0
      while n < min(name.count, other.count) && name[n] == other[n] { n += 1 }
      if n > 0 && !(n == name.count && n == other.count) { isKey[n] = true }
    }
    return isKey.indices.filter { isKey[$0] }.map { Int64($0) }
  }
}
