#if canImport(Glibc)
import Glibc
#endif

/// METEOR of token ids (Banerjee and Lavie 2005), its stage of equal words only; as nltk's with a stemmer that changes nothing
/// and no synonyms.
public struct METEOR: Sendable {
  public var alpha = 0.9
  public var beta = 3.0
  public var gamma = 0.5
  public init() {}

  public func score(_ hypothesis: UnsafeBufferPointer<Int32>, _ reference: UnsafeBufferPointer<Int32>) -> Double {
    // From the right, each hypothesis token takes the right-most free place of the reference.
    var places: [Int32: [Int]] = [:]
    for (j, id) in reference.enumerated() { places[id, default: []].append(j) }
    var pairs: [(Int, Int)] = []
    for i in stride(from: hypothesis.count - 1, through: 0, by: -1) {
      if let j = places[hypothesis[i]]?.popLast() { pairs.append((i, j)) }
    }
    pairs.reverse()
    let matched = Double(pairs.count)
    if pairs.isEmpty || hypothesis.isEmpty || reference.isEmpty { return 0 }
    let (p, r) = (matched / Double(hypothesis.count), matched / Double(reference.count))
    var chunks = 1
    for k in 1..<max(1, pairs.count) where pairs[k].0 != pairs[k - 1].0 + 1 || pairs[k].1 != pairs[k - 1].1 + 1 { chunks += 1 }
    let f = p * r / (alpha * p + (1 - alpha) * r)
    return (1 - gamma * pow(Double(chunks) / matched, beta)) * f
  }
}

/// Exact match and token F1 of SQuAD 2.0 on ids.
public enum TokenOverlap {
  public static func isExact(_ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>) -> Bool { a.elementsEqual(b) }

  /// Of bags; two empty bags agree, an empty one and another do not.
  public static func f1(_ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>) -> Double {
    if a.isEmpty || b.isEmpty { return a.isEmpty && b.isEmpty ? 1 : 0 }
    var counts: [Int32: Int] = [:]
    for id in b { counts[id, default: 0] += 1 }
    var shared = 0
    for id in a {
      if let left = counts[id], left > 0 {
        counts[id] = left - 1
        shared += 1
      }
    }
    if shared == 0 { return 0 }
    let (p, r) = (Double(shared) / Double(a.count), Double(shared) / Double(b.count))
    return 2 * p * r / (p + r)
  }
}
