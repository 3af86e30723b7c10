import TamisCore
import Testing

@Suite struct JSONTests {
  private func parse(_ text: String, maxDepth: Int = 64) -> JSON? { parse(Array(text.utf8), maxDepth: maxDepth) }
  private func parse(_ bytes: [UInt8], maxDepth: Int = 64) -> JSON? {
    bytes.withUnsafeBytes { raw in
      do throws(TamisError) {
        return try JSON(raw, maxDepth: maxDepth)
      } catch {
        #expect(error.status == .format && error.message.contains("byte"))
        return nil
      }
    }
  }

  @Test func values() {
    #expect(parse(" null ") == .null)
    #expect(parse("true") == .bool(true))
    #expect(parse("[false,\t-0, 12]\n") == .array([.bool(false), .integer(0), .integer(12)]))
    #expect(parse("9223372036854775807") == .integer(.max))
    #expect(parse("-9223372036854775808") == .integer(.min))
    #expect(parse("1.5e3") == .number(1500))
    #expect(parse("[]") == .array([]))
    #expect(parse("{ }") == .object([]))
    let object = parse("{\"b\": [1, {\"c\": null}], \"a\": \"x\"}")
    #expect(object?["b"]?.array?[1]["c"] == .null)
    #expect(object?["a"]?.string == "x")
    #expect(object?["z"] == nil)
    #expect(object?.object?.map(\.name) == ["b", "a"])
  }

  @Test func strings() {
    #expect(parse(#""a\"\\\/\b\f\n\r\t""#) == .string("a\"\\/\u{8}\u{c}\n\r\t"))
    #expect(parse(#""\u00e9\u4F60\ud83d\ude00""#) == .string("é你😀"))
    #expect(parse("\"é你😀\"") == .string("é你😀"))
    #expect(parse(#""\u0000""#) == .string("\0"))
  }

  @Test(arguments: [
    "", " ", "nul", "tru", "{", "[", "[1", "[1,", "[1,]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{\"a\":1 \"b\":2}",
    "1 2", "[1]]",
    "01", "-", "-01", "1.", ".5", "1e", "1e+", "+1", "0x1", "NaN", "Infinity", "1e400", "9223372036854775808",
    "99999999999999999999",
    "\"", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\ude00\"", "\"\n\"",
    "'a'",
    "{\"a\":1,\"a\":2}", "{\"\\u0061\":1,\"a\":2}", "// x\n1", "\u{feff}1", "\u{a0}1",
  ]) func refused(text: String) { #expect(parse(text) == nil) }

  @Test func bytesThatAreNotUTF8() {
    for bytes in [[0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]] as [[UInt8]] {
      #expect(parse([0x22] + bytes + [0x22]) == nil)
    }
  }

  @Test func depthIsBounded() {
    func nested(_ n: Int) -> String { String(repeating: "[", count: n) + String(repeating: "]", count: n) }
    #expect(parse(nested(64)) != nil)
    #expect(parse(nested(65)) == nil)
    #expect(parse(String(repeating: "[", count: 1_000_000)) == nil)
    #expect(parse(String(repeating: "{\"a\":", count: 5), maxDepth: 4) == nil)
  }
}
