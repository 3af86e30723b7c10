import TamisCore
import Testing

@testable import TamisText

@Suite struct PreTokenizersTests {
  static func pieces(_ component: String, _ text: String) throws -> [String] {
    var text = aligned(text)
    var slices = text.bytes.isEmpty ? [] : [TextSlice(start: 0, end: Int32(text.bytes.count))]
    try makePreTokenizer(json(component)).split(&text, &slices)
    #expect(slices.allSatisfy { $0.start < $0.end && $0.end <= text.bytes.count })
    #expect(zip(slices, slices.dropFirst()).allSatisfy { $0.end <= $1.start })
    return slices.map { String(decoding: text.bytes[Int($0.start)..<Int($0.end)], as: UTF8.self) }
  }

  @Test func components() throws {
    let bert = try Self.pieces(#"{"type": "BertPreTokenizer"}"#, "Hey, you!  €5\u{a0}x。")
    #expect(bert == ["Hey", ",", "you", "!", "€5", "x", "。"])
    #expect(try Self.pieces(#"{"type": "Whitespace"}"#, "Hey you: a_b +=3") == ["Hey", "you", ":", "a_b", "+=", "3"])
    #expect(try Self.pieces(#"{"type": "WhitespaceSplit"}"#, " a  b\n") == ["a", "b"])
    #expect(try Self.pieces(#"{"type": "Digits", "individual_digits": true}"#, "a12½b") == ["a", "1", "2", "½", "b"])
    #expect(try Self.pieces(#"{"type": "Digits", "individual_digits": false}"#, "a12½b") == ["a", "12½", "b"])
    #expect(try Self.pieces(#"{"type": "CharDelimiterSplit", "delimiter": "_"}"#, "a__b_") == ["a", "b"])
    #expect(try Self.pieces(#"{"type": "FixedLength", "length": 2}"#, "aébcd") == ["aé", "bc", "d"])
    #expect(try Self.pieces("null", "a b") == ["a b"])
    #expect(try Self.pieces(#"{"type": "BertPreTokenizer"}"#, "") == [])
  }

  /// The example of the package's documentation.
  @Test func splitBehaviors() throws {
    let expected: [(String, [String])] = [
      ("Removed", ["the", "final", "countdown"]), ("Isolated", ["the", "-", "final", "-", "-", "countdown"]),
      ("MergedWithPrevious", ["the-", "final-", "-", "countdown"]), ("MergedWithNext", ["the", "-final", "-", "-countdown"]),
      ("Contiguous", ["the", "-", "final", "--", "countdown"]),
    ]
    for (behavior, pieces) in expected {
      for pattern in [#"{"String": "-"}"#, #"{"Regex": "-"}"#] {
        let component = #"{"type": "Split", "pattern": \#(pattern), "behavior": "\#(behavior)", "invert": false}"#
        #expect(try Self.pieces(component, "the-final--countdown") == pieces)
      }
      #expect(try Self.pieces(#"{"type": "Punctuation", "behavior": "\#(behavior)"}"#, "the-final--countdown") == pieces)
    }
    let inverted = #"{"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed", "invert": true}"#
    #expect(try Self.pieces(inverted, "the-final--countdown") == ["the", "final", "countdown"])
  }

  @Test func metaspace() throws {
    func component(_ rest: String) -> String { #"{"type": "Metaspace", "replacement": "▁"\#(rest)}"# }
    #expect(try Self.pieces(component(""), "Hey  you ") == ["▁Hey", "▁", "▁you", "▁"])
    #expect(try Self.pieces(component(#", "prepend_scheme": "never""#), "Hey you") == ["Hey", "▁you"])
    #expect(try Self.pieces(component(#", "add_prefix_space": false"#), "Hey you") == ["Hey", "▁you"])
    #expect(try Self.pieces(component(#", "add_prefix_space": true, "str_rep": "▁""#), " a▁b") == ["▁a", "▁b"])
    #expect(try Self.pieces(component(#", "prepend_scheme": "always", "split": false"#), "a b") == ["▁a▁b"])
    let parts = #"{"type": "WhitespaceSplit"}, "# + component(#", "prepend_scheme": "first""#)
    let afterSplit = #"{"type": "Sequence", "pretokenizers": [\#(parts)]}"#
    #expect(try Self.pieces(afterSplit, "a b") == ["▁a", "b"])
    #expect(try Self.pieces(afterSplit, " a b") == ["a", "b"])
  }

  @Test func metaspaceMap() {
    var text = aligned("a b")
    var slices = [TextSlice(start: 0, end: 3)]
    MetaspacePreTokenizer().split(&text, &slices)
    // The prefix stands for the first letter, as in the peer.
    #expect(text.map == [[0, 1], [0, 1], [0, 1], [0, 1], [1, 2], [1, 2], [1, 2], [2, 3]])
    #expect(slices == [TextSlice(start: 0, end: 4), TextSlice(start: 4, end: 8)])
  }

  @Test func byteLevel() throws {
    let plain = #"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}"#
    #expect(try Self.pieces(plain, "Hello there's 1") == ["Hello", " there", "'s", " 1"])
    let prefixed = #"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false}"#
    #expect(try Self.pieces(prefixed, "Hi you") == [" Hi you"])
    #expect(try Self.pieces(prefixed, " Hi") == [" Hi"])
  }

  @Test(arguments: [
    (#"{"type": "UnicodeScripts"}"#, Status.unsupported, "UnicodeScripts"),
    (#"{"type": "BertPreTokenizer", "x": 1}"#, .unsupported, "x"),
    (#"{"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}"#, .format, "("),
    (#"{"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Melted", "invert": false}"#, .unsupported, "Melted"),
    (#"{"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated"}"#, .format, "invert"),
    (#"{"type": "Metaspace", "replacement": "ab"}"#, .format, "replacement"),
    (#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "twice"}"#, .unsupported, "twice"),
    (#"{"type": "FixedLength", "length": 0}"#, .format, "length"),
  ])
  func refusals(_ component: String, _ status: Status, _ names: String) {
    #expect { try makePreTokenizer(json(component)) } throws: {
      guard let error = $0 as? TamisError else { return false }
      return error.status == status && error.message.contains(names)
    }
  }
}
