import TamisCore
import Testing

@testable import TamisText

func annotate(_ text: String, _ compressed: String, _ alignment: WordAlignment = .exact, window: Int = 150) throws -> Annotation
{
  try withBytes(text) { text in
    try withBytes(compressed) { try Annotation(text, compressed: $0, alignment: alignment, window: window) }
  }
}

private func kept(_ text: String, _ compressed: String, _ alignment: WordAlignment = .exact, window: Int = 150) throws
  -> [String]
{
  let annotation = try annotate(text, compressed, alignment, window: window)
  return zip(strings(text, annotation.words), annotation.labels).filter(\.1).map(\.0)
}

/// The paper's loop, clamps and all.
private func windowOracle(_ original: [Int32], _ compressed: [Int32], _ window: Int) -> [Bool] {
  var label = original.map { _ in false }
  var prev = 0
  let n = original.count
  for c in compressed where n > 0 {
    search: for i in 0..<window {
      for (j, ahead) in [(min(prev + i, n - 1), true), (max(prev - i, 0), false)] where original[j] == c && !label[j] {
        label[j] = true
        prev = ahead && j - prev > window / 2 ? prev + window / 2 : j
        break search
      }
    }
  }
  return label
}

/// Every embedding, the cheapest of them, the latest places among equals from the last word back.
private func exactOracle(_ original: [Int32], _ compressed: [Int32], _ lines: [Int32], _ surface: (Int, Int) -> Int) -> [Bool]?
{
  var best: (cost: Int, places: [Int])?
  func extend(_ places: [Int], _ cost: Int) {
    if places.count == compressed.count {
      if best == nil || cost < best!.cost
        || cost == best!.cost && places.reversed().lexicographicallyPrecedes(best!.places.reversed(), by: >)
      {
        best = (cost, places)
      }
      return
    }
    let from = places.last.map { $0 + 1 } ?? 0
    for j in from..<max(from, original.count) where original[j] == compressed[places.count] {
      let skipped = places.isEmpty ? 0 : j - from
      var bits = 0
      while skipped >> bits > 0 { bits += 1 }
      let isInside = j > 0 && lines[j - 1] == lines[j]
      let turn = !places.isEmpty && lines[places.last!] != lines[j] && isInside ? 8 : 0
      extend(places + [j], cost + 4 * bits + turn + surface(j, places.count))
    }
  }
  extend([], 0)
  return best.map { best in original.indices.map { best.places.contains($0) } }
}

@Suite struct AnnotationTests {
  @Test func wordsAreKept() throws {
    let text = "Well, um, the Council approved, on Monday, a budget of $5.2 million."
    #expect(
      try kept(text, "council approved Monday budget $5.2 million") == [
        "Council", "approved,", "Monday,", "budget", "$5.2", "million.",
      ])
    for alignment in [WordAlignment.exact, .window] {
      #expect(try kept(text, text, alignment) == strings(text, try annotate(text, text).words))
      #expect(try kept(text, "", alignment) == [])
    }
  }

  @Test(arguments: [
    ("Yeah,", "yeah"), ("(Contributed", "contributed"), ("\u{201c}Word\u{201d}\u{2026}", "word"), ("don't", "don't"),
    ("&", "&"),
    ("--", "--"), ("$5.2", "5.2"), ("T_V_s.", "t_v_s"), ("STRASSE", "strasse"), ("Straße", "strasse"), ("ÄÖ", "äö"),
    ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
    ("ıI", "ıi"), ("\u{fb01}n", "fin"), ("a\u{301}", "a\u{301}"), ("€", "€"),
  ])
  func keys(_ word: String, _ expected: String) {
    let key = withBytes(word) { WordKey.of($0, TextSpan(0, $0.count)) }
    #expect(key == Array(expected.utf8))
  }

  @Test func bytesThatAreNoTextHaveKeys() {
    let bytes: [UInt8] = [0x2c, 0xff, 0x41, 0xc3, 0x2e]
    let key = bytes.withUnsafeBufferPointer { WordKey.of($0, TextSpan(0, 5)) }
    #expect(key == [0xff, 0x61, 0xc3])
  }

  /// Of a stammer the last is kept, and words that were together stay together.
  @Test func exactReadsLikeAnEdit() throws {
    let text = "I I think the the plan is is the good plan"
    let annotation = try annotate(text, "I think the plan is good")
    #expect(annotation.alignment == .exact)
    #expect(annotation.labels.map { $0 ? 1 : 0 } == [0, 1, 1, 0, 1, 1, 0, 1, 0, 1, 0])
    // the window takes the first it meets
    #expect(
      try annotate(text, "I think the plan is good", .window).labels.map { $0 ? 1 : 0 } == [1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0])
    // case tells two equal words apart
    #expect(try annotate("may x May", "May").labels == [false, false, true])
    #expect(try annotate("May x may", "May").labels == [true, false, false])
  }

  @Test func aNameGoesWithTheTurnThatIsKept() throws {
    let text = "Ann: Well.\nBob: No.\nAnn: I want tea"
    #expect(try annotate(text, "Ann: want tea").labels == [false, false, false, false, true, false, true, true])
  }

  @Test func whatIsNotInOrderIsLeftToTheWindow() throws {
    let annotation = try annotate("one two three four", "three one")
    #expect(annotation.alignment == .window)
    #expect(annotation.labels == [true, false, true, false])
    let strange = try annotate("one two three four", "one five three")
    #expect(strange.alignment == .window && strange.labels == [true, false, true, false])
    #expect(strange.found == 2 && strange.compressedWords == 3)
    #expect(abs(strange.variationRate - 1.0 / 3) < 1e-12)
  }

  @Test func rates() throws {
    // "the" thrice in the compression, once in the text: found thrice, labelled once
    let annotation = try annotate("the cat sat", "the the the dog")
    #expect(annotation.found == 3 && annotation.labelled == 1)
    #expect(annotation.variationRate == 0.25)
    #expect(annotation.hittingRate == 1 && abs(annotation.matchingRate - 1.0 / 3) < 1e-12)
    #expect(abs(annotation.alignmentGap - 2.0 / 3) < 1e-12)
    let empty = try annotate("one two", " \n")
    #expect(empty.variationRate == 1 && empty.hittingRate == 0 && empty.alignmentGap == 0)
    let nothing = try annotate("", "one")
    #expect(nothing.words.isEmpty && nothing.variationRate == 1 && nothing.hittingRate == 0 && nothing.matchingRate == 0)
    for window in [0, -1, Int.min, Int.max] { #expect(throws: TamisError.self) { try annotate("a", "a", window: window) } }
  }

  @Test func theWindowAgainstThePapersLoop() {
    var random = SeededRandom(seed: 1)
    for _ in 0..<2000 {
      let n = random.below(30)
      let vocabulary = 1 + random.below(8)
      let original = (0..<n).map { _ in Int32(random.below(vocabulary)) }
      let compressed = (0..<random.below(20)).map { _ in Int32(random.below(vocabulary + 1)) }
      let window = 1 + random.below(40)
      #expect(WordAlignment.window(original, compressed, window: window) == windowOracle(original, compressed, window))
    }
  }

  @Test func exactAgainstEveryEmbedding() {
    var random = SeededRandom(seed: 2)
    var found = 0
    for _ in 0..<3000 {
      let n = random.below(13)
      let vocabulary = 1 + random.below(5)
      let original = (0..<n).map { _ in Int32(random.below(vocabulary)) }
      // a subsequence as a rule, anything now and then
      let compressed = random.below(4) > 0
        ? original.filter { _ in random.below(2) == 0 } : (0..<random.below(6)).map { _ in Int32(random.below(vocabulary)) }
      let differ = (0..<13).map { _ in (0..<13).map { _ in random.below(3) == 0 } }
      let lines = (0..<n).map { _ in Int32(random.below(4)) }.sorted()
      let ours = WordAlignment.exact(original, compressed, lines: lines) { !differ[$0][$1] }
      let expected = exactOracle(original, compressed, lines) { differ[$0][$1] ? 1 : 0 }
      #expect(ours == expected)
      if expected != nil { found += 1 }
    }
    #expect(found > 1000)
  }

  /// A text of one word over and over: what is kept stays together at the end, and the search stays within its bound.
  @Test func oneWordOverAndOver() throws {
    let n = 500
    let same = [Int32](repeating: 0, count: n)
    let labels = WordAlignment.exact(same, [Int32](repeating: 0, count: 20), lines: same) { _, _ in true }
    #expect(labels == (0..<n).map { $0 >= n - 20 })
    let large = WordAlignment.exact(same, [Int32](repeating: 0, count: 200), lines: same, limit: 10_000) { _, _ in true }
    #expect(large == nil)
  }

  /// A text against itself has one embedding, found in time that grows with the text.
  @Test(.timeLimit(.minutes(1))) func longTextAgainstItself() {
    let same = [Int32](repeating: 0, count: 100_000)
    let labels = WordAlignment.exact(same, same, lines: same) { _, _ in true }
    #expect(labels?.allSatisfy(\.self) == true)
  }
}

@Suite struct AnnotationFilterTests {
  private func apply(
    _ filter: AnnotationFilter, _ vr: [Double], _ ag: [Double], _ dropVariation: Double? = nil, _ dropGap: Double? = nil
  ) throws -> AnnotationFilter.Outcome {
    try filter.apply(variationRates: vr, alignmentGaps: ag, dropVariation: dropVariation, dropGap: dropGap)
  }

  @Test func theTopGoes() throws {
    let vr = (0..<101).map { Double($0) / 100 }
    let ag = vr.map { 1 - $0 }
    let paper = try apply(.paper, vr, ag)
    // 95th percentile 0.95: 96 .. 100 go; of 0 .. 95 the gaps 1.0 .. 0.05, whose 90th is 0.905: 0 .. 9 go
    #expect(paper.kept == (10...95).map { Int32($0) })
    #expect(paper.droppedForVariation == 5 && paper.droppedForGap == 10)
    let official = try apply(.official, vr, ag)
    #expect(official.kept == (9...89).map { Int32($0) })
    #expect(try apply(.none, vr, ag).kept.count == 101)
  }

  /// Clean data has nothing to drop; the official rule drops all of it.
  @Test func equalValues() throws {
    let zeros = [Double](repeating: 0, count: 50)
    #expect(try apply(.paper, zeros, zeros).kept.count == 50)
    #expect(try apply(.official, zeros, zeros).kept.isEmpty)
    var some = zeros
    some[7] = 0.5
    #expect(try apply(.paper, some, zeros).kept == (0..<50).filter { $0 != 7 }.map { Int32($0) })
  }

  @Test func oddNumbers() throws {
    #expect(try apply(.paper, [], []).kept.isEmpty)
    #expect(try apply(.paper, [.nan, 0, 1], [0, 0, 0], 0, 0).kept == [1, 2])
    #expect(try apply(.paper, [0, 0.5, 1], [0, 0, .nan], 0, 0).kept == [0, 1])
    #expect(try apply(.paper, [0, 0.5, 1], [0, 0, 0], 1, 1).kept == [0])
    for share in [1.1, -0.5, .nan] { #expect(throws: TamisError.self) { try apply(.paper, [0], [0], share) } }
    #expect(throws: TamisError.self) { try apply(.paper, [0, 1], [0]) }
  }
}
