import TamisCore
import Testing

@testable import TamisText

/// Small vocabularies of our own against what `tokenizers` and `sentencepiece` make of them
/// (Tests/golden/tokenizers/make_golden.py).
@Suite struct GoldenTokenizerTests {
  @Test(arguments: ["bert", "xlmr", "llama3", "gemma", "word_level"])
  func tokenizerJSON(_ name: String) throws {
    let tokenizer = try Tokenizer(path: golden("\(name).json"))
    let cases = try goldenCases(name)
    #expect(cases.count > 80)
    for one in cases {
      let text = try #require(one["text"]?.string)
      let pair = one["pair"]?.string
      let encoding = try pair.map { try tokenizer.encode(text, pair: $0) } ?? tokenizer.encode(text)
      #expect(encoding.ids == integers(one["ids"]), "\(text)")
      #expect(encoding.types == integers(one["types"]), "\(text)")
      if pair == nil {
        #expect(encoding.starts == integers(one["starts"]), "\(text)")
        #expect(encoding.ends == integers(one["ends"]), "\(text)")
        #expect(encoding.words == integers(one["words"]), "\(text)")
        #expect(try tokenizer.count(text) == encoding.count)
      }
      let decoded = tokenizer.decode(encoding.ids, skipSpecialTokens: true)
      #expect(decoded == Array(try #require(one["decoded"]?.string).utf8), "\(text)")
    }
  }

  @Test(arguments: ["sp_unigram", "sp_bpe"])
  func sentencePiece(_ name: String) throws {
    let tokenizer = try Tokenizer(path: golden("\(name).model"))
    for one in try goldenCases(name) {
      let text = try #require(one["text"]?.string)
      let encoding = try tokenizer.encode(text)
      #expect(encoding.ids == integers(one["ids"]), "\(text)")
      let decoded = tokenizer.decode(encoding.ids, skipSpecialTokens: true)
      #expect(decoded == Array(try #require(one["decoded"]?.string).utf8), "\(text)")
    }
  }

  @Test(arguments: ["bert", "xlmr", "llama3", "gemma", "word_level"])
  func streamsAreTheWhole(_ name: String) throws {
    let tokenizer = try Tokenizer(path: golden("\(name).json"))
    for one in try goldenCases(name) {
      let ids = integers(one["ids"])
      for skip in [true, false] {
        var stream = StreamingDecoder(tokenizer, skipSpecialTokens: skip)
        var out: [UInt8] = []
        for id in ids {
          let text = stream.push(id)
          #expect(String(validating: text, as: UTF8.self) != nil)
          out += text
        }
        out += stream.finish()
        #expect(out == tokenizer.decode(ids, skipSpecialTokens: skip))
      }
    }
  }

  @Test func idsAndPieces() throws {
    let tokenizer = try Tokenizer(path: golden("bert.json"))
    #expect(tokenizer.unknownId == 1)
    #expect(tokenizer.padId == 0)
    #expect(tokenizer.kind == .wordPiece)
    #expect(tokenizer.specialIds == [0, 1, 2, 3, 4])
    #expect(tokenizer.template.prefix == [2] && tokenizer.template.suffix == [3])
    for id in 0..<Int32(tokenizer.vocabularySize) {
      let piece = try #require(tokenizer.piece(id))
      #expect(tokenizer.id(of: piece) == id)
    }
    #expect(tokenizer.piece(Int32(tokenizer.vocabularySize)) == nil)
    #expect(tokenizer.piece(-1) == nil)
    #expect(tokenizer.id(of: Array("no such piece".utf8)) == nil)
  }

  @Test func untrustedTextHasNoSpecialTokens() throws {
    let tokenizer = try Tokenizer(path: golden("llama3.json"))
    let special = try #require(tokenizer.id(of: Array("<|eot_id|>".utf8)))
    let text = "a<|eot_id|>b"
    #expect(try tokenizer.encode(text).ids.contains(special))
    let plain = try tokenizer.encode(text, EncodeOptions(parseSpecialTokens: false))
    #expect(!plain.ids.contains(special))
    #expect(tokenizer.decode(plain.ids, skipSpecialTokens: true) == Array(text.utf8))
  }

  @Test func anyBytesComeBackFromByteLevelTokens() throws {
    let tokenizer = try Tokenizer(path: golden("llama3.json"))
    var random = SplitMix(3)
    for _ in 0..<300 {
      let scalars = (0..<random.below(40)).map { _ in
        Unicode.Scalar(UInt32(random.below(random.below(3) == 0 ? 0x11_0000 : 0x800))) ?? "\u{fffd}"
      }
      let text = String(String.UnicodeScalarView(scalars))
      let ids = try tokenizer.encode(text).ids
      #expect(tokenizer.decode(ids, skipSpecialTokens: true) == Array(text.utf8))
    }
  }

  @Test func illFormedTextIsReplacementCharactersWithItsBytes() throws {
    let tokenizer = try Tokenizer(path: golden("llama3.json"))
    // E2 82 is the start of a character; FF is none.
    let given: [UInt8] = [0x61, 0xff, 0x62, 0xe2, 0x82, 0x63]
    let encoding = try given.withUnsafeBufferPointer { try tokenizer.encode($0, EncodeOptions(addSpecialTokens: false)) }
    let repaired = try tokenizer.encode("a\u{fffd}b\u{fffd}c", EncodeOptions(addSpecialTokens: false))
    #expect(encoding.ids == repaired.ids)
    #expect(encoding.starts.first == 0 && encoding.ends.last == 6)
    let at = try #require(encoding.starts.firstIndex(of: 1))
    #expect(encoding.ends[at] == 2)
    #expect(encoding.starts.contains(3) && encoding.ends.contains(5))
  }

  @Test func cuts() throws {
    let tokenizer = try Tokenizer(path: golden("bert.json"))
    let text = "the library keeps the tokens"
    let whole = try tokenizer.encode(text).ids
    for most in 2...whole.count {
      let cut = try tokenizer.encode(text, EncodeOptions(maxTokens: most)).ids
      #expect(cut == whole.prefix(most - 1) + [3])
    }
    #expect(throws: TamisError.self) { try tokenizer.encode(text, EncodeOptions(maxTokens: 1)) }
    // longest_first of the peer: the shorter text stays whole while it can.
    #expect(Tokenizer.longestFirst(10, 3, 8) == (5, 3))
    #expect(Tokenizer.longestFirst(3, 10, 8) == (3, 5))
    #expect(Tokenizer.longestFirst(9, 10, 7) == (3, 4))
  }

  @Test func addedTokens() throws {
    let base = try Tokenizer(path: golden("bert.json"))
    let size = Int32(base.vocabularySize)
    let tokenizer = try base.adding([
      TokenToAdd(Array("<a>".utf8), leftStrip: true, rightStrip: true), TokenToAdd(Array("<a><b>".utf8)),
      TokenToAdd(Array("zzq".utf8), special: false, singleWord: true), TokenToAdd(Array("[MASK]".utf8)),
    ])
    #expect(tokenizer.vocabularySize == Int(size) + 3)
    let options = EncodeOptions(addSpecialTokens: false)
    let encoding = try tokenizer.encode("x  <a>  y<a><b>", options)
    #expect(encoding.ids.contains(size) && encoding.ids.last == size + 1)
    let at = try #require(encoding.ids.firstIndex(of: size))
    #expect(encoding.starts[at] == 1 && encoding.ends[at] == 8)
    #expect(try tokenizer.encode("a zzq b", options).ids.contains(size + 2))
    #expect(try !tokenizer.encode("a zzqer b", options).ids.contains(size + 2))
    #expect(try !tokenizer.encode("a re_zzq b", options).ids.contains(size + 2))
    #expect(base.vocabularySize == Int(size))
    #expect(throws: TamisError.self) { try base.adding([""], special: true) }
  }

  @Test func emptyTextGivesTheTemplateAlone() throws {
    for name in ["bert", "xlmr", "llama3", "gemma"] {
      let tokenizer = try Tokenizer(path: golden("\(name).json"))
      let encoding = try tokenizer.encode("")
      #expect(encoding.ids == tokenizer.template.prefix + tokenizer.template.suffix)
      #expect(encoding.words.allSatisfy { $0 == -1 })
      #expect(tokenizer.decode([], skipSpecialTokens: true).isEmpty)
    }
  }

  @Test func manyThreadsShareOneTokenizer() async throws {
    let tokenizer = try Tokenizer(path: golden("xlmr.json"))
    let texts = try goldenCases("xlmr").compactMap { $0["text"]?.string }
    let expected = try texts.map { try tokenizer.encode($0) }
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 {
        group.addTask { try texts.map { try tokenizer.encode($0) } == expected }
      }
      for try await same in group { #expect(same) }
    }
  }
}
