import TamisCore
import TamisDevice
import Testing
@testable import TamisText

/// Native mode: invariants, budgets, forced words, bad input.
@Suite struct CompressionTests {
  static let nasty: [[UInt8]] = [
    [], [0x20], [0x0a, 0x0a, 0x09], [0], [0xff], [0xc3], [0xe2, 0x82], [0xed, 0xa0, 0x80], Array("a\0b".utf8),
    Array(" lead and trail ".utf8),
    [0x61, 0xff, 0x20, 0xfe, 0x62], Array("\u{feff}bom".utf8), Array("[SEP] <|endoftext|> [NEW3]".utf8),
    Array("a\r\nb\u{a0}c\u{3000}d".utf8),
    Array("🙂🙃 ﷽ ﬁ Å".utf8), Array("\u{202e}bidi\u{202c} x".utf8),
  ]

  @Test func everythingKeptIsTheTextByteForByte() throws {
    let compressor = try toyCompressor()
    for text in Self.nasty + [Array(babble(3000).utf8)] {
      let whole = try compressor.run([text]) { $0.rate = 1 }
      #expect(whole.text == text)
      let target = try compressor.run([text]) { $0.targetTokens = 1_000_000 }
      #expect(target.text == text)
      let threshold = try compressor.run([text]) { $0.threshold = 0 }  // no toy probability is 0
      #expect(threshold.text == text || threshold.contexts[0].words.contains { $0.probability == 0 })
    }
  }

  /// Spans ascend and lie apart; the output is their bytes, with spaces between at most; no byte that is no white space comes
  /// from elsewhere.
  @Test func outputIsSpansOfTheText() throws {
    let compressor = try toyCompressor()
    for text in Self.nasty + [Array(babble(2000).utf8), Array("a-b (c)d/e;f,g".utf8)] {
      for rate in [0, 0.1, 0.33, 0.5, 0.9] {
        let context = try compressor.run([text]) { $0.rate = rate }.contexts[0]
        var last = -1
        var joined: [UInt8] = []
        for span in context.spans {
          #expect(span.lowerBound > last && !span.isEmpty && span.upperBound <= text.count)
          last = span.upperBound
          joined += text[span]
        }
        #expect(context.text.filter { $0 != 0x20 } == joined.filter { $0 != 0x20 })
        for word in context.words {
          let inside = context.spans.contains { $0.lowerBound <= Int(word.start) && Int(word.end) <= $0.upperBound }
          #expect(inside == word.isKept)
        }
      }
    }
  }

  @Test func ratesAreHitWithinOnePercent() throws {
    let compressor = try toyCompressor()
    let text = Array(babble(4000).utf8)
    for rate in [0.05, 0.1, 0.25, 0.33, 0.5, 0.7, 0.8, 0.9, 0.99] {
      let result = try compressor.run([text]) { $0.rate = rate }
      let asked = rate * Double(result.originTokens)
      #expect(abs(Double(result.compressedTokens) - asked) <= 0.01 * asked, "rate \(rate)")
      let counted = try ToyTokenizer().count(result.text)
      #expect(abs(Double(counted) - asked) <= 0.01 * asked, "rate \(rate)")
    }
  }

  @Test func anotherTokenizerCounts() throws {
    let counter = ToyTokenizer(width: 2)
    let compressor = try toyCompressor(counter: counter)
    let text = Array(babble(4000).utf8)
    for rate in [0.1, 0.33, 0.5, 0.8] {
      let result = try compressor.run([text]) { $0.rate = rate }
      #expect(result.originTokens == (try counter.count(text)))
      #expect(result.compressedTokens == (try counter.count(result.text)))
      let asked = rate * Double(result.originTokens)
      #expect(abs(Double(result.compressedTokens) - asked) <= 0.01 * asked, "rate \(rate)")
    }
    for target in [1, 10, 100, 777] {
      let result = try compressor.run([text]) { $0.targetTokens = target }
      #expect(result.compressedTokens <= target && Double(result.compressedTokens) >= 0.99 * Double(target) - 1)
    }
  }

  /// With words of one token each the words kept at a rate include those of every lower rate.
  @Test func keptWordsGrowWithTheRate() throws {
    let compressor = try toyCompressor(width: 100)
    let text = Array(babble(1500).utf8)
    var before: [Bool]?
    for rate in stride(from: 0.0, through: 1.0, by: 0.05) {
      let kept = try compressor.run([text]) { $0.rate = rate }.contexts[0].words.map(\.isKept)
      if let before { for (a, b) in zip(before, kept) { #expect(!a || b) } }
      before = kept
    }
  }

  /// The kept words are the most probable ones: a sort is the oracle.
  @Test func theBestWordsStay() throws {
    let compressor = try toyCompressor(width: 100)
    let text = Array(babble(800).utf8)
    let words = try compressor.run([text]) { $0.rate = 0.4 }.contexts[0].words
    let budget = Int((0.4 * Double(words.count)).rounded())
    let order = words.indices.sorted { (words[$0].probability, -$0) > (words[$1].probability, -$1) }
    let expected = Set(order.prefix(budget))
    #expect(words.indices.allSatisfy { words[$0].isKept == expected.contains($0) })
  }

  @Test func tiesAreFilledFromTheLeft() throws {
    let compressor = try toyCompressor(width: 100, scorer: ToyScorer { _ in 0.5 })
    #expect(try compressor.run("a b c d e f g h i j") { $0.rate = 0.3 } == "a b c")
    #expect(try compressor.run("a b c d e f g h i j") { $0.targetTokens = 7 } == "a b c d e f g")
  }

  @Test func wordProbabilityIsTheMeanOrTheFirst() throws {
    let text = Array("abcdefgh xy".utf8)
    let tokenizer = ToyTokenizer()
    let pieces = try tokenizer.encode(text, EncodeOptions()).ids.map(ToyScorer.mixed)
    let mean = try toyCompressor().run([text]).contexts[0].words[0]
    #expect(mean.pieces == 2 && mean.probability == (pieces[0] + pieces[1]) / 2)
    let first = try toyCompressor().run([text]) { $0.tokenToWord = .first }.contexts[0].words[0]
    #expect(first.probability == pieces[0])
  }

  @Test func cutsLeaveOneSeparator() throws {
    func cut(_ text: String, keeping words: Set<String>, breaks: LineBreaks = .follow) throws -> String {
      try toyCompressor(width: 100, scorer: ToyScorer { _ in 0 }).run(text) {
        $0.threshold = 0.5
        $0.forceTokens = Array(words)
        $0.lineBreaks = breaks
      }
    }
    #expect(try cut("one two  three four", keeping: ["one", "three"]) == "one  three")
    #expect(try cut("one two\n\nthree", keeping: ["one", "three"]) == "one\n\nthree")
    #expect(try cut("one\ntwo three", keeping: ["one", "three"]) == "one three")
    #expect(try cut("one\ntwo three", keeping: ["one", "three"], breaks: .keep) == "one\nthree")
    #expect(try cut("one\n\ntwo\nthree four", keeping: ["one", "four"], breaks: .keep) == "one\n\nfour")
    #expect(try cut("one;two", keeping: ["one", "two"]) == "one two")
    #expect(try cut("one ;two", keeping: ["one", "two"]) == "one two")
    #expect(try cut("one two, three", keeping: ["one", ",", "three"]) == "one, three")
    #expect(try cut("one (two) three", keeping: ["one", ")", "three"]) == "one) three")
    #expect(try cut("one (\"two\" three", keeping: ["one", "\"", "two"]) == "one \"two\"")
    #expect(try cut("我;们", keeping: ["我", "们"]) == "我们")
    #expect(try cut("  one two  ", keeping: ["one"]) == "  one")
    #expect(try cut("  one two  ", keeping: ["two"]) == "two  ")
  }

  // MARK: forced

  @Test func forcedTokensStay() throws {
    let text = babble(1000) + " The answer is 42? Really? item items"
    for rate in [0.0, 0.2, 0.6] {
      let bytes = Array(text.utf8)
      let result = try toyCompressor().run([bytes]) {
        $0.rate = rate
        $0.forceTokens = ["?", "The answer is", "item"]
      }
      let kept = result.contexts[0].words.filter(\.isKept).map {
        String(decoding: bytes[Int($0.start)..<Int($0.end)], as: UTF8.self)
      }
      #expect(kept.filter { $0 == "?" }.count == 2)
      #expect(String(decoding: result.text, as: UTF8.self).contains("The answer is"))
      #expect(kept.contains("item"))
      if rate == 0 { #expect(!kept.contains("items")) }
    }
  }

  @Test func digitsStay() throws {
    let text = Array((babble(500) + " ٣ x9 ½").utf8)
    let words = try toyCompressor().run([text]) {
      $0.rate = 0
      $0.forceReserveDigit = true
    }.contexts[0].words
    for word in words {
      let spelled = String(decoding: text[Int(word.start)..<Int(word.end)], as: UTF8.self)
      let hasDigit = spelled.unicodeScalars.contains { $0.properties.generalCategory == .decimalNumber }
      #expect(word.isKept == hasDigit, "\(spelled)")
    }
  }

  @Test func repeatsOfAForcedTokenAreDropped() throws {
    let text = "a . . b . c . . ."
    let compressor = try toyCompressor(width: 100, scorer: ToyScorer { _ in 0 })
    let kept = try compressor.run(text) {
      $0.threshold = 0.5
      $0.forceTokens = [".", "b"]
      $0.dropConsecutive = true
    }
    #expect(kept == ". b .")
  }

  // MARK: pipeline

  @Test func batchesChangeNothing() throws {
    let texts = [Array(babble(3000).utf8), Array(babble(10, seed: 2).utf8), [], Array(babble(700, seed: 3).utf8)]
    let one = try toyCompressor(batch: 1).run(texts)
    let many = try toyCompressor(batch: 50).run(texts)
    #expect(one.text == many.text && one.chunks == many.chunks)
    #expect(one.contexts.map(\.words) == many.contexts.map(\.words))
  }

  @Test func chunksLoseNothing() throws {
    let text = Array(babble(4000).utf8)
    let tokens = try ToyTokenizer().count(text)
    for chunk in [8, 64, 511, 512] {
      let scorer = ToyScorer()
      let result = try toyCompressor(scorer: scorer, chunk: chunk).run([text])
      #expect(scorer.longest <= chunk)
      #expect(result.encoderTokens == tokens + 2 * result.chunks)
      // toy probabilities know no neighbours, so the choice is the same for every size
      #expect(result.text == (try toyCompressor().run([text]).text))
    }
  }

  @Test func chunksEndAtSentences() throws {
    let text = Array((0..<100).map { "word\($0) and more words here." }.joined(separator: " ").utf8)
    let scorer = ToyScorer()
    var starts: [Int32] = []
    let tokenizer = ToyTokenizer()
    let watching = ToyScorer { id in
      starts.append(id)
      return 0.5
    }
    _ = try PromptCompressor(scorer: watching, tokenizer: tokenizer, chunkTokens: 66).run([text])
    _ = scorer
    let firsts = starts.indices.dropLast().filter { starts[$0] == 1 }.map { tokenizer.piece(starts[$0 + 1]) }
    #expect(firsts.count > 5 && firsts.allSatisfy { $0 == Array("word".utf8) })
  }

  @Test func scopesShareTheBudget() throws {
    let texts = [Array(babble(600).utf8), Array(babble(1500, seed: 9).utf8)]
    for scope in [ThresholdScope.chunk, .context, .prompt] {
      let result = try toyCompressor().run(texts) {
        $0.rate = 0.4
        $0.scope = scope
      }
      let asked = 0.4 * Double(result.originTokens)
      #expect(abs(Double(result.compressedTokens) - asked) <= 0.01 * asked + 4)
      if scope != .prompt {
        for context in result.contexts {
          #expect(abs(Double(context.compressedTokens) / Double(context.originTokens) - 0.4) < 0.02)
        }
      } else {
        let threshold = result.contexts.flatMap(\.words).filter(\.isKept).map(\.probability).min() ?? 0
        let dropped = result.contexts.flatMap(\.words).filter { !$0.isKept && $0.probability > threshold }
        #expect(dropped.reduce(0) { $0 + Int($1.tokens) } <= 40)  // only words too long for what was left
      }
    }
  }

  @Test func contextsAreFiltered() throws {
    let texts = (0..<6).map { Array(babble(100, seed: UInt64($0 + 1)).utf8) }
    let all = try toyCompressor().run(texts)
    let best = all.contexts.indices.sorted { all.contexts[$0].score > all.contexts[$1].score }
    let result = try toyCompressor().run(texts) {
      $0.useContextLevelFilter = true
      $0.targetContexts = 2
      $0.forceContexts = [best[5]]
    }
    #expect(result.contexts.indices.filter { result.contexts[$0].kept } == [best[0], best[5]].sorted())
    // the rate is the total: what was dropped with the texts is not dropped twice
    let budget = Int((0.5 * Double(result.originTokens)).rounded())
    let kept = result.contexts.filter(\.kept).reduce(0) { $0 + $1.originTokens }
    #expect(
      result.compressedTokens == min(kept, result.compressedTokens) && result.compressedTokens >= min(budget, kept) * 99 / 100)
    #expect(result.text.count < all.text.count + 200)
  }

  @Test func progressAscendsAndCancels() throws {
    let text = Array(babble(6000).utf8)
    var last = 0.0
    var calls = 0
    _ = try toyCompressor(batch: 2).run(
      [text, text],
      progress: { done in
        #expect(done >= last && done <= 1)
        last = done
        calls += 1
        return true
      })
    #expect(calls > 10 && last > 0.99)
    #expect(throws: TamisError.self) { try toyCompressor(batch: 2).run([text], progress: { $0 < 0.3 }) }
    do throws(TamisError) {
      _ = try toyCompressor().run([text], progress: { _ in false })
    } catch { #expect(error.status == .cancelled) }
  }

  // MARK: bad input

  @Test func nothingGivesNothing() throws {
    let compressor = try toyCompressor()
    #expect(try compressor.run([[]]).text.isEmpty)
    #expect(try compressor.run([[], []]).originTokens == 0)
    #expect(try compressor.run([Array(babble(50).utf8)]) { $0.rate = 0 }.text.isEmpty)
    #expect(try compressor.run([Array(babble(50).utf8)]) { $0.targetTokens = 0 }.text.isEmpty)
    #expect(try compressor.run([Array(" \n\t ".utf8)]).text == Array(" \n\t ".utf8))
  }

  @Test(arguments: [-0.1, 1.5, .nan, .infinity, -.infinity]) func ratesOutOfRange(_ rate: Double) throws {
    let error = #expect(throws: TamisError.self) { try toyCompressor().run([[0x61]]) { $0.rate = rate } }
    #expect(error?.status == .invalidArgument)
  }

  @Test func countsBelowNothing() throws {
    for change in [
      { $0.targetTokens = -1 }, { $0.targetContexts = Int.min }, { $0.contextLevelTargetTokens = -5 },
    ] as [(inout CompressionOptions) -> Void] {
      let error = #expect(throws: TamisError.self) { try toyCompressor().run([[0x61]], change) }
      #expect(error?.status == .invalidArgument)
    }
  }

  @Test func forceTokensAreLimited() throws {
    for tokens in [(0...100).map(String.init), [""]] {
      let error = #expect(throws: TamisError.self) { try toyCompressor().run([[0x61]]) { $0.forceTokens = tokens } }
      #expect(error?.status == .invalidArgument)
    }
    #expect(throws: Never.self) { try toyCompressor().run([[0x61]]) { $0.forceTokens = (0..<100).map(String.init) } }
  }

  @Test func oneHugeWord() throws {
    let word = [UInt8](repeating: 0x61, count: 600_000)
    let compressor = try toyCompressor(width: 5000)
    let dropped = try compressor.run([word])
    #expect(dropped.contexts[0].words.count == 1 && dropped.text.isEmpty)
    #expect(try compressor.run([word]) { $0.rate = 1 }.text == word)
    let kept = try compressor.run([word]) { $0.threshold = 0 }
    #expect(kept.text == word)
  }

  @Test func windowsDoNotShow() throws {
    // longer than a window; the spans and counts are those of the tokens of the whole
    let text = Array(babble(40_000).utf8)
    #expect(text.count > 3 << 16)
    let result = try toyCompressor().run([text])
    #expect(result.originTokens == (try ToyTokenizer().count(text)))
    #expect(abs(Double(result.compressedTokens) / Double(result.originTokens) - 0.5) < 0.005)
  }

  @Test func tokenizersThatDoNotMatch() throws {
    final class Small: KeepScorer {
      var maxTokens: Int { 512 }
      var vocabularySize: Int { 100 }
      func keepProbabilities(_ tokens: RaggedTokens, progress: Progress?) throws(TamisError) -> [Float] { [] }
    }
    let error = #expect(throws: TamisError.self) { try PromptCompressor(scorer: Small(), tokenizer: ToyTokenizer()) }
    #expect(error?.message.contains("tokenizer") == true)
  }
}
