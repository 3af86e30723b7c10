import TamisCore
import TamisDevice
import Testing

@testable import TamisText

#if canImport(Glibc)
import Glibc
#endif

private func unitScores(_ tokens: [(Int, Int)], _ scores: [Float], _ units: [(Int, Int)]) throws -> [Float] {
  let tokens = tokens.map { TextSpan($0.0, $0.1) }
  let units = units.map { TextSpan($0.0, $0.1) }
  return try tokens.withUnsafeBufferPointer { tokens in
    try scores.withUnsafeBufferPointer { scores in
      try units.withUnsafeBufferPointer { try SelectiveContext.unitScores(tokens: tokens, scores: scores, units: $0) }
    }
  }
}

private func keep(_ scores: [Float], _ ratio: Double) throws -> (indices: [Int32], threshold: Double) {
  try scores.withUnsafeBufferPointer { try SelectiveContext.keep($0, reduceRatio: ratio) }
}

@Suite struct SelectiveContextTests {
  @Test func aUnitIsTheMeanOfItsTokens() throws {
    // "the cat" | "sat"; the tokens " cat" and " sat" bring their space along
    let scores = try unitScores([(0, 3), (3, 7), (7, 11)], [1, 3, 5], [(0, 7), (8, 11)])
    #expect(scores == [2, 5])
  }

  @Test func aTokenIsSplitByOverlap() throws {
    // one token over two units of 1 and 3 bytes
    #expect(try unitScores([(0, 4)], [8], [(0, 1), (1, 4)]) == [2, 6])
    // a token whose white space lies between the units
    #expect(try unitScores([(0, 2), (2, 6)], [1, 6], [(0, 3), (4, 6)]) == [(1 + 2) / 2, 4])
  }

  @Test func unitsWithoutTokensHaveNoScore() throws {
    let scores = try unitScores([(2, 2), (4, 6)], [9, 1], [(0, 2), (2, 2), (4, 6), (8, 9)])
    #expect(scores[0].isNaN && scores[1].isNaN && scores[2] == 1 && scores[3].isNaN)
    #expect(try unitScores([], [], [(0, 3)])[0].isNaN)
    #expect(try unitScores([(0, 3)], [1], []) == [])
  }

  /// Tokens that share a character, as byte-level tokenizers make them.
  @Test func overlappingTokens() throws {
    #expect(try unitScores([(0, 3), (0, 3), (3, 5)], [1, 3, 7], [(0, 3), (3, 5)]) == [2, 7])
  }

  @Test func overlappingUnitsAreRefused() {
    #expect(throws: TamisError.self) { try unitScores([(0, 3)], [1], [(0, 2), (1, 3)]) }
    #expect(throws: TamisError.self) { try unitScores([(1, 3), (0, 2)], [1, 1], [(0, 2)]) }
  }

  /// Against loops over bytes.
  @Test func randomSpansAgainstBytes() throws {
    var random = SeededRandom(seed: 3)
    for _ in 0..<200 {
      func cuts(_ n: Int) -> [(Int, Int)] {
        let points = (0..<n).map { _ in random.below(40) }.sorted()
        return zip(points, points.dropFirst()).map { ($0, $1) }
      }
      let tokens = cuts(12)
      let units = cuts(7)
      let scores = tokens.map { _ in Float(random.unit()) }
      let found = try unitScores(tokens, scores, units)
      for (u, unit) in units.enumerated() {
        var parts: [Double] = []
        for (t, token) in tokens.enumerated() {
          let inUnits = (token.0..<token.1).filter { byte in units.contains { $0.0 <= byte && byte < $0.1 } }.count
          let inUnit = (token.0..<token.1).filter { unit.0 <= $0 && $0 < unit.1 }.count
          if inUnit > 0 { parts.append(Double(scores[t]) * Double(inUnit) / Double(inUnits)) }
        }
        if parts.isEmpty {
          #expect(found[u].isNaN)
        } else {
          #expect(abs(Double(found[u]) - parts.reduce(0, +) / Double(parts.count)) < 1e-6)
        }
      }
    }
  }

  @Test func thePercentileIsNumpys() throws {
    // numpy.percentile([1, 2, 3, 4], 35) = 2.05
    let (indices, threshold) = try keep([4, 1, 3, 2], 0.35)
    #expect(abs(threshold - 2.05) < 1e-12)
    #expect(indices == [0, 2])
  }

  @Test func theEndsOfTheRatio() throws {
    #expect(try keep([3, 1, 2], 0).indices == [0, 1, 2])
    #expect(try keep([3, 1, 3], 1).indices == [0, 2])
    #expect(try keep([2, 2, 2], 0.9).indices == [0, 1, 2])
    let empty = try keep([], 0.5)
    #expect(empty.indices.isEmpty && empty.threshold.isNaN)
    for ratio in [-0.1, 1.1, .nan, .infinity] { #expect(throws: TamisError.self) { try keep([1], ratio) } }
  }

  @Test func whatHasNoScoreIsKept() throws {
    #expect(try keep([.nan, 1, 2, .nan, 3], 0.5).indices == [0, 2, 3, 4])
    #expect(try keep([.nan, .nan], 0.5).indices == [0, 1])
    #expect(try keep([1, .infinity, .infinity, 2], 0.5).indices == [1, 2])
    #expect(try keep([-.infinity, 1, 2], 0.25).indices == [0, 1, 2])
  }

  /// Of different scores the share that the ratio names goes.
  @Test func keptFallsWithTheRatio() throws {
    var random = SeededRandom(seed: 8)
    let scores = (0..<129).map { _ in Float(random.unit()) }
    for dropped in 0...128 { #expect(try keep(scores, Double(dropped) / 128).indices.count == 129 - dropped) }
  }

  @Test func selfInformationOfLogits() throws {
    let context = try Context(threads: 2)
    var random = SeededRandom(seed: 4)
    let (n, vocabulary) = (37, 53)
    var logits = (0..<n * vocabulary).map { _ in Float(random.unit() * 20 - 10) }
    let ids = (0..<n).map { _ in Int32(random.below(vocabulary)) }
    var found = [Float](repeating: 0, count: n)
    logits.withUnsafeMutableBytes { raw in
      let view = TensorView(raw.baseAddress!, .f32, shape: [n, vocabulary])
      ids.withUnsafeBufferPointer { ids in
        found.withUnsafeMutableBufferPointer {
          try? SelfInformation.of(ids, logits: view, into: $0.baseAddress!, context: context)
        }
      }
    }
    for t in 0..<n {
      let row = logits[t * vocabulary..<(t + 1) * vocabulary].map { exp(Double($0)) }
      let p = exp(Double(logits[t * vocabulary + Int(ids[t])])) / row.reduce(0, +)
      #expect(abs(Double(found[t]) + log(p)) < 1e-5)
    }
  }

  @Test func selfInformationOfOddRows() throws {
    let context = try Context()
    var logits: [Float] = [
      .infinity, 0, 0,  //
      0, .infinity, .infinity,  //
      -.infinity, -.infinity, -.infinity,  //
      0, .nan, 0,  //
      -.infinity, 0, 0,
    ]
    var found = [Float](repeating: 0, count: 5)
    let ids: [Int32] = [0, 1, 0, 0, 0]
    try logits.withUnsafeMutableBytes { raw in
      let view = TensorView(raw.baseAddress!, .f32, shape: [5, 3])
      try ids.withUnsafeBufferPointer { ids in
        try found.withUnsafeMutableBufferPointer {
          try SelfInformation.of(ids, logits: view, into: $0.baseAddress!, context: context)
        }
      }
      let wrong: [Int32] = [0, 1, 3, 0, 0]
      #expect(throws: TamisError.self) {
        try wrong.withUnsafeBufferPointer {
          try SelfInformation.of($0, logits: view, into: &found, context: context)
        }
      }
    }
    #expect(found[0] == 0)
    #expect(abs(found[1] - Float(log(2.0))) < 1e-6)
    #expect(found[2].isNaN && found[3].isNaN)
    #expect(found[4] == .infinity)
  }
}
