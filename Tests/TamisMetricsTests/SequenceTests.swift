import Testing

@testable import TamisMetrics

@Suite struct SequenceTests {
  /// Distance by the textbook's recurrence.
  static func distance(_ a: [Int32], _ b: [Int32]) -> Int {
    var line = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var before = line[0]
      line[0] = i + 1
      for (j, y) in b.enumerated() {
        let best = min(before + (x == y ? 0 : 1), line[j] + 1, line[j + 1] + 1)
        before = line[j + 1]
        line[j + 1] = best
      }
    }
    return line[b.count]
  }

  @Test func distancesAcrossBlocks() throws {
    let edit = EditDistance()
    for (m, n, alphabet) in [(0, 5, 3), (64, 64, 3), (65, 130, 4), (200, 129, 2), (63, 1, 2), (300, 310, 40)] {
      let a = (0..<m).map { _ in Int32.random(in: 0..<Int32(alphabet)) }
      let b = (0..<n).map { $0 < m && Bool.random() ? a[$0] : Int32.random(in: 0..<Int32(alphabet)) }
      try a.withUnsafeBufferPointer { x in
        try b.withUnsafeBufferPointer { y in
          #expect(edit.levenshtein(x, y) == Self.distance(a, b))
          let steps = try edit.operations(x, y)
          let counts = try edit.counts(x, y)
          #expect(counts.matches == steps.count { $0 == .match } && counts.substitutions == steps.count { $0 == .substitute })
          #expect(counts.deletions == steps.count { $0 == .delete } && counts.insertions == steps.count { $0 == .insert })
          #expect(steps.filter { $0 != .match }.count == Self.distance(a, b))
          #expect(steps.filter { $0 != .insert }.count == m)
          #expect(steps.filter { $0 != .delete }.count == n)
        }
      }
    }
  }

  @Test func aShiftIsOneEdit() {
    let aligner = ShiftAligner()
    #expect(aligner.edits([4, 5, 6, 1, 2, 3], [1, 2, 3, 4, 5, 6]) == 1)
    #expect(aligner.edits([1, 2, 3], []) == 3)
    #expect(aligner.edits([], [1, 2, 3]) == 3)
    #expect(aligner.edits([1, 2, 3], [1, 2, 3]) == 0)
  }

  @Test func selfBLEUOfTwoEqualSequencesIsOne() throws {
    let scores = try withLists([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]) { try Diversity.selfBLEU($0, maxN: 3) }
    #expect(scores == [1, 1])
  }

  @Test func longestRepeats() {
    func longest(_ ids: [Int32]) -> Int { ids.withUnsafeBufferPointer { Diversity.longestRepeat($0) } }
    #expect(longest([]) == 0)
    #expect(longest([1, 2, 3]) == 0)
    #expect(longest([1, 1, 1, 1, 1]) == 4)
    #expect(longest([1, 2, 3, 9, 1, 2, 3, 8]) == 3)
  }
}
