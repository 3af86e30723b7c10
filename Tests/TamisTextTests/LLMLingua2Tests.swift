import TamisCore
import Testing
@testable import TamisText

/// llmlingua 0.2.2's words and choice on given pieces and probabilities; expectations by hand, and by loops written from the
/// method's steps.
@Suite struct LLMLingua2Tests {
  func rules(
    _ family: PieceFamily, force: [String] = [], map: [(String, String)] = [], digits: Bool = false,
    rule: WordProbability = .mean
  ) -> LLMLingua2Words {
    LLMLingua2Words(
      family: family, forceTokens: force.utf8Set, map: map.map { (Array($0.0.utf8), Array($0.1.utf8)) }, reserveDigits: digits,
      rule: rule)
  }

  func merge(_ rules: LLMLingua2Words, _ pieces: [String], _ p: [Float]) throws -> LLMLingua2Words.Chunk {
    try rules.merge(pieces.map { Array($0.utf8) }, p)
  }

  func spelled(_ chunk: LLMLingua2Words.Chunk) -> [String] { chunk.words.map { String(decoding: $0, as: UTF8.self) } }

  @Test func wordPieces() throws {
    let chunk = try merge(
      rules(.wordPiece), ["[CLS]", "play", "##ing", ".", "[UNK]", "##x", "[SEP]"], [0, 0.2, 0.4, 0.6, 0.9, 0.1, 0])
    #expect(spelled(chunk) == ["playing", ".x"])  // what follows a skipped piece joins the word before it
    #expect(chunk.probabilities == [.single((Float(0.2) + 0.4) / 2), .single((Float(0.6) + 0.1) / 2)])
    #expect(chunk.plain == [(Float(0.2) + 0.2) / 2, (Float(0.6) + 0.6) / 2])
  }

  @Test func sentencePieces() throws {
    let chunk = try merge(
      rules(.sentencePiece), ["▁do", "n", "'", "t", "()", "...", "▁", "5"], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    #expect(spelled(chunk) == ["▁don", "'t", "()...", "▁5"])
    #expect(!PieceFamily.isInPunctuation(Array("...".utf8)) && !PieceFamily.isInPunctuation(Array("''".utf8)))
    for run in [",", "()", "-.", "/:", "@["] { #expect(PieceFamily.isInPunctuation(Array(run.utf8))) }
  }

  @Test func aFirstPieceThatContinues() throws {
    #expect(throws: TamisError.self) { try merge(rules(.wordPiece), ["##x"], [0.5]) }
  }

  @Test func forcingRaisesThePieceAlone() throws {
    let forced = rules(.sentencePiece, force: ["."], digits: true)
    let chunk = try merge(forced, ["▁a", ".", "5", "▁7"], [0.1, 0.2, 0.3, 0.4])
    #expect(chunk.probabilities == [.single(0.1), .forced, .forced])
    let plain = try merge(rules(.sentencePiece, force: ["."]), [".", "x"], [0.2, 0.3])
    #expect(plain.probabilities == [.single((1 + Float(0.3)) / 2)])
    let mapped = try merge(
      rules(.wordPiece, force: ["\n"], map: [("\n", "[NEW0]")]), ["a", "[NEW0]", "[NEW1]"], [0.1, 0.2, 0.3])
    #expect(
      spelled(mapped) == ["a", "\n", "[NEW1]"] && mapped.probabilities[1] == .forced && mapped.probabilities[2] == .single(0.3))
  }

  @Test func equalProbabilitiesAreAllDropped() throws {
    var chunk = try merge(rules(.wordPiece), ["a", "b", "c"], [0.5, 0.5, 0.5])
    #expect(
      try rules(.wordPiece).keep(&chunk, weights: [1, 1, 1], reduceRate: 0.5, dropConsecutive: false) == [false, false, false])
    var ones = try merge(rules(.wordPiece, force: ["a", "b"]), ["a", "b", "c"], [0.5, 0.5, 0.5])
    #expect(
      try rules(.wordPiece, force: ["a", "b"]).keep(&ones, weights: [9, 9, 1], reduceRate: 0.5, dropConsecutive: false) == [
        true, true, false,
      ])
  }

  @Test func ratesBecomeWholePercentiles() throws {
    // 101 words 0.00 .. 1.00 of weight 1: the q-th percentile is q / 100, and words above it stay
    for (rate, q) in [(0.99, 2), (0.9, 10), (0.8, 20), (0.7, 31), (0.5, 51), (0.33, 68), (0.25, 76)] {
      var chunk = LLMLingua2Words.Chunk()
      chunk.words = (0...100).map { Array("w\($0)".utf8) }
      chunk.probabilities = (0...100).map { .init(value: Double($0), isPython: true) }
      let kept = try rules(.wordPiece).keep(
        &chunk, weights: [Int](repeating: 1, count: 101), reduceRate: max(0, 1 - rate), dropConsecutive: false)
      #expect(kept.filter { $0 }.count == 100 - q, "rate \(rate)")
    }
    var chunk = try merge(rules(.wordPiece), ["a"], [0.5])
    #expect(throws: TamisError.self) {
      try rules(.wordPiece).keep(&chunk, weights: [1], reduceRate: 1, dropConsecutive: false)
    }
    #expect(throws: TamisError.self) {
      var none = LLMLingua2Words.Chunk()
      return try rules(.wordPiece).keep(&none, weights: [], reduceRate: 0.5, dropConsecutive: false)
    }
  }

  @Test func weightsReplicate() throws {
    // the median of 0.1 (5 times), 0.5, 0.9 is 0.1, that of the bare words 0.5
    var chunk = try merge(rules(.wordPiece), ["a", "b", "c"], [0.1, 0.5, 0.9])
    #expect(
      try rules(.wordPiece).keep(&chunk, weights: [5, 1, 1], reduceRate: 0.49, dropConsecutive: false) == [false, true, true])
    #expect(
      try rules(.wordPiece).keep(&chunk, weights: [1, 1, 1], reduceRate: 0.49, dropConsecutive: false) == [false, false, true])
  }

  @Test func repeatsAreDropped() throws {
    let words = rules(.wordPiece, force: ["."])
    func kept(_ reduceRate: Double) throws -> [Bool] {
      var chunk = try merge(words, [".", "a", ".", "b", "."], [0.5, 0.1, 0.5, 0.9, 0.5])
      return try words.keep(&chunk, weights: [1, 1, 1, 1, 1], reduceRate: reduceRate, dropConsecutive: true)
    }
    // Stops count as 1. The 20th percentile of 0.1, 0.9, 1, 1, 1 is 0.74: nothing above it stands between the first two stops,
    // b does between the others. The 21st of what is left, 0, 0.1, 0.9, 1, 1, is 0.084.
    #expect(try kept(0.2) == [true, true, false, true, true])
    // The 30th is 0.92, which b does not reach either: of the stops only the first stays. The 31st of 0, 0, 0.1, 0.9, 1 is
    // 0.024.
    #expect(try kept(0.3) == [true, true, false, true, false])
  }

  @Test func pythonsStrings() {
    #expect(Array("aXbXX".utf8).replacing(Array("X".utf8), with: Array("YZ".utf8)) == Array("aYZbYZYZ".utf8))
    let words = Array("Don't stop, 3.5_x é½ (a+b) ─ ~".utf8).regexWords.map { String(decoding: $0, as: UTF8.self) }
    #expect(words == ["Don", "t", "stop", "3", "5_x", "é½", "(", "a", "+", "b", ")", "~"])
    #expect(Array("x٣".utf8).hasDecimalDigit && !Array("x½²".utf8).hasDecimalDigit)
  }
}
