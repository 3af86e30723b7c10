import TamisCore
import Testing

@testable import TamisText

/// Files that are wrong are refused with a sentence; whatever they say, nothing ends the process.
@Suite struct TokenizerReaderTests {
  private func refused(_ json: String, _ status: Status, _ words: String...) {
    do {
      _ = try Tokenizer(json: json)
      Issue.record("accepted: \(json.prefix(120))")
    } catch let error as TamisError {
      #expect(error.status == status, "\(error.message)")
      for word in words { #expect(error.message.contains(word), "\(error.message)") }
    } catch { Issue.record("\(error)") }
  }

  private func model(_ fields: String) -> String { #"{"model": {\#(fields)}}"# }
  private let wordLevel = #""type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]""#

  @Test func wrongFiles() {
    refused("", .format)
    refused("{}", .format, "no model")
    refused("[]", .format)
    refused("{\"model\": {}}", .format, "vocab")
    refused("{\"model\": {", .format)
    refused(#"{"version": "2.0"}"#, .unsupported, "2.0")
    refused(model(wordLevel) + "x", .format, "more text")
    refused(model(#""type": "WordLevel", "vocab": {"a": 0, "b": 0}"#), .format, "twice")
    refused(model(#""type": "WordLevel", "vocab": {"a": -1}"#), .format, "-1")
    refused(model(#""type": "WordLevel", "vocab": {"a": 99999999999}"#), .format)
    refused(model(#""type": "WordLevel", "vocab": {"a": 9999999999999999999999}"#), .format)
    refused(model(#""type": "WordLevel", "vocab": {"a": 1.5}"#), .format)
    refused(model(#""type": "WordLevel", "vocab": {"\ud800": 1}"#), .format, "surrogate")
    refused(model(#""type": "Unigram", "vocab": [["a", 1e999]]"#), .format)
    refused(model(#""type": "Unigram", "vocab": [["a", -1]], "unk_id": 1"#), .format, "unk_id")
    refused(model(#""type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]"#), .format, "ab")
    refused(model(#""type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a"]"#), .format)
    refused(model(#""type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "u""#), .format, "unk_token")
    refused(#"{"added_tokens": [{"content": "x"}], "model": {\#(wordLevel)}}"#, .format, "id")
    refused(#"{"added_tokens": [{"id": 1e9, "content": "x"}], "model": {\#(wordLevel)}}"#, .format)
  }

  @Test func whatIsNotImplementedIsNamed() {
    refused(model(#""type": "Morfessor", "vocab": {}"#), .unsupported, "Morfessor")
    refused(model(#""type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1"#), .unsupported, "dropout")
    refused(#"{"decoder": {"type": "CTC"}, "model": {\#(wordLevel)}}"#, .unsupported, "CTC")
    refused(#"{"normalizer": {"type": "Rot13"}, "model": {\#(wordLevel)}}"#, .unsupported, "Rot13")
    refused(#"{"pre_tokenizer": {"type": "UnicodeWizard"}, "model": {\#(wordLevel)}}"#, .unsupported, "UnicodeWizard")
    refused(#"{"post_processor": {"type": "Nothing"}, "model": {\#(wordLevel)}}"#, .unsupported, "Nothing")
    refused(
      #"{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}, "model": {\#(wordLevel)}}"#,
      .unsupported, "ByteLevel")
  }

  @Test func oldFilesHaveNoTypes() throws {
    #expect(try Tokenizer(json: model(#""vocab": {"a": 0}, "merges": []"#)).kind == .bpe)
    #expect(try Tokenizer(json: model(#""vocab": [["a", 0]], "unk_id": 0"#)).kind == .unigram)
    #expect(try Tokenizer(json: model(#""vocab": {"[UNK]": 0}, "max_input_chars_per_word": 9"#)).kind == .wordPiece)
    #expect(try Tokenizer(json: model(#""vocab": {"[UNK]": 0}, "unk_token": "[UNK]""#)).kind == .wordLevel)
  }

  @Test func mergesOfPiecesWithSpaces() throws {
    let tokenizer = try Tokenizer(
      json: model(#""type": "BPE", "vocab": {" ": 0, "a": 1, " a": 2, "  a": 3}, "merges": [[" ", "a"], [" ", " a"]]"#))
    #expect(try tokenizer.encode("  a").ids == [3])
  }

  /// A token with U+FFFD is found where the text is not UTF-8, and what is trimmed there is looked up in the bytes as given.
  @Test func trimmingTextThatIsNotUTF8() throws {
    let tokenizer = try Tokenizer(
      json: """
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
         "post_processor": {"type": "ByteLevel", "add_prefix_space": false},
         "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
         "added_tokens": [{"id": 1, "content": "\u{fffd}", "rstrip": true}]}
        """)
    let cases: [([UInt8], [Int32])] = [([0x61, 0xf7], [1, 2]), ([0x61, 0xff, 0x20], [1, 2]), ([0x61, 0xf0, 0x9f], [1, 3])]
    for (bytes, ends) in cases {
      let encoding = try bytes.withUnsafeBufferPointer { try tokenizer.encode($0) }
      #expect(encoding.ids == [0, 1])
      #expect(encoding.ends == ends)
    }
  }

  @Test func numbersAreThePeersNumbers() throws {
    func read(_ text: String) throws -> Double {
      let copy = Array((text + ",").utf8)
      return try copy.withUnsafeBufferPointer { bytes in
        var scanner = try JSONScanner(bytes)
        return try scanner.number()
      }
    }
    #expect(try read("-8.25") == -8.25)
    #expect(try read("0") == 0)
    #expect(try read("1e3") == 1000)
    #expect(try read("12.5E-1") == 1.25)
    #expect(try read("-0.0").sign == .minus)
    #expect(try read("1e-400") == 0)
    #expect(throws: TamisError.self) { try read("1e400") }
    #expect(throws: TamisError.self) { try read("x") }
    // One division, so within one unit of the last place of the exact value.
    let near = try read("-13.5298050000000004")
    #expect(abs(near + 13.529805) < 4e-15)
  }

  @Test func tiktoken() throws {
    // "a", "b", "ab" and the 253 other bytes.
    func line(_ bytes: [UInt8], _ rank: Int) -> String { "\(base64(bytes)) \(rank)\n" }
    var text = line([0x61], 0) + line([0x62], 1)
    var rank = 2
    for byte in UInt8.min...UInt8.max where byte != 0x61 && byte != 0x62 {
      text += line([byte], rank)
      rank += 1
    }
    text += line([0x61, 0x62], rank) + line([0x62, 0x61], rank + 1)
    let tokenizer = try Tokenizer(Array(text.utf8), .tiktoken, pattern: "cl100k_base")
    #expect(try tokenizer.encode("abab").ids == [Int32(rank), Int32(rank)])
    #expect(try tokenizer.encode("bab<|endoftext|>").ids == [1, Int32(rank), 100257])
    #expect(tokenizer.decode([0, 100257, 1], skipSpecialTokens: true) == [0x61, 0x62])
    #expect(throws: TamisError.self) { try Tokenizer(Array("YQ== x\n".utf8), .tiktoken, pattern: "cl100k_base") }
    #expect(throws: TamisError.self) { try Tokenizer(Array("!! 0\n".utf8), .tiktoken, pattern: "cl100k_base") }
    #expect(throws: TamisError.self) { try Tokenizer(Array("YQ== 0\n".utf8), .tiktoken) }
  }

  private func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var out = ""
    for at in stride(from: 0, to: bytes.count, by: 3) {
      let part = Array(bytes[at..<min(at + 3, bytes.count)])
      let word = (0..<3).reduce(0) { $0 << 8 | Int($1 < part.count ? part[$1] : 0) }
      for i in 0..<4 { out.append(i <= part.count ? digits[word >> (18 - 6 * i) & 63] : "=") }
    }
    return out
  }

  @Test func vocabularyText() throws {
    let lower = try Tokenizer(Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n##s\n".utf8), .vocabularyText)
    #expect(try lower.encode("HELLOs").ids == [2, 4, 5, 3])
    let cased = try Tokenizer(Array("[UNK]\nHello\nhello\n".utf8), .vocabularyText)
    #expect(try cased.encode("Hello hello HELLO").ids == [1, 2, 0])
    #expect(throws: TamisError.self) { try Tokenizer(Array("a\nb\n".utf8), .vocabularyText) }
  }

  @Test func damagedSentencePieceModels() throws {
    let file = try MappedFile(path: golden("sp_unigram.model"))
    let whole = withExtendedLifetime(file) { Array(file.bytes) }
    var random = SplitMix(4)
    var read = 0
    for _ in 0..<400 {
      var bytes = whole
      for _ in 0...random.below(4) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      if random.below(3) == 0 { bytes.removeLast(random.below(bytes.count)) }
      // Refused, or a tokenizer that can be used.
      guard let tokenizer = try? Tokenizer(bytes, .sentencePiece) else { continue }
      read += 1
      let ids = try tokenizer.encode("The library keeps  tokens <sep> \u{4e00}").ids
      _ = tokenizer.decode(ids, skipSpecialTokens: false)
    }
    #expect(read > 0)
    #expect(throws: TamisError.self) { try Tokenizer([], .sentencePiece) }
  }

  @Test func pathsThatAreNone() {
    for (path, status) in [
      ("/nonexistent", Status.notFound), ("/nonexistent/tokenizer.json", .notFound), ("", .invalidArgument),
    ] {
      do {
        _ = try Tokenizer(path: path)
        Issue.record("opened \(path)")
      } catch { #expect((error as? TamisError)?.status == status, "\(error)") }
    }
  }
}
