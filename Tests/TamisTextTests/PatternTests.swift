import TamisCore
import Testing

@testable import TamisText

@Suite struct PatternTests {
  static let contractions = "'s|'t|'re|'ve|'m|'ll|'d"
  static let gpt2 = contractions + #"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  static let rest = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  static let llama3 = "(?i:\(contractions))" + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + rest
  static let qwen2 = "(?i:\(contractions))" + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + rest
  static let o200k = [
    #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#,
    #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#,
    #"\p{N}{1,3}"#, #" ?[^\s\p{L}\p{N}]+[\r\n/]*"#, #"\s*[\r\n]+"#, #"\s+(?!\S)"#, #"\s+"#,
  ].joined(separator: "|")

  static func matches(_ pattern: Pattern, _ text: String) throws -> [String] {
    let bytes = Array(text.utf8)
    var found: [String] = []
    try bytes.withUnsafeBufferPointer { buffer in
      try pattern.matches(in: buffer, from: 0, to: buffer.count) {
        found.append(String(decoding: bytes[$0..<$1], as: UTF8.self))
      }
    }
    return found
  }
  static func matches(_ pattern: String, _ text: String) throws -> [String] { try matches(Pattern(pattern.utf8), text) }

  static func isScanner(_ pattern: String) throws -> Bool {
    if case .scanner = try Pattern(pattern.utf8).form { true } else { false }
  }

  /// Vectors from Oniguruma.
  @Test func publishedPatterns() throws {
    let table: [(String, [String], [String], [String])] = [
      (
        "I'LL pay $12345  now\n\n  ok ",
        ["I", "'", "LL", " pay", " $", "12345", " ", " now", "\n\n ", " ok", " "],
        ["I", "'LL", " pay", " $", "123", "45", " ", " now", "\n\n", " ", " ok", " "],
        ["I", "'LL", " pay", " $", "1", "2", "3", "4", "5", " ", " now", "\n\n", " ", " ok", " "]
      ),
      (
        "a\u{301}e\u{301} x", ["a", "\u{301}", "e", "\u{301}", " x"], ["a", "\u{301}e", "\u{301}", " x"],
        ["a", "\u{301}e", "\u{301}", " x"]
      ),
      ("don’t", ["don", "’", "t"], ["don", "’t"], ["don", "’t"]),
      ("１２３４", ["１２３４"], ["１２３", "４"], ["１", "２", "３", "４"]),
      ("हिन्दी", ["ह", "ि", "न", "्", "द", "ी"], ["ह", "िन", "्द", "ी"], ["ह", "िन", "्द", "ी"]),
      ("\u{a0}a\u{3000}b", ["\u{a0}", "a", "\u{3000}", "b"], ["\u{a0}a", "\u{3000}b"], ["\u{a0}a", "\u{3000}b"]),
      ("ŝ'ſ", ["ŝ", "'", "ſ"], ["ŝ", "'ſ"], ["ŝ", "'ſ"]),
    ]
    for (pattern, column) in [(Self.gpt2, 0), (Self.llama3, 1), (Self.qwen2, 2)] {
      #expect(try Self.isScanner(pattern))
      for row in table {
        let expected = [row.1, row.2, row.3][column]
        // Not by Swift's equality, which is canonical equivalence.
        #expect(try Self.matches(pattern, row.0).map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "\(row.0)")
      }
    }
  }

  @Test func casedWords() throws {
    #expect(try Self.isScanner(Self.o200k))
    #expect(try Self.matches(Self.o200k, "HTTPServer's iPhone/\n 12") == ["HTTPServer's", " i", "Phone", "/\n", " ", "12"])
    #expect(try Self.matches(Self.o200k, "ABCdef GHI") == ["ABCdef", " GHI"])
  }

  /// tiktoken's own writing of a pattern takes white space at the end as one piece.
  @Test func tiktokenPatterns() throws {
    let pattern =
      #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"#
    #expect(try Self.isScanner(pattern))
    #expect(try Self.matches(pattern, "ok\n\n  ") == ["ok", "\n\n  "])
    #expect(try Self.matches(Self.llama3, "ok\n\n  ") == ["ok", "\n\n", "  "])
  }

  /// The scanners against the engine, which reads the same pattern with an alternative added that never matches.
  @Test(arguments: [gpt2, llama3, qwen2, o200k])
  func scannersAgreeWithTheEngine(_ pattern: String) throws {
    let scanner = try Pattern(pattern.utf8)
    let engine = try Pattern((pattern + "|(?!)").utf8)
    let pool = Array("aabBCDstremvlSTLD''' \n\r\t 0123.,!/-_’").flatMap(\.unicodeScalars) +
      [0xa0, 0x3000, 0x301, 0x17f, 0xff11, 0x939, 0x93f, 0x94d, 0x2160, 0x1c5, 0x2b0, 0x4e2d, 0xe9, 0x85, 0x1f600].compactMap(
        Unicode.Scalar.init)
    var random = SystemRandomNumberGenerator()
    for _ in 0..<1500 {
      var text = String()
      for _ in 0..<Int.random(in: 0...24, using: &random) { text.unicodeScalars.append(pool.randomElement(using: &random)!) }
      let found = try Self.matches(scanner, text)
      let expected = try Self.matches(engine, text)
      #expect(found.map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "\(text.debugDescription)")
      // They cover the text.
      #expect(found.flatMap(\.utf8) == Array(text.utf8))
    }
  }

  @Test func engine() throws {
    let cases: [(String, String, [String])] = [
      ("a.*?b", "aXXbYb", ["aXXb"]), ("(?:ab){2,3}", "abababab ab", ["ababab"]), ("a++a", "aaa", []),
      ("(?>a|ab)c", "abc ac", ["ac"]), ("(?:a*)*b", "aaab", ["aaab"]), ("^x|y$", "x\nx y\ny", ["x", "x", "y", "y"]),
      (#"\bfoo\b"#, "foo food foo", ["foo", "foo"]), ("(?<=a)b|(?<!a)c", "ab ac cc", ["b", "c", "c"]),
      (#"[\p{L}&&[^a-m]]+"#, "amnz", ["nz"]), ("[]a-]+", "]a-b", ["]a-"]), (#"\p{Han}+"#, "ab漢字c", ["漢字"]),
      ("(?i:STRASSE|k)", "strasse \u{212a}", ["strasse", "\u{212a}"]), (#"(?x) a b # c"#, "ab", ["ab"]),
      ("a{,2}b", "aaab", ["aab"]), ("a{x", "a{x", ["a{x"]), (#"\x41\u0042\x{43}"#, "ABC", ["ABC"]),
      (#"[[:punct:]]"#, "a+.", ["+", "."]), ("a*", "baac", ["", "aa", ""]), (#"\R"#, "\r\n\n", ["\r\n", "\n"]),
    ]
    for (pattern, text, expected) in cases { #expect(try Self.matches(pattern, text) == expected, "\(pattern)") }
  }

  @Test(arguments: [
    #"(a)\1"#, #"\G"#, #"\Ka"#, #"\X"#, "(?s:a)", "(?<=a+)b", #"\p{Nonsense}"#, "[[:nonsense:]]", "a{1001}", #"\g<1>"#,
  ])
  func refusesWhatItDoesNotHave(_ pattern: String) {
    #expect { try Pattern(pattern.utf8) } throws: { ($0 as? TamisError)?.status == .unsupported }
  }

  @Test(arguments: ["(", "a)", "[a", "*a", "[z-a]", #"\"#, #"\p{L"#, "(?#a", "a{3,2}", #"\x{110000}"#])
  func refusesWhatIsNone(_ pattern: String) {
    #expect { try Pattern(pattern.utf8) } throws: { ($0 as? TamisError)?.status == .format }
  }

  @Test func cannotBeMadeToRunAway() throws {
    let bomb = try Pattern("(?:a|a)*(?:a|a)*(?:a|a)*b".utf8)
    let fuse = String(repeating: "a", count: 3000)
    #expect { try Self.matches(bomb, fuse) } throws: { ($0 as? TamisError)?.status == .unsupported }
    #expect { try Pattern("(?:(?:(?:a{500}){500}){500}b)+".utf8) } throws: { ($0 as? TamisError)?.status == .unsupported }
    #expect { try Pattern(String(repeating: "(", count: 100_000).utf8) } throws: { ($0 as? TamisError)?.status == .unsupported }
    for repeated in ["*", "{1}"] {
      let pattern = "a" + String(repeating: repeated, count: 1_000_000)
      #expect { try Pattern(pattern.utf8) } throws: { ($0 as? TamisError)?.status == .unsupported }
    }
    // Nothing, 10^15 times.
    let nothing = String(repeating: "(?:", count: 5) + String(repeating: "){1000}", count: 5)
    #expect(try Self.matches(nothing + "b", "ab") == ["b"])
    // Look-behinds of a length that no integer holds, and of one that must not be asked for twice a level.
    let long = String(repeating: "(?:", count: 5) + "a{1000}" + String(repeating: "){1000}", count: 5)
    let deep = String(repeating: "(?:", count: 90) + "a" + String(repeating: "|b)", count: 90)
    #expect { try Pattern("(?<=\(String(repeating: long, count: 10)))b".utf8) } throws: {
      ($0 as? TamisError)?.status == .unsupported
    }
    #expect(try Self.matches("(?<=\(deep))c", "acbc") == ["c", "c"])
    // Long runs need no recursion.
    let text = String(repeating: "ab ", count: 100_000)
    #expect(try Self.matches("(?:ab |x)+", text) == [text])
    #expect(try Self.matches(#"[^x]+"#, text) == [text])
  }

  @Test func literals() throws {
    #expect(try Self.matches(Pattern(literal: "aa".utf8), "aaaab") == ["aa", "aa"])
    #expect(try Self.matches(Pattern(literal: "".utf8), "ab") == [])
  }
}
