import TamisCore
import Testing

@testable import TamisText

func json(_ text: String) throws -> JSON {
  try Array(text.utf8).withUnsafeBytes { (bytes) throws(TamisError) in try JSON(bytes) }
}

@Suite struct NormalizersTests {
  static func apply(_ component: String, _ text: String) throws -> AlignedText {
    var text = aligned(text)
    try makeNormalizer(json(component)).apply(&text)
    return text
  }
  static func string(_ component: String, _ text: String) throws -> String {
    String(decoding: try apply(component, text).bytes, as: UTF8.self)
  }
  static let uncased =
    #"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}"#
  static let cased =
    #"{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false}"#

  @Test func bert() throws {
    #expect(try Self.string(Self.uncased, "Héllo\tWÖRLD\u{0}\u{200b}\u{ad}!") == "hello world!")
    #expect(try Self.string(Self.cased, "Héllo\u{a0}北京x\u{fffd}") == "Héllo  北  京 x")
    // U+0378 is unassigned: neither control nor removed. A final sigma is plain. U+0130 has two scalars.
    #expect(try Self.apply(Self.uncased, "\u{378}").scalars == [0x378])
    #expect(try Self.string(Self.uncased, "ΟΔΟΣ") == "οδοσ")
    #expect(try Self.apply(#"{"type": "Lowercase"}"#, "İ").scalars == [0x69, 0x307])
  }

  @Test func bertMaps() throws {
    // Changes that keep the length need no map.
    #expect(try Self.apply(Self.cased, "Plain ТЕКСТ\n").isUnchanged)
    #expect(try Self.apply(Self.uncased, "Plain ТЕКСТ\n").isUnchanged)
    let text = try Self.apply(Self.uncased, "\u{0}É京")
    #expect(text.scalars == [0x65, 0x20, 0x4eac, 0x20])
    #expect(text.map == [[1, 3], [3, 6], [3, 6], [3, 6], [3, 6], [3, 6]])
  }

  /// One pass against the rules one by one, over every scalar in a context and over random text.
  @Test(arguments: [true, false], [true, false])
  func bertInOnePass(_ strips: Bool, _ lowercases: Bool) {
    let normalizer = BertNormalizer(stripsAccents: strips, lowercases: lowercases)
    func check(_ text: AlignedText) {
      var once = text
      normalizer.apply(&once)
      var steps = text
      normalizer.applyInSteps(&steps)
      #expect(once.bytes == steps.bytes && once.map == steps.map, "\(text.scalars.map { String($0, radix: 16) })")
    }
    var random = SystemRandomNumberGenerator()
    let marks: [UInt32] = [0x301, 0x323, 0x302e, 0x1d165, 0x16ff0, 0x1d16d, 0x200d, 0x0, 0xac01, 0x130, 0x4e00, 0xf900]
    for _ in 0..<4000 {
      let scalars = (0..<Int.random(in: 1...8, using: &random)).map { _ in
        Bool.random(using: &random) ? marks.randomElement(using: &random)! : UInt32.random(in: 0...0x2fff, using: &random)
      }
      check(aligned(String(String.UnicodeScalarView(scalars.compactMap(Unicode.Scalar.init)))))
    }
  }

  @Test func simpleComponents() throws {
    #expect(try Self.string(#"{"type": "NFD"}"#, "é").unicodeScalars.count == 2)
    #expect(try Self.string(#"{"type": "NFKC"}"#, "ﬁ①").unicodeScalars.map(\.value) == [0x66, 0x69, 0x31])
    #expect(try Self.string(#"{"type": "StripAccents"}"#, "e\u{301}x") == "ex")
    #expect(try Self.string(#"{"type": "Strip", "strip_left": true, "strip_right": false}"#, " \u{3000}a ") == "a ")
    #expect(try Self.string(#"{"type": "Nmt"}"#, "a\u{1}b\u{200b}c\t") == "ab c ")
    #expect(try Self.string(#"{"type": "Prepend", "prepend": "▁"}"#, "a") == "▁a")
    #expect(try Self.string(#"{"type": "Prepend", "prepend": "▁"}"#, "") == "")
    #expect(try Self.string(#"{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}"#, "a b ") == "a▁b▁")
    #expect(try Self.string(#"{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}"#, "a   b c") == "a b c")
    #expect(try Self.apply(#"{"type": "ByteLevel"}"#, "é ").isUnchanged)
    #expect(try Self.apply("null", "é ").isUnchanged)
    let both = #"{"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}"#
    #expect(try Self.string(both, "ÉÀ") == "ea")
  }

  /// Every byte of a result lies in the text, in order, whatever the component.
  @Test func mapsStayInOrder() throws {
    let components = [
      Self.uncased, Self.cased, #"{"type": "NFKD"}"#, #"{"type": "NFKC"}"#, #"{"type": "Lowercase"}"#,
      #"{"type": "StripAccents"}"#,
      #"{"type": "Replace", "pattern": {"Regex": "[a-c]+|\\s"}, "content": "xyz"}"#, #"{"type": "Prepend", "prepend": "__"}"#,
    ]
    var random = SystemRandomNumberGenerator()
    for _ in 0..<300 {
      let scalars = (0..<20).map { _ in
        Unicode.Scalar(UInt32.random(in: Bool.random(using: &random) ? 0x20...0x7e : 0xa0...0xd7ff, using: &random))!
      }
      let text = String(String.UnicodeScalarView(scalars))
      for component in components {
        let result = try Self.apply(component, text)
        let map = result.map
        #expect(map.count == result.bytes.count)
        #expect(map.allSatisfy { 0 <= $0[0] && $0[0] <= $0[1] && $0[1] <= text.utf8.count })
        #expect(zip(map, map.dropFirst()).allSatisfy { $0[0] <= $1[0] && $0[1] <= $1[1] }, "\(component)")
        #expect(String(validating: result.bytes, as: UTF8.self) != nil)
      }
    }
  }

  /// A map made from a text that does not begin at 0 begins where the text does.
  @Test func originIsKept() {
    var text = AlignedText(bytes: Array("É x".utf8), origin: 100)
    BertNormalizer().apply(&text)
    #expect(text.map == [[100, 102], [102, 103], [103, 104]])
    var slices = [TextSlice(start: 0, end: 3)]
    MetaspacePreTokenizer(prepend: .first).split(&text, &slices)
    #expect(String(decoding: text.bytes, as: UTF8.self) == "e▁x")
  }

  @Test(arguments: [
    (#"{"type": "Nonsense"}"#, Status.unsupported, "Nonsense"),
    (#"{"type": "NFC", "level": 3}"#, .unsupported, "level"),
    (#"{"type": "Sequence", "normalizers": [{"type": "Odd"}]}"#, .unsupported, "Odd"),
    (#"{"lowercase": true}"#, .format, "type"),
    (#"{"type": "Prepend"}"#, .format, "prepend"),
    (#"{"type": "Strip", "strip_left": 1, "strip_right": true}"#, .format, "strip_left"),
    (#"{"type": "Replace", "pattern": {"Glob": "*"}, "content": ""}"#, .format, "pattern"),
    (#"{"type": "Precompiled", "precompiled_charsmap": "!!"}"#, .format, "base64"),
    (#"{"type": "Precompiled", "precompiled_charsmap": "AAAA"}"#, .format, "precompiled_charsmap"),
    ("[]", .format, "object"),
  ])
  func refusals(_ component: String, _ status: Status, _ names: String) {
    #expect { try makeNormalizer(json(component)) } throws: {
      guard let error = $0 as? TamisError else { return false }
      return error.status == status && error.message.contains(names)
    }
  }
}
