import Testing
@testable import TamisText

/// How a text is cut to words in native mode.
@Suite struct WordTests {
  func words(_ text: String, width: Int = 4) throws -> [String] { try toyCompressor(width: width).words(text) }

  @Test func punctuationStandsAlone() throws {
    #expect(try words("Hello, (big) world!") == ["Hello", ",", "(", "big", ")", "world", "!"])
    #expect(try words("wait... what?! ---") == ["wait", "...", "what", "?", "!", "---"])
  }

  @Test func numbersAndContractionsAreWhole() throws {
    for word in [
      "3.5", "1,000", "1,234,567.89", "10:30", "1/2", "don't", "it’s", "U.S", "AT&T", "well-known", "snake_case", "50%", "$5",
      "-7", "2020-2021",
    ] {
      #expect(try words("a \(word) b") == ["a", word, "b"], "\(word)")
      #expect(try words("a \(word) b", width: 1) == ["a", word, "b"], "\(word)")
    }
    #expect(try words("end.") == ["end", "."])
    #expect(try words("'quoted'") == ["'", "quoted", "'"])
    #expect(try words("a-") == ["a", "-"])
  }

  @Test func addressesAreWhole() throws {
    #expect(
      try words("See https://example.org/a_(b)?q=1,2#x, or www.example.org; mail me@example.co.uk.") == [
        "See", "https://example.org/a_(b)?q=1,2#x", ",", "or", "www.example.org", ";", "mail", "me@example.co.uk", ".",
      ])
    #expect(try words("(http://a.b)") == ["(", "http://a.b", ")"])
    #expect(try words("no:// scheme") == ["no", ":", "//", "scheme"])
  }

  @Test func scriptsWithoutSpaces() throws {
    // as the tokenizer cuts them: one Han character each here
    #expect(try words("我们在东京。好") == ["我", "们", "在", "东", "京", "。", "好"])
    #expect(try words("カタカナ") == ["カタカナ"])
    #expect(try words("iPhone我") == ["iPhone", "我"])
  }

  @Test func marksAndJoinersStayWithTheirBase() throws {
    #expect(try words("cafe\u{301} e\u{301}te\u{301}", width: 1) == ["cafe\u{301}", "e\u{301}te\u{301}"])
    #expect(try words("x 👩\u{200d}👩\u{200d}👧 y", width: 1) == ["x", "👩\u{200d}👩\u{200d}👧", "y"])
    #expect(try words("👍🏽 ok") == ["👍🏽", "ok"])
    #expect(try words("🇫🇷🇩🇪", width: 1) == ["🇫🇷", "🇩🇪"])
    #expect(try words("ก็ได้", width: 1).joined() == "ก็ได้")
  }

  /// A tokenizer that removes characters loses none of them here.
  @Test func removedCharactersBelongToAWord() throws {
    let bytes = Array("\0\0ab\0 \0 cd\0".utf8)
    let result = try toyCompressor().run([bytes])
    let words = result.contexts[0].words
    #expect(words.map { Array(bytes[Int($0.start)..<Int($0.end)]) } == [Array("\0\0ab\0 \0".utf8), Array("cd\0".utf8)])
  }

  /// Long blanks and runs of flags take time by their length, not by its square.
  @Test(.timeLimit(.minutes(1))) func longRunsAreWalkedOnce() throws {
    let blank = String(repeating: " \u{3000}\n", count: 25_000)
    let text = blank + "\0one" + blank + "two\0" + blank
    #expect(try toyCompressor().words(text) == ["\0one", "two\0"])
    #expect(try toyCompressor().run(text) { $0.rate = 1 } == text)
    let flags = String(repeating: "🇫🇷🇩🇪", count: 5_000)
    let words = try toyCompressor(width: 1).words(flags)
    #expect(words.count == 10_000 && words.enumerated().allSatisfy { $1 == ($0 % 2 == 0 ? "🇫🇷" : "🇩🇪") })
  }

  @Test func longWordsSpanChunks() throws {
    let scorer = ToyScorer(maxTokens: 64)
    let long = String(repeating: "abcd", count: 300)
    let compressor = try toyCompressor(scorer: scorer)
    #expect(try compressor.words("one \(long) two") == ["one", long, "two"])
    #expect(scorer.longest <= 64)
  }
}
