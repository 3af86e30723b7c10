import Glibc
import TamisCore
import Testing

@testable import TamisText

func aligned(_ text: String) -> AlignedText { AlignedText(bytes: Array(text.utf8)) }

extension AlignedText {
  var scalars: [UInt32] { String(decoding: bytes, as: UTF8.self).unicodeScalars.map(\.value) }

  /// The map as one (start, end) per byte, whether it is written down or not.
  var map: [[Int32]] {
    if !isUnchanged { return zip(starts, ends).map { [$0, $1] } }
    return bytes.withUnsafeBufferPointer { bytes in
      bytes.indices.map { i in
        let first = UTF8Text.start(bytes.baseAddress!, before: i + 1)
        return [origin + Int32(first), origin + Int32(first + UTF8Text.length(lead: bytes[first]))]
      }
    }
  }
}

func normalized(_ scalars: [UInt32], _ form: NormalForm, _ version: NormalizationVersion = .current) -> [UInt32] {
  var text = aligned(String(String.UnicodeScalarView(scalars.compactMap(Unicode.Scalar.init))))
  NormalFormNormalizer(form, version: version).apply(&text)
  return text.scalars
}

/// What a command prints, line by line; empty where it cannot run.
func lines(of command: String) -> [String] {
  guard let pipe = popen(command, "r") else { return [] }
  defer { pclose(pipe) }
  var bytes: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = fread(&block, 1, block.count, pipe)
    if count == 0 { break }
    bytes += block[..<count]
  }
  return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
}

let conformanceTests = "/usr/share/unicode"

@Suite struct NormalizationTests {
  static let testFile = conformanceTests + "/NormalizationTest.txt.bz2"

  /// Unicode's own test: columns c1 to c5, and every scalar that is in no first column stays as it is.
  @Test(.enabled(if: access(testFile, R_OK) == 0 && access("/bin/bzip2", X_OK) == 0))
  func conformance() {
    var rows = 0
    var wrong: [String] = []
    for line in lines(of: "bzip2 -dc \(Self.testFile)") where !line.hasPrefix("#") && !line.hasPrefix("@") {
      let columns = line.split(separator: ";").prefix(5).map { $0.split(separator: " ").map { UInt32($0, radix: 16)! } }
      rows += 1
      let expected: [(NormalForm, [Int])] = [
        (.nfc, [1, 1, 1, 3, 3]), (.nfd, [2, 2, 2, 4, 4]), (.nfkc, [3, 3, 3, 3, 3]), (.nfkd, [4, 4, 4, 4, 4]),
      ]
      for (form, targets) in expected {
        for (source, target) in targets.enumerated() where normalized(columns[source], form) != columns[target] {
          wrong.append("\(form) of c\(source + 1): \(line)")
        }
      }
    }
    #expect(rows > 18_000)
    #expect(wrong.isEmpty)
  }

  @Test func hangulComposesAndDecomposes() {
    #expect(normalized([0xd55c], .nfd) == [0x1112, 0x1161, 0x11ab])
    #expect(normalized([0x1112, 0x1161, 0x11ab], .nfc) == [0xd55c])
    #expect(normalized([0xac00, 0x11a7], .nfc) == [0xac00, 0x11a7])
  }

  @Test func marksAreSortedStablyHoweverMany() {
    // Alternating classes 230 and 220 behind a letter: first all of 220, then all of 230, each in order.
    let marks: [UInt32] = (0..<100).flatMap { i in [0x300 + UInt32(i % 5), 0x316 + UInt32(i % 4)] }
    let sorted = marks.filter { $0 >= 0x316 } + marks.filter { $0 < 0x316 }
    #expect(normalized([0x62] + marks, .nfd) == [0x62] + sorted)
  }

  @Test func laterCharactersStayInTheVersionOfTheTokenizers() {
    // U+1F16C (12.0) and U+110C2 stand for nothing in 9.0.
    #expect(normalized([0x1f16c], .nfkc, .current) == [0x4d, 0x52])
    #expect(normalized([0x1f16c], .nfkc, .unicode9) == [0x1f16c])
    #expect(normalized([0x11935, 0x11930], .nfc, .current) == [0x11938])
    #expect(normalized([0x11935, 0x11930], .nfc, .unicode9) == [0x11935, 0x11930])
  }

  @Test func idempotentAndMonotoneOnRandomText() {
    var random = SystemRandomNumberGenerator()
    let pool: [ClosedRange<UInt32>] = [
      0x20...0x7e, 0xc0...0x24f, 0x300...0x345, 0x1100...0x11ff, 0xac00...0xad00, 0x1e00...0x1fff, 0x900...0x9ff,
      0x3041...0x30ff,
    ]
    for _ in 0..<2000 {
      let scalars = (0..<Int.random(in: 0...12, using: &random)).map { _ in
        UInt32.random(in: pool.randomElement(using: &random)!, using: &random)
      }
      for form in [NormalForm.nfc, .nfd, .nfkc, .nfkd] {
        let once = normalized(scalars, form)
        #expect(normalized(once, form) == once)
        // Composition loses nothing that decomposition could not find again.
        #expect(normalized(once, form.isCompatible ? .nfkd : .nfd) == normalized(scalars, form.isCompatible ? .nfkd : .nfd))
      }
    }
  }

  @Test func mapOfAComposition() {
    var text = aligned("xe\u{301}y")
    NormalFormNormalizer(.nfc).apply(&text)
    #expect(text.scalars == [0x78, 0xe9, 0x79])
    // The composed letter stands for the base alone, as in the peer.
    #expect(text.map == [[0, 1], [1, 2], [1, 2], [4, 5]])
    var plain = aligned("plain")
    NormalFormNormalizer(.nfkc).apply(&plain)
    #expect(plain.isUnchanged)
  }
}
