import TamisCore
import Testing

@testable import TamisText

/// A Darts trie written out from its definition: children of the unit at `base` lie at base ^ label, a key's value at base ^ 0.
struct DartsBuilder {
  final class Node {
    var children: [UInt8: Node] = [:]
    var value: UInt32?
  }

  static func bytes(_ entries: [(String, String)]) -> [UInt8] {
    let root = Node()
    var texts: [UInt8] = []
    for (key, text) in entries {
      var node = root
      for byte in key.utf8 {
        let child = node.children[byte] ?? Node()
        node.children[byte] = child
        node = child
      }
      node.value = UInt32(texts.count)
      texts += Array(text.utf8) + [0]
    }
    var units: [UInt32] = [0]
    // Each node gets a block of 256 of its own, so nothing can collide.
    func place(_ node: Node, at unit: Int, label: UInt32) {
      let block = units.count + (256 - units.count % 256) % 256
      units += Array(repeating: 0, count: block + 256 - units.count)
      let offset = UInt32(unit ^ block)
      units[unit] = label | (node.value != nil ? 0x100 : 0) | offset << 10
      if let value = node.value { units[block] = value | 0x8000_0000 }
      for (byte, child) in node.children.sorted(by: { $0.key < $1.key }) {
        place(child, at: block ^ Int(byte), label: UInt32(byte))
      }
    }
    place(root, at: 0, label: 0)
    let words = units.flatMap { unit in (0..<4).map { UInt8(truncatingIfNeeded: unit >> UInt32(8 * $0)) } }
    let size = UInt32(words.count)
    return (0..<4).map { UInt8(truncatingIfNeeded: size >> UInt32(8 * $0)) } + words + texts
  }
}

@Suite struct CharacterMapTests {
  static let entries = [
    ("\u{1}", ""), ("A", "a"), ("ﬁ", "fi"), ("e\u{301}", "é"), ("e", "E"), ("\u{a0}", " "), ("abc", "X"),
    ("ｶ", "カ"), ("ｶﾞ", "ガ"),
  ]

  static func apply(_ text: String) throws -> AlignedText {
    var text = aligned(text)
    PrecompiledNormalizer(try CharacterMap(DartsBuilder.bytes(entries))).apply(&text)
    return text
  }

  /// SentencePiece's own reading of the map, with its rules for white space turned off.
  static func prefixes(_ map: CharacterMap) -> SentencePieceNormalizer {
    SentencePieceNormalizer(
      map: map, symbols: nil, longestSymbol: 0,
      .init(addsDummyPrefix: false, removesExtraWhitespace: false, escapesWhitespace: false))
  }

  @Test func clustersTakeTheShortestKey() throws {
    // "e" is a shorter key than "e" + U+0301, so the accent is lost with the cluster; three letters are three clusters.
    #expect(try Self.apply("e\u{301}abcﬁ").scalars.map { Unicode.Scalar($0)! } == Array("Eabcfi".unicodeScalars))
    #expect(try Self.apply("ｶﾞ").scalars == [0x30ab, 0xff9e])
  }

  @Test func prefixesTakeTheLongestKey() throws {
    let normalizer = Self.prefixes(try CharacterMap(DartsBuilder.bytes(Self.entries)))
    var text = aligned("e\u{301}abcﬁ")
    normalizer.apply(&text)
    #expect(text.scalars == [0xe9, 0x58, 0x66, 0x69])
    text = aligned("ｶﾞ")
    normalizer.apply(&text)
    #expect(text.scalars == [0x30ac])
  }

  @Test func maps() throws {
    #expect(try Self.apply("plain xyz").scalars == Array("plain xyz".unicodeScalars).map(\.value))
    #expect(try Self.apply("plain xyz").isUnchanged)
    let text = try Self.apply("xAﬁ\u{1}y\u{a0}")
    #expect(text.scalars == [0x78, 0x61, 0x66, 0x69, 0x79, 0x20])
    // The second letter of the ligature takes the place of the control character that goes behind it, as in the peer.
    #expect(text.map == [[0, 1], [1, 2], [2, 5], [5, 6], [6, 7], [7, 9]])
  }

  @Test func damagedTablesAreRefusedOrHarmless() throws {
    let good = DartsBuilder.bytes(Self.entries)
    for count in [0, 3, 4, 5, 100, 1025] {
      #expect { try CharacterMap(Array(good[..<count])) } throws: { ($0 as? TamisError)?.status == .format }
    }
    var random = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      var bad = good
      for _ in 0..<20 { bad[Int.random(in: 4..<bad.count, using: &random)] = UInt8.random(in: 0...255, using: &random) }
      guard let map = try? CharacterMap(bad) else { continue }
      for normalizer in [PrecompiledNormalizer(map), Self.prefixes(map)] as [any Normalizer] {
        var text = aligned("xAﬁ\u{1}y\u{a0}e\u{301} ｶﾞabc\r\n🇦🇧")
        try normalizer.apply(&text)
        #expect(text.isUnchanged || text.starts.count == text.bytes.count)
        #expect(String(validating: text.bytes, as: UTF8.self) != nil)
      }
    }
  }

  /// A key that ends inside a scalar, and a value that points into one: what would come out is no UTF-8, which all that follows
  /// relies on.
  @Test func halfScalarsAreNoEntries() throws {
    let text = "é€"
    let whole = DartsBuilder.bytes([("\u{e9}", "é")])
    let tail = whole.count - 3
    var cut = whole
    // The value: offset 1, the second byte of the replacement.
    let value = try #require(stride(from: 4, to: tail, by: 4).first { cut[$0..<$0 + 4].elementsEqual([0, 0, 0, 0x80]) })
    cut[value] = 1
    var half = DartsBuilder.bytes([("a", "b")])
    // The key "a" becomes the first byte of U+00E9: its unit moves to the place of that label and carries it.
    let unit = try #require(stride(from: 4, to: half.count - 2, by: 4).first { half[$0] == 0x61 && half[$0 + 1] & 1 != 0 })
    let place = (unit - 4) / 4 ^ 0x61 ^ 0xc3
    let offset = (UInt32(half[unit + 1]) << 8 | UInt32(half[unit + 2]) << 16 | UInt32(half[unit + 3]) << 24) >> 10
    let moved = 0xc3 | 0x100 | (offset ^ UInt32((unit - 4) / 4) ^ UInt32(place)) << 10
    for i in 0..<4 { half[4 + 4 * place + i] = UInt8(truncatingIfNeeded: moved >> UInt32(8 * i)) }
    for table in [cut, half] {
      let map = try CharacterMap(table)
      for normalizer in [PrecompiledNormalizer(map), Self.prefixes(map)] as [any Normalizer] {
        var new = aligned(text)
        try normalizer.apply(&new)
        #expect(new.bytes == Array(text.utf8))
      }
    }
  }

  @Test func base64() {
    #expect(Base64.decode("TWFu".utf8) == Array("Man".utf8))
    #expect(Base64.decode("TWE=".utf8) == Array("Ma".utf8))
    #expect(Base64.decode("TQ==".utf8) == Array("M".utf8))
    #expect(Base64.decode("".utf8) == [])
    for bad in ["T", "TQ", "TQ=", "T===", "TQ==TWFu", "TW_u", "====", "TWFu\n"] {
      #expect(Base64.decode(bad.utf8) == nil, "\(bad)")
    }
  }
}
