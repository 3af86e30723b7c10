import CShims

/// The k best of n scores in O(n): three histograms over order-preserving keys find the k-th key, one pass writes the indices.
public enum TopK {
  /// Everything above `key`, and the first `ties` scores that equal it.
  public struct Threshold: Sendable, Equatable {
    public var key: UInt32
    public var ties: Int
  }

  /// Indices of the k largest scores, ascending; ties go to the lower index, NaN counts as -inf. Returns min(k, count).
  /// `into` has room for that many. Allocates nothing.
  @discardableResult
  public static func select(_ scores: UnsafePointer<Float>, count: Int, k: Int, into: UnsafeMutablePointer<Int32>) -> Int {
    select(scores, count: count, k: k, offset: 0, into: into, kernels: Kernels.active)
  }

  /// The same with `offset` added to each index, by the kernels of a level.
  public static func select(
    _ scores: UnsafePointer<Float>, count: Int, k: Int, offset: Int, into: UnsafeMutablePointer<Int32>,
    kernels: UnsafePointer<tk_table>
  ) -> Int {
    if k >= count {
      for i in 0..<max(count, 0) { into[i] = Int32(truncatingIfNeeded: offset + i) }
      return max(count, 0)
    }
    if k <= 0 { return 0 }
    let bound = threshold(scores, count: count, k: k, kernels: kernels)
    return kernels.pointee.emit_top(scores, count, bound.key, bound.ties, Int32(truncatingIfNeeded: offset), into)
  }

  /// What separates the k largest of more than k scores from the rest. 0 < k < count.
  public static func threshold(
    _ scores: UnsafePointer<Float>, count: Int, k: Int, kernels: UnsafePointer<tk_table>
  ) -> Threshold {
    var wanted = k
    var prefix: UInt32 = 0
    var prefixBits: Int32 = 0
    var histogram = InlineArray<2048, UInt32>(repeating: 0)
    while prefixBits < 32 {
      let bits: Int32 = prefixBits == 22 ? 10 : 11
      let bins = 1 << Int(bits)
      let shift = 32 - prefixBits - bits
      // In the bin that holds the k-th key: how many are wanted of it, and how many it has.
      let (bin, above, inside) = withUnsafeMutableBytes(of: &histogram) { bytes in
        let counts = bytes.baseAddress!.assumingMemoryBound(to: UInt32.self)
        for i in 0..<bins { counts[i] = 0 }
        kernels.pointee.key_histogram(scores, count, 32 - prefixBits, prefix, shift, UInt32(bins), counts)
        var bin = bins - 1
        var above = 0
        while above + Int(counts[bin]) < wanted {
          above += Int(counts[bin])
          bin -= 1
        }
        return (bin, above, Int(counts[bin]))
      }
      wanted -= above
      prefix = prefix << UInt32(bits) | UInt32(bin)
      prefixBits += bits
      if wanted == inside && prefix > 0 && shift > 0 { return Threshold(key: (prefix << UInt32(shift)) - 1, ties: 0) }
    }
    return Threshold(key: prefix, ties: wanted)
  }
}
