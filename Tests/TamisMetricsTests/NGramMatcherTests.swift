import TamisDevice
import Testing

@testable import TamisMetrics

/// Sequences of arrays as the lists that the metrics take.
func withLists<R>(_ sequences: [[Int32]], _ body: (TokenLists) throws -> R) rethrows -> R {
  let ids = sequences.flatMap { $0 }
  var starts: [Int64] = [0]
  for sequence in sequences { starts.append(starts.last! + Int64(sequence.count)) }
  return try ids.withUnsafeBufferPointer { ids in
    try starts.withUnsafeBufferPointer {
      try body(TokenLists(ids: ids.baseAddress, starts: $0.baseAddress!, count: sequences.count))
    }
  }
}

@Suite struct NGramMatcherTests {
  /// Clipped matches from dictionaries of arrays.
  static func plain(_ hypothesis: [Int32], _ references: [[Int32]], _ n: Int) -> Int64 {
    func bag(_ ids: [Int32]) -> [[Int32]: Int] {
      var counts: [[Int32]: Int] = [:]
      if ids.count >= n { for i in 0...(ids.count - n) { counts[Array(ids[i..<i + n]), default: 0] += 1 } }
      return counts
    }
    let bags = references.map(bag)
    return bag(hypothesis).reduce(0) { sum, entry in
      sum + Int64(min(entry.value, bags.reduce(0) { max($0, $1[entry.key] ?? 0) }))
    }
  }

  @Test func matchesAreThoseOfDictionaries() {
    var random = SystemRandomNumberGenerator()
    let matcher = NGramMatcher()
    for _ in 0..<300 {
      let vocabulary = Int32.random(in: 1...8, using: &random)
      func sentence() -> [Int32] {
        (0..<Int.random(in: 0...30, using: &random)).map { _ in Int32.random(in: -vocabulary...vocabulary, using: &random) }
      }
      let hypotheses = (0..<Int.random(in: 1...3, using: &random)).map { _ in sentence() }
      let references = (0..<Int.random(in: 1...3, using: &random)).map { _ in sentence() }
      var found = [Int64](repeating: -1, count: hypotheses.count * 6)
      withLists(hypotheses) { h in
        withLists(references) { r in
          found.withUnsafeMutableBufferPointer {
            matcher.match(h, 0..<h.count, r, 0..<r.count, maxN: 6, $0.baseAddress!)
          }
        }
      }
      for (k, hypothesis) in hypotheses.enumerated() {
        for n in 1...6 { #expect(found[k * 6 + n - 1] == Self.plain(hypothesis, references, n), "\(hypotheses) \(references)") }
      }
    }
  }

  @Test func theBatchIsTheSameOnEveryNumberOfThreads() throws {
    var rows: [[Int64]] = []
    let hypotheses = (0..<500).map { s in (0..<40).map { Int32((s * 7 + $0 * $0) % 11) } }
    let references = (0..<500).map { s in (0..<37).map { Int32((s * 5 + $0 * $0) % 11) } }
    for threads in [1, 3] {
      let context = try Context(threads: threads)
      try withLists(hypotheses) { h in
        try withLists(references) { r in
          rows.append(try NGramStatistics.count(ScoredBatch(h, r), .init(), context: context).rows)
        }
      }
    }
    #expect(rows[0] == rows[1])
    #expect(rows[0][2] == Self.plain(hypotheses[0], [references[0]], 1))
  }
}
