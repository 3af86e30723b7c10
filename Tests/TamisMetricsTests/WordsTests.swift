import Testing

@testable import TamisMetrics

@Suite struct WordsTests {
  static func count(_ text: String, _ tokenizer: ScoringTokenizer, lowercase: Bool = false) -> (ids: [Int32], words: Int) {
    var options = ScoringTokenizerOptions()
    options.tokenizer = tokenizer
    options.lowercase = lowercase
    let words = WordIDs(options)
    Array(text.utf8).withUnsafeBufferPointer { words.add($0) }
    return (words.ids, words.vocabulary)
  }

  /// Words that a tokenizer makes are those of the text on the right, split at spaces.
  static let cases: [(ScoringTokenizer, String, String)] = [
    (.v13a, "Hello, world.", "Hello , world ."),
    (.v13a, "3.14 and 1,000 in 10-20", "3.14 and 1,000 in 10 - 20"),
    (.v13a, "a..b <skipped>&quot;x&quot; -\nend", "a . . b \" x \" end"),
    (.international, "it's 5. «q» $5", "it ' s 5 . « q » $ 5"),
    (.chinese, "你好。a,b", "你 好 。 a , b"),
    (.chinese, "x\u{2014}y\u{20010}z", "x \u{2014} y\u{20010}z"),
    (.characters, "a b\u{3000}c", "a b c"),
    (.chrF, "(hi) end.", "(hi ) end ."),
    (.rouge, "Don't STOP_now 42", "don t stop now 42"),
    (.squad, "The cat, a dog and an owl!", "cat dog and owl"),
    (.none, "a\u{1f}b\u{a0}c", "a b c"),
  ]

  @Test(arguments: 0..<11) func tokenizers(_ i: Int) {
    let (tokenizer, text, expected) = Self.cases[i]
    #expect(Self.count(text, tokenizer).ids == Self.count(expected, .none).ids, "\(text)")
    #expect(Self.count(text, tokenizer).ids.count == expected.split(separator: " ").count)
  }

  /// A word beyond ASCII with white space beyond ASCII before it sends a text the long way, over code points.
  @Test(arguments: [ScoringTokenizer.none, .v13a, .characters, .ter, .chrF, .codePoints, .visibleCodePoints])
  func bytesGiveTheWordsOfCodePoints(_ tokenizer: ScoringTokenizer) {
    var random = SystemRandomNumberGenerator()
    let alphabet = Array("aB1é9.,-'(\t\u{1c}&<% 2..,,--s")
    for _ in 0..<300 {
      let text = String((0..<Int.random(in: 0...24, using: &random)).map { _ in alphabet.randomElement(using: &random)! })
      let isLower = Bool.random(using: &random)
      let short = Self.count(text, tokenizer, lowercase: isLower).ids
      let long = Self.count(text + " \u{2003}ß", tokenizer, lowercase: isLower).ids
      #expect(short == Array(long.prefix(short.count)), "\(text)")
      #expect(long.count - short.count == (tokenizer == .codePoints ? 3 : 1), "\(text)")
    }
  }

  @Test func rougeReadsBytes() {
    #expect(Self.count("Don\u{2019}t STOP\u{e9}x", .rouge).ids == Self.count("don t stop x", .none).ids)
    #expect(Self.count("\u{212a}g \u{130}", .rouge).ids == Self.count("kg i", .none).ids)
  }

  @Test func lowerCaseIsPythons() {
    func lower(_ text: String) -> String {
      var scalars = text.unicodeScalars.map(\.value)
      PythonText.lowercase(&scalars)
      return String(String.UnicodeScalarView(scalars.compactMap(Unicode.Scalar.init)))
    }
    #expect(lower("ΟΔΟΣ ΣΑ Σ") == "οδος σα σ")
    #expect(lower("İX") == "i\u{307}x")
  }

  @Test func stems() {
    let stemmer = PorterStemmer()
    for (word, stem) in [
      ("running", "run"), ("happily", "happili"), ("relational", "relat"), ("flies", "fli"), ("dies", "die"), ("skies", "sky"),
      ("hopping", "hop"), ("hoping", "hope"), ("geology", "geolog"), ("controlling", "control"), ("agreed", "agre"),
    ] {
      #expect(String(decoding: stemmer.stem(Array(word.utf8)), as: UTF8.self) == stem)
    }
  }
}
