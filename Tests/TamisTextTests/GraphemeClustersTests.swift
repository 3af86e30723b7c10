import Glibc
import Testing

@testable import TamisText

@Suite struct GraphemeClustersTests {
  static let testFile = conformanceTests + "/auxiliary/GraphemeBreakTest.txt"

  static func borders(_ scalars: [UInt32]) -> [Int] {
    let bytes = Array(String(String.UnicodeScalarView(scalars.compactMap(Unicode.Scalar.init))).utf8)
    return bytes.withUnsafeBufferPointer(GraphemeClusters.borders)
  }

  /// Unicode's own test: ÷ breaks, × does not.
  @Test(.enabled(if: access(testFile, R_OK) == 0))
  func conformance() {
    var rows = 0
    var wrong: [String] = []
    for line in lines(of: "cat \(Self.testFile)") {
      let marks = line.split(separator: "#", omittingEmptySubsequences: false)[0].split(whereSeparator: \.isWhitespace)
      if marks.isEmpty { continue }
      rows += 1
      var scalars: [UInt32] = []
      var expected: [Int] = []
      var length = 0
      for mark in marks {
        if mark == "÷" {
          expected.append(length)
        } else if mark != "×", let value = UInt32(mark, radix: 16) {
          scalars.append(value)
          length += UTF8Text.length(of: value)
        }
      }
      if Self.borders(scalars) != expected { wrong.append(line) }
    }
    #expect(rows > 500)
    #expect(wrong.isEmpty)
  }

  /// Against Swift's characters, on the scripts and emoji where the rules meet.
  @Test func agreesWithSwiftsCharacters() {
    let pool: [UInt32] =
      Array(0x20...0x7e) + [0x0d, 0x0a, 0x200d, 0xfe0f, 0x1f468, 0x1f469, 0x1f467, 0x1f3fb, 0x1f1e6, 0x1f1e7, 0x1f1e8, 0x2764]
      + Array(0x300...0x310) + Array(0x1100...0x1105) + Array(0x1161...0x1165) + Array(0x11a8...0x11ac) + [0xac00, 0xac01]
      + Array(0x915...0x920) + [0x93f, 0x94d, 0x94d, 0x93c, 0x600, 0xe0020, 0xe007f]
    var random = SystemRandomNumberGenerator()
    for _ in 0..<3000 {
      let scalars = (0..<Int.random(in: 0...10, using: &random)).map { _ in pool.randomElement(using: &random)! }
      let text = String(String.UnicodeScalarView(scalars.compactMap(Unicode.Scalar.init)))
      var expected = [0]
      for character in text { expected.append(expected.last! + character.utf8.count) }
      #expect(Self.borders(scalars) == expected, "\(scalars.map { String($0, radix: 16) })")
    }
  }
}
