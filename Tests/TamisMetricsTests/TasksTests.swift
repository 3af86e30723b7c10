import TamisCore
import Testing

@testable import TamisMetrics

@Suite struct MersenneTwisterTests {
  /// Outputs of CPython's random.Random(seed).getrandbits(32), which are the reference implementation's for init_by_array.
  static let words: [(seed: UInt64, first: [UInt32])] = [
    (0, [3_626_764_237, 1_654_615_998, 3_255_389_356, 3_823_568_514, 1_806_341_205]),
    (42, [2_746_317_213, 478_163_327, 107_420_369, 3_184_935_163, 1_181_241_943]),
    (1 << 40, [445_128_065, 1_517_081_360, 2_880_015_531, 282_029_048, 1_832_466_665]),
  ]

  @Test(arguments: 0..<3) func wordsAreThoseOfPython(_ i: Int) {
    var random = MersenneTwister(seed: Self.words[i].seed)
    #expect(Self.words[i].first.map { _ in random.word() } == Self.words[i].first)
  }

  /// random.Random(5): shuffle(list(range(10))), sample(range(1000), 7), sample(range(20), 7), randrange(2 ** 40).
  @Test func drawsAreThoseOfPython() {
    var random = MersenneTwister(seed: 5)
    var items = Array(0..<10)
    random.shuffle(&items)
    #expect(items == [2, 3, 1, 0, 8, 7, 6, 5, 4, 9])
    #expect(random.sample(1000, 7) == [664, 53, 922, 160, 115, 380, 480])
    #expect(random.sample(20, 7) == [7, 12, 17, 3, 19, 0, 11])
    #expect(random.below(1 << 40) == 894_284_044_962)
    #expect(random.below(1) == 0)
  }

  @Test func samplesDiffer() {
    var random = MersenneTwister(seed: 9)
    for (n, count) in [(1, 1), (21, 5), (22, 5), (300, 300), (5000, 40)] {
      let drawn = random.sample(n, count)
      #expect(Set(drawn).count == count && drawn.allSatisfy { (0..<n).contains($0) })
    }
  }
}

@Suite struct NeedleTaskTests {
  @Test func theExampleRow() throws {
    let task = try NeedleTask(NeedleOptions())
    let text = String(decoding: task.haystack, as: UTF8.self)
    #expect(text.hasPrefix("{\"e3e70682-c209-4cac-629f-6fbed82c07cd\": \"f728b4fa-4248-5e3a-0a5d-2f346baa9455\",\n\"eb1167b3"))
    #expect(text.hasSuffix("\"964a870c-7c87-9b74-1d87-8f9f9cdf5a86\"}") && text.utf8.count == 2000)
    #expect(String(decoding: task.answers[0], as: UTF8.self) == "1759edc3-72ae-2244-8b01-63c1cd9d2b7d")
  }

  @Test(arguments: [ThreadDirection.forward, .backward, .random])
  func chainsLeadToTheirAnswers(_ direction: ThreadDirection) throws {
    var options = NeedleOptions()
    (options.kind, options.pairs, options.direction) = (.multiThreading, 60, direction)
    (options.threads, options.threadLength) = (5, 9)
    let task = try NeedleTask(options)
    var table: [ArraySlice<UInt8>: ArraySlice<UInt8>] = [:]
    for pair in 0..<60 {
      let at = 80 * pair
      table[task.haystack[at + 2..<at + 38]] = task.haystack[at + 42..<at + 78]
    }
    for (t, (key, answer)) in zip(task.keys, task.answers).enumerated() {
      var end = key[...]
      for _ in 0..<9 { end = table[end] ?? [] }
      #expect(Array(end) == answer)
      let chain = Array(task.positions[9 * t..<9 * (t + 1)])
      if direction == .forward { #expect(chain == chain.sorted()) }
      if direction == .backward { #expect(chain == chain.sorted(by: >)) }
    }
  }

  @Test func repliesAreRead() throws {
    func values(_ text: String) -> [String] {
      NeedleReply.values(Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }
    #expect(values(#"here: ["a", 'b',c ] d"#) == ["a", "b", "c"])
    #expect(values("a,\n b\r\n\n\"c\"") == ["a", "b", "c"])
    #expect(values("[,\"\",]") == [] && values("") == [] && values("[") == [])
    #expect(String(decoding: NeedleReply.literal(Array("\u{3000}'x\" ".utf8)[...]), as: UTF8.self) == "'x\"")
  }

  @Test func badOptions() {
    func fails(_ word: String, _ change: (inout NeedleOptions) -> Void) {
      var options = NeedleOptions()
      change(&options)
      do {
        _ = try NeedleTask(options)
        Issue.record("no error for \(word)")
      } catch {
        #expect(error.status == .invalidArgument && error.message.contains(word))
      }
    }
    fails("pairs") { $0.pairs = 0 }
    fails("depth") { $0.depth = .nan }
    fails("needles") { ($0.kind, $0.needles) = (.multiple, 26) }
    fails("thread_length") { ($0.kind, $0.threadLength) = (.threading, 26) }
    fails("threads") { ($0.kind, $0.threads, $0.threadLength) = (.multiThreading, Int(Int32.max), Int(Int32.max)) }
    fails("conditional_character") { $0.conditionalCharacter = UInt8(ascii: "F") }
  }
}

@Suite struct TokenStatisticsTests {
  static func statistics(_ text: String, _ tokens: [(id: Int32, start: Int32, end: Int32)]) throws -> TokenStatistics {
    var statistics = TokenStatistics(unknownID: 0)
    let (ids, starts, ends) = (tokens.map(\.id), tokens.map(\.start), tokens.map(\.end))
    try Array(text.utf8).withUnsafeBufferPointer { text in
      try ids.withUnsafeBufferPointer { ids in
        try starts.withUnsafeBufferPointer { starts in
          try ends.withUnsafeBufferPointer { try statistics.add(text, ids: ids, starts: starts, ends: $0) }
        }
      }
    }
    return statistics
  }

  @Test func wordsAndTheirTokens() throws {
    let found = try Self.statistics("of the  cats\n", [(5, 0, 6), (0, 6, 11), (5, 11, 12), (7, 12, 13)]).sums
    #expect(found.words == 3 && found.continuedWords == 1 && found.wholeWords == 1 && found.unknownTokens == 1)
  }

  @Test func failureCountsNothing() throws {
    var statistics = TokenStatistics()
    let (ids, starts, ends): ([Int32], [Int32], [Int32]) = ([1, 2], [0, 1], [1, 9])
    try [UInt8]("ab".utf8).withUnsafeBufferPointer { text in
      try ids.withUnsafeBufferPointer { ids in
        try starts.withUnsafeBufferPointer { starts in
          try ends.withUnsafeBufferPointer { ends in
            #expect(throws: TamisError.self) { try statistics.add(text, ids: ids, starts: starts, ends: ends) }
          }
        }
      }
    }
    #expect(statistics.sums == TokenSums() && statistics.counts.isEmpty && statistics.lengths.isEmpty)
  }

  @Test func entropies() {
    let counts = [8, 4, 2, 2]
    #expect(abs(TokenEntropy.renyi(counts, alpha: 1) - 1.75) < 1e-15)
    #expect(abs(TokenEntropy.renyi(counts, alpha: 0) - 2) < 1e-15)
    #expect(abs(TokenEntropy.renyi(counts, alpha: .infinity) - 1) < 1e-15)
    // Falls as the order rises, between them.
    let orders = [0, 0.3, 0.999, 1, 1.001, 2.5, 3, 90, 1e6, .infinity].map { TokenEntropy.renyi(counts, alpha: $0) }
    for (a, b) in zip(orders, orders.dropFirst()) { #expect(a >= b - 1e-9) }
    #expect(TokenEntropy.renyi([], alpha: 2).isNaN && TokenEntropy.renyi([5], alpha: 2) == 0)
  }
}
