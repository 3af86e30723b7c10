public import TamisCore

/// Function tokens (arXiv 2510.08203): the few frequent tokens that make up a large share of all text.
public enum FunctionTokens {
  /// Occurrences of each token, and documents that hold it.
  /// - Throws: `invalidArgument`: an id outside the vocabulary.
  public static func count(
    _ lists: TokenLists, vocabulary: Int
  ) throws(TamisError) -> (counts: [UInt64], documents: [Int64]) {
    var counts = [UInt64](repeating: 0, count: vocabulary)
    var documents = [Int64](repeating: 0, count: vocabulary)
    var last = [Int](repeating: -1, count: vocabulary)
    for i in 0..<lists.count {
      let list = lists[i]
      for j in 0..<list.count {
        let id = try token(list, j, of: i, vocabulary)
        counts[id] += 1
        if last[id] != i {
          last[id] = i
          documents[id] += 1
        }
      }
    }
    return (counts, documents)
  }

  static func token(
    _ list: UnsafeBufferPointer<Int32>, _ j: Int, of i: Int, _ vocabulary: Int
  ) throws(TamisError) -> Int {
    let id = Int(list[j])
    if id < 0 || id >= vocabulary {
      throw .invalid("token \(j) of sequence \(i) is \(id); expected 0 to \(vocabulary - 1), the vocabulary")
    }
    return id
  }

  /// 1 for the smallest set of the most frequent tokens that makes up `share` of all occurrences, and how many they are. Ties
  /// go to the lower id; the token that crosses the line is in it.
  public static func flags(
    counts: UnsafeBufferPointer<UInt64>, share: Double = 0.4
  ) throws(TamisError) -> (flags: [UInt8], count: Int) {
    try require(share > 0 && share <= 1, "share is \(share); expected above 0, at most 1")
    var total: UInt64 = 0
    for v in 0..<counts.count {
      let (sum, overflow) = total.addingReportingOverflow(counts[v])
      try require(
        !overflow && sum <= 1 << 63, "counts[\(v)] is \(counts[v]), which makes too many; expected at most 2^63 in all")
      total = sum
    }
    try require(total > 0, "counts are all 0; expected at least one occurrence")
    let wanted = share * Double(total)
    var flags = [UInt8](repeating: 0, count: counts.count)
    var (reached, n): (UInt64, Int) = (0, 0)
    for v in (0..<counts.count).sorted(by: { counts[$0] > counts[$1] || counts[$0] == counts[$1] && $0 < $1 }) {
      if reached == total || Double(reached) >= wanted { break }
      reached += counts[v]
      flags[v] = 1
      n += 1
    }
    return (flags, n)
  }

  /// Sums of losses and numbers of tokens by (type of the token before, type of the token): f f, f c, c f, c c.
  /// - Parameter nll: laid out like the ids of `lists`; `mask` likewise.
  public static func groups(
    _ lists: TokenLists, flags: TokenFlags, nll: TokenValues, mask: TokenFlags?
  ) throws(TamisError) -> (sums: [Double], counts: [Int64]) {
    for v in 0..<flags.count { _ = try isSet(flags, v, "flags") }
    var sums = [Double](repeating: 0, count: 4)
    var counts = [Int64](repeating: 0, count: 4)
    for i in 0..<lists.count {
      let list = lists[i]
      let first = lists.place(i)
      var before = 0
      for j in 0..<list.count {
        let type = 1 - Int(flags[try token(list, j, of: i, flags.count)])
        var isCounted = j > 0
        if let mask { isCounted = try isSet(mask, first + j, "mask") && isCounted }
        if isCounted {
          sums[2 * before + type] += try number(nll, first + j, "nll")
          counts[2 * before + type] += 1
        }
        before = type
      }
    }
    return (sums, counts)
  }
}
