public import TamisCore

/// One step that turns the reference into the hypothesis; the raw values are those of the C API.
public enum EditOperation: UInt8, Sendable {
  case match = 0
  case substitute = 1
  /// A reference token that the hypothesis lacks.
  case delete = 2
  /// A hypothesis token that the reference lacks.
  case insert = 3
}

/// Distances of two token sequences, 64 reference tokens a step (Myers 1999; Hyyrö 2003), with memory linear in the tokens.
public final class EditDistance {
  private var alphabet = LocalAlphabet()
  private var reference: [Int32] = []
  private var hypothesis: [Int32] = []
  /// Bit p of masks[number]: reference token p of the block at hand is this one.
  private var masks: [UInt64] = []
  /// Per hypothesis token, what the row above the block changes by; then what its last row does.
  private var carry: [Int8] = []
  private var positive: [UInt64] = []
  private var negative: [UInt64] = []

  public init() {}

  private func read(_ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>) {
    alphabet.number(a, into: &reference)
    alphabet.look(b, into: &hypothesis)
    if masks.count <= alphabet.count { masks = [UInt64](repeating: 0, count: alphabet.count + 1) }
  }

  /// Insertions, deletions and substitutions between them, of cost 1 each.
  public func levenshtein(_ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>) -> Int {
    if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
    read(a, b)
    return myers(keepsRows: false)
  }

  /// Distance of the numbered sequences; with rows, the vertical differences of every column stay for the trace.
  @_optimize(speed)
  private func myers(keepsRows: Bool) -> Int {
    let (m, n) = (reference.count, hypothesis.count)
    carry.removeAll(keepingCapacity: true)
    carry.append(contentsOf: repeatElement(1, count: n))
    let blocks = (m + 63) / 64
    if keepsRows {
      if positive.count < blocks * n || positive.count > Self.mostKept {
        positive = [UInt64](repeating: 0, count: blocks * n)
        negative = positive
      }
    }
    var distance = m
    for block in 0..<blocks {
      let start = 64 * block
      let end = min(m, start + 64)
      for p in start..<end { masks[Int(reference[p])] |= 1 << UInt64(p - start) }
      let last = UInt64(end - start - 1)
      var vp = UInt64.max
      var vn: UInt64 = 0
      masks.withUnsafeBufferPointer { masks in
        hypothesis.withUnsafeBufferPointer { hypothesis in
          carry.withUnsafeMutableBufferPointer { carry in
            positive.withUnsafeMutableBufferPointer { positive in
              negative.withUnsafeMutableBufferPointer { negative in
                for j in 0..<n {
                  var equal = masks[Int(hypothesis[j])]
                  let above = carry[j]
                  let x = equal | vn
                  equal |= UInt64(UInt8(bitPattern: above) >> 7)
                  let d = (((equal & vp) &+ vp) ^ vp) | equal
                  var hp = vn | ~(d | vp)
                  var hn = vp & d
                  carry[j] = Int8(truncatingIfNeeded: Int64(hp &>> last & 1) &- Int64(hn &>> last & 1))
                  hp = hp << 1 | (above > 0 ? 1 : 0)
                  hn = hn << 1 | (above < 0 ? 1 : 0)
                  vp = hn | ~(x | hp)
                  vn = hp & x
                  if keepsRows {
                    positive[block &* n &+ j] = vp
                    negative[block &* n &+ j] = vn
                  }
                }
              }
            }
          }
        }
      }
      for p in start..<end { masks[Int(reference[p])] = 0 }
    }
    for change in carry { distance += Int(change) }
    return distance
  }

  /// The words of bit vectors that an alignment may keep: 2 GB.
  private static let mostCells = 1 << 27

  /// What an object keeps of them from one call to the next.
  private static let mostKept = 1 << 20

  /// Whether `operations` takes sequences of these lengths.
  public static func canAlign(_ a: Int, _ b: Int) -> Bool {
    let cells = ((a + 63) / 64).multipliedReportingOverflow(by: b)
    return !cells.overflow && cells.partialValue <= mostCells
  }

  /// A shortest way from a to b. Of several, the one rapidfuzz takes: from the end, a deletion where there is one, else an
  /// insertion where one is better, else the pair; equal beginnings and ends are matched first.
  /// - Throws: `unsupported`: the sequences are too long to keep the way.
  public func operations(
    _ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>
  ) throws(TamisError) -> [EditOperation] {
    var steps: [EditOperation] = []
    steps.reserveCapacity(max(a.count, b.count))
    try walk(a, b) { step, count in steps.append(contentsOf: repeatElement(step, count: count)) }
    return steps.reversed()
  }

  /// How many steps of each kind that way has, by raw value.
  public func counts(
    _ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>
  ) throws(TamisError) -> (matches: Int, substitutions: Int, deletions: Int, insertions: Int) {
    var counts = (matches: 0, substitutions: 0, deletions: 0, insertions: 0)
    try walk(a, b) { step, count in
      switch step {
      case .match: counts.matches &+= count
      case .substitute: counts.substitutions &+= count
      case .delete: counts.deletions &+= count
      case .insert: counts.insertions &+= count
      }
    }
    return counts
  }

  /// The steps of that way and how many of them at once, from the last to the first.
  @inline(__always)
  private func walk(
    _ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>, _ step: (EditOperation, Int) -> Void
  ) throws(TamisError) {
    var prefix = 0
    while prefix < min(a.count, b.count), a[prefix] == b[prefix] { prefix += 1 }
    var suffix = 0
    while suffix < min(a.count, b.count) - prefix, a[a.count - 1 - suffix] == b[b.count - 1 - suffix] { suffix += 1 }
    let inner = (
      UnsafeBufferPointer(rebasing: a[prefix..<a.count - suffix]), UnsafeBufferPointer(rebasing: b[prefix..<b.count - suffix])
    )
    step(.match, suffix)
    var (i, j) = (inner.0.count, inner.1.count)
    if i > 0 && j > 0 {
      guard Self.canAlign(i, j) else {
        throw TamisError(
          .unsupported, "sequences of \(a.count) and \(b.count) tokens; an alignment takes at most 2^27 words of 64 tokens")
      }
      read(inner.0, inner.1)
      _ = myers(keepsRows: true)
      let n = hypothesis.count
      positive.withUnsafeBufferPointer { positive in
        negative.withUnsafeBufferPointer { negative in
          @inline(__always) func bit(_ words: UnsafeBufferPointer<UInt64>, _ i: Int, _ j: Int) -> Bool {
            words[(i &- 1) / 64 &* n &+ j &- 1] &>> UInt64(truncatingIfNeeded: i &- 1) & 1 != 0
          }
          while i > 0 && j > 0 {
            if bit(positive, i, j) {
              step(.delete, 1)
              i &-= 1
            } else {
              j &-= 1
              if j > 0 && bit(negative, i, j) {
                step(.insert, 1)
              } else {
                i &-= 1
                step(inner.0[i] == inner.1[j] ? .match : .substitute, 1)
              }
            }
          }
        }
      }
    }
    step(.delete, i)
    step(.insert, j)
    step(.match, prefix)
  }

  /// Length of the longest common subsequence (Hyyrö 2004).
  @_optimize(speed)
  public func longestCommonSubsequence(_ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>) -> Int {
    if a.isEmpty || b.isEmpty { return 0 }
    read(a, b)
    let (m, n) = (reference.count, hypothesis.count)
    carry.removeAll(keepingCapacity: true)
    carry.append(contentsOf: repeatElement(0, count: n))
    var length = 0
    for start in stride(from: 0, to: m, by: 64) {
      let end = min(m, start + 64)
      for p in start..<end { masks[Int(reference[p])] |= 1 << UInt64(p - start) }
      var s = UInt64.max
      masks.withUnsafeBufferPointer { masks in
        hypothesis.withUnsafeBufferPointer { hypothesis in
          carry.withUnsafeMutableBufferPointer { carry in
            for j in 0..<n {
              let u = s & masks[Int(hypothesis[j])]
              let (sum, first) = s.addingReportingOverflow(u)
              let (whole, second) = sum.addingReportingOverflow(UInt64(truncatingIfNeeded: carry[j]))
              carry[j] = first || second ? 1 : 0
              s = whole | (s &- u)
            }
          }
        }
      }
      let used = end - start == 64 ? UInt64.max : (1 << UInt64(end - start)) - 1
      length += (~s & used).nonzeroBitCount
      for p in start..<end { masks[Int(reference[p])] = 0 }
    }
    return length
  }

  /// Optimal string alignment: Levenshtein with swaps of two neighbours, no place edited twice. O(|a| |b|).
  public func restrictedDamerau(_ a: UnsafeBufferPointer<Int32>, _ b: UnsafeBufferPointer<Int32>) -> Int {
    var rows = (0..<3).map { _ in [Int](repeating: 0, count: b.count + 1) }
    rows[1] = Array(0...b.count)
    for i in 0..<a.count {
      // rows[0], rows[1]: the two rows above; rows[2] becomes row i + 1.
      rows[2][0] = i + 1
      for j in 0..<b.count {
        var best = min(rows[1][j] + (a[i] == b[j] ? 0 : 1), rows[1][j + 1] + 1, rows[2][j] + 1)
        if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] { best = min(best, rows[0][j - 1] + 1) }
        rows[2][j + 1] = best
      }
      rows.append(rows.removeFirst())
    }
    return rows[1][b.count]
  }
}
