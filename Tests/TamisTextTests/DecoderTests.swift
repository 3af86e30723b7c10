import TamisCore
import Testing

@testable import TamisText

@Suite struct DecoderTests {
  private func decoded(_ decoder: String?, _ pieces: [String]) throws -> String {
    let json = try decoder.map { text in
      try Array(text.utf8).withUnsafeBytes { try JSON($0) }
    }
    var run = try DecoderChain(json).run()
    var out: [UInt8] = []
    for piece in pieces { run.add(Array(piece.utf8), into: &out) }
    run.finish(into: &out)
    return String(decoding: out, as: UTF8.self)
  }

  // Expected texts are what tokenizers 0.23.3 gives for the same pieces.
  @Test func eachDecoder() throws {
    #expect(try decoded(nil, ["a", "b"]) == "a b")
    #expect(try decoded("null", ["a"]) == "a")
    #expect(try decoded(#"{"type": "ByteLevel"}"#, ["Ġthe", "Ã", "©"]) == " theé")
    #expect(try decoded(#"{"type": "ByteLevel"}"#, ["Ã", "a"]) == "\u{fffd}a")
    #expect(try decoded(#"{"type": "ByteLevel"}"#, ["漢", "a"]) == "漢a")
    #expect(
      try decoded(
        ####"{"type": "WordPiece", "prefix": "##", "cleanup": true}"####, ["do", "not", "go", "##ing", ".", "it", "'s"])
        == "do not going. it's")
    #expect(
      try decoded(####"{"type": "WordPiece", "prefix": "##", "cleanup": false}"####, ["##a", "##b", "."]) == "##ab .")
    let metaspace = #"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#
    #expect(try decoded(metaspace, ["▁Hello", "▁▁world"]) == "Hello  world")
    #expect(try decoded(metaspace.replacing("always", with: "never"), ["▁Hello"]) == " Hello")
    #expect(try decoded(#"{"type": "ByteFallback"}"#, ["<0xC3>", "<0xA9>", "x", "<0xE2>", "<0x82>"]) == "éx\u{fffd}\u{fffd}")
    #expect(try decoded(#"{"type": "ByteFallback"}"#, ["<0xc3>", "<0xa9>", "<0xGG>"]) == "é<0xGG>")
    #expect(try decoded(#"{"type": "BPEDecoder", "suffix": "</w>"}"#, ["he", "llo</w>", "you</w>"]) == "hello you")
    #expect(try decoded(#"{"type": "Strip", "content": "_", "start": 1, "stop": 2}"#, ["__a___", "_"]) == "_a_")
    let llama = """
      {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
       {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
      """
    #expect(try decoded(llama, ["▁Hey", "▁<", "<0x0A>", "▁▁x"]) == "Hey <\n  x")
    #expect(try decoded(llama, ["a", "▁b"]) == "a b")
    let ends = """
      {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": "x", "start": 0, "stop": 2}]}
      """
    #expect(try decoded(ends, ["ax", "bx", "xx"]) == "axbx")
  }

  @Test func halfCharactersAreHeldBack() throws {
    var run = DecoderChain([.byteLevel]).run()
    var out: [UInt8] = []
    // 😀 is F0 9F 98 80
    let pieces = [0xf0, 0x9f, 0x98, 0x80].map { byte in
      var piece: [UInt8] = []
      ByteAlphabet.encode([UInt8(byte)], into: &piece)
      return piece
    }
    for piece in pieces.dropLast() {
      run.add(piece, into: &out)
      #expect(out.isEmpty)
    }
    run.add(pieces[3], into: &out)
    #expect(String(decoding: out, as: UTF8.self) == "😀")
    run.add(pieces[0], into: &out)
    run.finish(into: &out)
    #expect(String(decoding: out, as: UTF8.self) == "😀\u{fffd}")
  }

  /// Pieces that were taken back leave no trace, whatever a decoder holds.
  @Test func takingBack() throws {
    let chains = [
      #"{"type": "ByteLevel"}"#, #"{"type": "ByteFallback"}"#, #"{"type": "BPEDecoder", "suffix": "</w>"}"#,
      ####"{"type": "WordPiece", "prefix": "##", "cleanup": true}"####,
      #"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}"#, "null",
      """
      {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
       {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 1}]}
      """,
    ]
    let pieces = ["▁", "a", "##b", "<0xC3>", "<0xA9>", "</w>", "Ã", "©", "x</w>", "▁▁y", "", " "].map { Array($0.utf8) }
    var state: UInt64 = 7
    func random(_ n: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      return Int(state >> 40) % n
    }
    for chain in chains {
      let json = try Array(chain.utf8).withUnsafeBytes { try JSON($0) }
      var straight = try DecoderChain(json).run()
      var wavering = try DecoderChain(json).run()
      var expected: [UInt8] = []
      var found: [UInt8] = []
      for _ in 0..<400 {
        let mark = wavering.mark()
        var lost: [UInt8] = []
        for _ in 0..<random(3) { wavering.add(pieces[random(pieces.count)], into: &lost) }
        wavering.rollBack(to: mark)
        let piece = pieces[random(pieces.count)]
        straight.add(piece, into: &expected)
        wavering.add(piece, into: &found)
        #expect(found == expected)
      }
      straight.finish(into: &expected)
      wavering.finish(into: &found)
      #expect(found == expected)
    }
  }
}

extension String {
  fileprivate func replacing(_ old: String, with new: String) -> String {
    String(decoding: DecodeRun.replacing(Array(old.utf8), by: Array(new.utf8), in: Array(utf8)), as: UTF8.self)
  }
}
