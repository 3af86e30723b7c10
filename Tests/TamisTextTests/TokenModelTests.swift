import TamisCore
import Testing

@testable import TamisText

/// The models against what their definitions say, in plain loops.
@Suite struct TokenModelTests {
  private static let letters = Array("abc".utf8)

  private func tokens(_ model: any TokenModel, _ text: [UInt8]) throws -> [(id: Int32, start: Int32, end: Int32)] {
    let buffer = TokenBuffer()
    let scratch = ModelScratch()
    for _ in 0..<2 {  // the second time from the cache
      buffer.clear()
      let slices = [TextSlice(start: 0, end: Int32(text.count))]
      try text.withUnsafeBufferPointer { text in
        try slices.withUnsafeBufferPointer { slices in
          try model.tokenize(text.baseAddress!, count: text.count, slices, into: buffer, scratch)
        }
      }
    }
    return (0..<buffer.count).map { (buffer.ids[$0], buffer.starts[$0], buffer.ends[$0]) }
  }

  private func randomText(_ random: inout SplitMix, _ n: Int) -> [UInt8] { (0..<n).map { _ in Self.letters[random.below(3)] } }

  // MARK: BPE

  /// A vocabulary of random merges: every pair of pieces may merge, at a rank that is its place in the list.
  private func randomMerges(_ random: inout SplitMix, _ count: Int) throws -> (Vocabulary, [(Int32, Int32, Int32)]) {
    let vocabulary = Vocabulary()
    for (id, letter) in Self.letters.enumerated() { try vocabulary.add(id, [letter]) }
    var merges: [(Int32, Int32, Int32)] = []
    while merges.count < count {
      let left = Int32(random.below(vocabulary.size))
      let right = Int32(random.below(vocabulary.size))
      let whole = vocabulary.piece(Int(left))! + vocabulary.piece(Int(right))!
      if merges.contains(where: { $0.0 == left && $0.1 == right }) || whole.count > 9 { continue }
      if vocabulary.id(whole) == nil { try vocabulary.add(vocabulary.size, whole) }
      merges.append((left, right, vocabulary.id(whole)!))
    }
    return (vocabulary, merges)
  }

  /// The definition: look for the merge of the lowest rank anywhere, apply it at its leftmost place, start over.
  private func plainBPE(_ text: [UInt8], _ vocabulary: Vocabulary, _ merges: [(Int32, Int32, Int32)]) -> [Int32] {
    var symbols = text.map { vocabulary.id([$0])! }
    again: while true {
      for (left, right, result) in merges {
        for i in 0..<max(symbols.count - 1, 0) where symbols[i] == left && symbols[i + 1] == right {
          symbols.replaceSubrange(i...i + 1, with: [result])
          continue again
        }
      }
      return symbols
    }
  }

  @Test func mergesTheLowestRankFirst() throws {
    var random = SplitMix(11)
    for round in 0..<12 {
      let (vocabulary, merges) = try randomMerges(&random, 10 + 3 * round)
      var builder = MergeTable.Builder(vocabulary, prefixLength: 0, expecting: merges.count)
      for (left, right, _) in merges {
        let l = vocabulary.piece(Int(left))!
        try builder.add(l + [0x20] + vocabulary.piece(Int(right))!, l.count)
      }
      let model = BPE(vocabulary, builder.table, BPE.Options())
      // Short, by parts, and long enough for the heap.
      for n in [1, 2, 5, 14, 31, 40, 95, 97, 300] {
        let text = randomText(&random, n)
        let found = try tokens(model, text)
        #expect(found.map(\.id) == plainBPE(text, vocabulary, merges))
        #expect(found.first?.start == 0 && found.last?.end == Int32(n))
        #expect(zip(found, found.dropFirst()).allSatisfy { $0.end == $1.start })
      }
    }
  }

  @Test func heapAndScanAgree() throws {
    var random = SplitMix(5)
    let (vocabulary, merges) = try randomMerges(&random, 40)
    let table = MergeTable(expecting: 8)
    for (rank, merge) in merges.enumerated() { table.insert(merge.0, merge.1, rank: UInt32(rank / 2), result: merge.2) }
    for n in [97, 150, 1000] {
      let text = randomText(&random, n)
      func merged(_ pad: Int) -> [Int32] {
        let work = MergeScratch(capacity: n + pad)
        for (i, letter) in text.enumerated() { work.add(vocabulary.id([letter])!, i, i + 1) }
        // A symbol that merges with nothing makes the list long without changing the rest.
        for i in 0..<pad { work.add(999, n + i, n + i + 1) }
        work.merge(table)
        return (0..<work.count).map { work.ids[$0] }.filter { $0 != 999 }
      }
      var plain = text.map { vocabulary.id([$0])! }
      again: while true {
        var best: (rank: UInt32, at: Int, result: Int32)?
        for i in 0..<plain.count - 1 {
          let (rank, result) = table.find(plain[i], plain[i + 1])
          if rank != MergeTable.never, rank < best?.rank ?? .max { best = (rank, i, result) }
        }
        guard let best else { break again }
        plain.replaceSubrange(best.at...best.at + 1, with: [best.result])
      }
      #expect(merged(0) == plain)
      #expect(merged(200) == plain)
    }
  }

  @Test func unknownScalars() throws {
    func ids(_ options: String, _ text: String) throws -> [Int32] {
      let bytes = (0..<256).map { "\"<0x\(hex($0))>\": \($0 + 10)" }.joined(separator: ",")
      let tokenizer = try Tokenizer(
        json: """
          {"model": {"type": "BPE", "vocab": {"<unk>": 0, "a": 1, \(bytes)}, "merges": [], \(options)}}
          """)
      return try tokenizer.encode(text).ids
    }
    #expect(try ids(#""unk_token": "<unk>", "fuse_unk": false"#, "aéßa") == [1, 0, 0, 1])
    #expect(try ids(#""unk_token": "<unk>", "fuse_unk": true"#, "aéßa") == [1, 0, 1])
    #expect(try ids(#""unk_token": null"#, "aéßa") == [1, 1])
    #expect(try ids(#""unk_token": "<unk>", "byte_fallback": true"#, "é") == [0xc3 + 10, 0xa9 + 10])
  }

  private func hex(_ byte: Int) -> String {
    let text = String(byte, radix: 16, uppercase: true)
    return text.count == 1 ? "0" + text : text
  }

  @Test func aLongWordTakesNoLongTime() throws {
    let tokenizer = try Tokenizer(path: golden("gemma.json"))
    let text = [UInt8](repeating: UInt8(ascii: "a"), count: 2_000_000)
    let encoding = try text.withUnsafeBufferPointer { try tokenizer.encode($0) }
    #expect(encoding.ends.last == 2_000_000)
  }

  // MARK: WordPiece

  @Test func longestPieceFirst() throws {
    let vocabulary = Vocabulary()
    for (id, piece) in ["[UNK]", "un", "una", "##ffa", "##f", "##ble", "##ffable", "é", "##é", "##x"].enumerated() {
      try vocabulary.add(id, Array(piece.utf8))
    }
    let model = WordPiece(vocabulary, WordPiece.Options())
    func ids(_ word: String) throws -> [Int32] { try tokens(model, Array(word.utf8)).map(\.id) }
    #expect(try ids("unaffable") == [2, 6])
    #expect(try ids("unaffa") == [2, 3])
    #expect(try ids("unaf") == [2, 4])
    #expect(try ids("unafg") == [0])
    #expect(try ids("éxé") == [7, 9, 8])
    // A byte of a scalar is no place to cut: "##\u{c3}" cannot match.
    #expect(try ids("unß") == [0])
    #expect(try ids("é" + String(repeating: "x", count: 99)).count == 100)
    #expect(try ids("é" + String(repeating: "x", count: 100)) == [0])
  }

  @Test func wordPieceIsTheGreedySearch() throws {
    var random = SplitMix(8)
    let vocabulary = Vocabulary()
    try vocabulary.add(0, Array("[UNK]".utf8))
    while vocabulary.size < 60 {
      let piece = (random.below(2) == 0 ? Array("##".utf8) : []) + randomText(&random, 1 + random.below(4))
      if vocabulary.id(piece) == nil { try vocabulary.add(vocabulary.size, piece) }
    }
    let model = WordPiece(vocabulary, WordPiece.Options())
    for n in 1..<40 {
      let word = randomText(&random, n)
      var expected: [Int32] = []
      var at = 0
      search: while at < n {
        for end in stride(from: n, to: at, by: -1) {
          if let id = vocabulary.id((at > 0 ? Array("##".utf8) : []) + word[at..<end]) {
            expected.append(id)
            at = end
            continue search
          }
        }
        expected = [0]
        break
      }
      #expect(try tokens(model, word).map(\.id) == expected)
    }
  }

  // MARK: Unigram

  /// Long texts, unknown runs and pieces across the borders of parts included.
  @Test func unigramInPartsIsUnigram() throws {
    var random = SplitMix(22)
    for round in 0..<40 {
      let vocabulary = Vocabulary()
      var scores: [Double] = [0]
      try vocabulary.add(0, Array("<unk>".utf8))
      while vocabulary.size < 4 + round {
        let piece = randomText(&random, 1 + random.below(5))
        if vocabulary.id(piece) != nil { continue }
        try vocabulary.add(vocabulary.size, piece)
        scores.append(-Double(random.below(5)))
      }
      var options = Unigram.Options(unknownId: 0, sentencePiece: round % 2 == 0)
      let whole = Unigram(vocabulary, scores: scores, unknownScore: -12, options)
      options.part = 1
      let parts = Unigram(vocabulary, scores: scores, unknownScore: -12, options)
      for n in [19, 21, 40, 100, 1000] {
        let text = randomText(&random, n)
        let (a, b) = (try tokens(whole, text), try tokens(parts, text))
        #expect(a.map(\.id) == b.map(\.id) && a.map(\.start) == b.map(\.start) && a.map(\.end) == b.map(\.end))
      }
    }
  }

  @Test func unigramTakesTheBestPath() throws {
    var random = SplitMix(21)
    for _ in 0..<30 {
      let vocabulary = Vocabulary()
      var scores: [Double] = [0]
      try vocabulary.add(0, Array("<unk>".utf8))
      while vocabulary.size < 14 {
        let piece = randomText(&random, 1 + random.below(3))
        if vocabulary.id(piece) != nil { continue }
        try vocabulary.add(vocabulary.size, piece)
        scores.append(-Double(random.below(800)) / 100)
      }
      let unknown = scores.min()! - 10
      let model = Unigram(vocabulary, scores: scores, unknownScore: unknown, Unigram.Options(unknownId: 0))
      for n in 1...10 {
        let text = randomText(&random, n)
        func best(_ at: Int) -> Double {
          if at == n { return 0 }
          var top = -Double.infinity
          for end in at + 1...min(at + 3, n) {
            if let id = vocabulary.id(Array(text[at..<end])) { top = max(top, scores[Int(id)] + best(end)) }
          }
          if vocabulary.id([text[at]]) == nil { top = max(top, unknown + best(at + 1)) }
          return top
        }
        let score = try tokens(model, text).reduce(0.0) {
          $0 + ($1.id == 0 ? unknown * Double($1.end - $1.start) : scores[Int($1.id)])
        }
        #expect(abs(score - best(0)) < 1e-9)
      }
    }
  }

  @Test func tiesKeepTheLongestLastPiece() throws {
    let tokenizer = try Tokenizer(
      json: #"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1], ["aa", -2], ["aaa", -3.0]]}}"#)
    #expect(try tokenizer.encode("aaa").ids == [3])
    #expect(try tokenizer.encode("xxaayy").ids == [0, 2, 0])  // unknowns beside each other are one
  }

  // MARK: trie

  @Test func doubleArrayHoldsItsKeys() throws {
    var random = SplitMix(2)
    var keys: Set<[UInt8]> = []
    while keys.count < 5000 {
      keys.insert((0..<1 + random.below(6)).map { _ in UInt8(random.below(random.below(2) == 0 ? 4 : 256)) })
    }
    let list = Array(keys)
    let blob = list.flatMap { $0 }
    let trie = blob.withUnsafeBufferPointer { blob in
      var at = 0
      return DoubleArray(
        list.enumerated().map { i, key in
          defer { at += key.count }
          return (UnsafeBufferPointer(rebasing: blob[at..<at + key.count]), Int32(i))
        })
    }
    for _ in 0..<5000 {
      let text = (0..<8).map { _ in UInt8(random.below(random.below(2) == 0 ? 4 : 256)) }
      let expected = (1...8).reversed().first { keys.contains(Array(text[..<$0])) }
      let found = text.withUnsafeBufferPointer { trie.longestMatch($0.baseAddress!, 8) }
      #expect(found?.length == expected)
      if let found { #expect(list[Int(found.value)] == Array(text[..<found.length])) }
    }
    for (i, key) in list.enumerated() {
      let found = key.withUnsafeBufferPointer { trie.longestMatch($0.baseAddress!, key.count) }
      #expect(found?.length == key.count && found?.value == Int32(i))
    }
  }
}
