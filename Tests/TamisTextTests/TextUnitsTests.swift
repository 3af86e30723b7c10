import TamisCore
import Testing

@testable import TamisText

/// What a unit's bytes are.
func strings(_ text: String, _ spans: [TextSpan]) -> [String] {
  let bytes = Array(text.utf8)
  return spans.map { String(decoding: bytes[$0.range], as: UTF8.self) }
}

func withBytes<R>(_ text: String, _ body: (TextBytes) throws -> R) rethrows -> R {
  try Array(text.utf8).withUnsafeBufferPointer { try body($0) }
}

func split(_ text: String, _ kind: TextUnits.Kind) throws -> [String] {
  strings(text, try withBytes(text) { try TextUnits.split($0, kind) })
}

@Suite struct TextUnitsTests {
  @Test func wordsAreRunsWithoutWhiteSpace() throws {
    #expect(try split(" one\ttwo\u{3000}three\u{a0}four\n\n five\u{2028}", .words) == ["one", "two", "three", "four", "five"])
    #expect(try split("", .words) == [])
    #expect(try split(" \n\u{2003}", .words) == [])
    #expect(try split("zero\u{200b}width", .words) == ["zero\u{200b}width"])
  }

  /// White_Space of the standard library is the oracle.
  @Test func everyScalarIsWhiteSpaceOrNot() {
    for value in (UInt32(1)...0x3400).map(\.self) + stride(from: UInt32(0x3401), through: 0x10ffff, by: 61) {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let bytes = Array(String(Character(scalar)).utf8)
      bytes.withUnsafeBufferPointer { bytes in
        let expected = scalar.properties.isWhitespace ? bytes.count : 0
        let reader = ScalarReader(bytes: bytes)
        if reader.spaceLength(at: 0) != expected || reader.endsInSpace(before: bytes.count) != (expected > 0)
          || reader.scalar(at: 0) != (scalar.value, bytes.count)
        {
          Issue.record("U+\(String(value, radix: 16))")
        }
      }
    }
  }

  @Test(arguments: [
    ("One. Two? Three! Four", ["One.", "Two?", "Three!", "Four"]),
    ("Mr. Smith met Dr. Jones. They left.", ["Mr. Smith met Dr. Jones.", "They left."]),
    ("See e.g. this. In the U.S. it rains.", ["See e.g. this.", "In the U.S. it rains."]),
    ("It is 3.5. Next 4.", ["It is 3.5.", "Next 4."]),
    ("  One.\n\n Two.  ", ["One.", "Two."]),
    ("一。二！三", ["一。", "二！", "三"]),
    ("他说「好。」走了。", ["他说「好。」", "走了。"]),
    ("no end", ["no end"]),
    ("...", ["..."]),
    ("a.b c.d. e", ["a.b c.d. e"]),
    ("Wait... what? Yes.", ["Wait...", "what?", "Yes."]),
  ])
  func sentences(_ text: String, _ expected: [String]) throws { #expect(try split(text, .sentences) == expected) }

  @Test func bytesThatAreNoTextAreLetters() throws {
    let bytes: [UInt8] = [0xff, 0x20, 0xc2, 0x20, 0xe3, 0x80, 0x20, 0xed, 0xa0, 0x80, 0, 0x61]
    let spans = try bytes.withUnsafeBufferPointer { try TextUnits.split($0, .words) }
    #expect(spans == [TextSpan(0, 1), TextSpan(2, 3), TextSpan(4, 6), TextSpan(7, 12)])
    #expect(try bytes.withUnsafeBufferPointer { try TextUnits.split($0, .sentences) } == [TextSpan(0, 12)])
  }

  @Test func keptSpansJoinNeighbours() {
    let units = [(0, 2), (3, 5), (6, 6), (7, 9), (8, 10), (12, 13)].map { TextSpan($0.0, $0.1) }
    func kept(_ indices: [Int32]) -> [TextSpan] {
      units.withUnsafeBufferPointer { units in indices.withUnsafeBufferPointer { KeptText.spans(units, $0) } }
    }
    #expect(kept([]) == [])
    #expect(kept([0, 1, 2, 3, 4, 5]) == [TextSpan(0, 13)])
    #expect(kept([0, 1, 3]) == [TextSpan(0, 5), TextSpan(7, 9)])
    #expect(kept([2]) == [])
    #expect(kept([1, 2, 3]) == [TextSpan(3, 9)])
    #expect(kept([0, 4, 5]) == [TextSpan(0, 2), TextSpan(8, 13)])
  }

  @Test(arguments: [
    ("the quick brown fox", [0, 2, 3], "the brown fox"),
    ("a b\n\nc d", [0, 3], "a\nd"),
    ("a b\nc d", [0, 1, 3], "a b\nd"),
    ("one", [0], "one"),
    ("one two", [], ""),
  ])
  func keptText(_ text: String, _ indices: [Int32], _ expected: String) throws {
    let joined = try withBytes(text) { text in
      try TextUnits.split(text, .words).withUnsafeBufferPointer { units in
        let spans = indices.withUnsafeBufferPointer { KeptText.spans(units, $0) }
        return spans.withUnsafeBufferPointer { KeptText.joined(text, $0) }
      }
    }
    #expect(String(decoding: joined, as: UTF8.self) == expected)
  }

  /// Pieces of a subword tokenizer carry their space: nothing is added to it, and pieces of one word are not parted.
  @Test func textOfPieces() {
    func joined(_ text: String, _ spans: [(Int, Int)]) -> String {
      let spans = spans.map { TextSpan($0.0, $0.1) }
      return String(
        decoding: withBytes(text) { text in spans.withUnsafeBufferPointer { KeptText.joined(text, $0) } }, as: UTF8.self)
    }
    #expect(joined("abc def ghi", [(0, 3), (7, 11)]) == "abc ghi")
    #expect(joined("unbelievable", [(0, 2), (8, 12)]) == "unable")
    #expect(joined("日本語", [(0, 3), (6, 9)]) == "日語")
  }

  @Test func spansOfACallerAreChecked() {
    func check(_ spans: [(Int32, Int32)], apart: Bool, within: Int = 10) -> Bool {
      let spans = spans.map { TextSpan(start: $0.0, end: $0.1) }
      return (try? spans.withUnsafeBufferPointer { try $0.requireAscending("spans", within: within, apart: apart) }) != nil
    }
    #expect(check([(0, 2), (2, 2), (5, 10)], apart: true))
    #expect(!check([(0, 3), (2, 4)], apart: true))
    #expect(check([(0, 3), (0, 3), (2, 4)], apart: false))
    #expect(!check([(0, 3), (1, 2)], apart: false))
    #expect(!check([(-1, 3)], apart: false))
    #expect(!check([(4, 3)], apart: false))
    #expect(!check([(0, 11)], apart: false))
    #expect(!check([(Int32.min, Int32.max)], apart: true))
  }
}
