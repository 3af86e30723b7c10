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

  static func apply(_ mode: PrecompiledNormalizer.Mode, _ text: String) throws -> AlignedText {
    var text = aligned(text)
    PrecompiledNormalizer(try CharacterMap(DartsBuilder.bytes(entries)), mode: mode).apply(&text)
    return text
  }

  @Test func clustersTakeTheShortestKey() throws {
    // "e" is a shorter key than "e" + U+0301, so the accent is lost with the cluster; three letters are three clusters.
    #expect(try Self.apply(.clusters, "e\u{301}abcﬁ").scalars.map { Unicode.Scalar($0)! } == Array("Eabcfi".unicodeScalars))
    #expect(try Self.apply(.clusters, "ｶﾞ").scalars == [0x30ab, 0xff9e])
  }

  @Test func prefixesTakeTheLongestKey() throws {
    #expect(try Self.apply(.longestPrefix, "e\u{301}abcﬁ").scalars == [0xe9, 0x58, 0x66, 0x69])
    #expect(try Self.apply(.longestPrefix, "ｶﾞ").scalars == [0x30ac])
  }

  @Test(arguments: [PrecompiledNormalizer.Mode.clusters, .longestPrefix])
  func maps(_ mode: PrecompiledNormalizer.Mode) throws {
    #expect(try Self.apply(mode, "plain xyz").scalars == Array("plain xyz".unicodeScalars).map(\.value))
    #expect(try Self.apply(mode, "plain xyz").isUnchanged)
    let text = try Self.apply(mode, "xAﬁ\u{1}y\u{a0}")
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
      for mode in [PrecompiledNormalizer.Mode.clusters, .longestPrefix] {
        var text = aligned("xAﬁ\u{1}y\u{a0}e\u{301} ｶﾞabc\r\n🇦🇧")
        PrecompiledNormalizer(map, mode: mode).apply(&text)
        #expect(text.isUnchanged || text.starts.count == text.bytes.count)
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
