import Tamis
import Testing

@Suite struct DHSATests {
  private let backend = ReferenceBackend()

  private func input(_ q: Tensor, _ k: Tensor, window: Int = 0, offset: Int? = nil) -> SparseInput {
    var rule = AttentionRule(scale: 0.2)
    rule.window = window
    return SparseInput(
      q: q.view, k: k.view, rule: rule,
      mask: DenseMask(causal: true, queryOffset: offset ?? k.view.shape[1] - q.view.shape[1]))
  }

  private func random(_ seed: UInt64, queries: Int, keys: Int) -> (Tensor, Tensor) {
    var random = Random(seed)
    return (Tensor.normal([4, queries, 16], &random), Tensor.normal([2, keys, 16], &random))
  }

  private func select(_ method: DHSA, _ input: SparseInput) throws -> [[Int]] {
    try method.select(input, on: backend, progress: nil).rows.map { $0.map(Int.init) }
  }

  private func legal(_ input: SparseInput, _ block: Int, _ size: Int) -> Range<Int> {
    let last = min((block + 1) * size, input.queries) - 1
    let low = input.legal(block * size).lowerBound
    return low..<max(low, input.legal(last).upperBound)
  }

  /// The rule written as sets and sorts over a table of token scores.
  private func oracle(
    _ input: SparseInput, _ edges: [Int], block: Int, unit: Int, budget: Int, sinks: Int, local: Int, tail: Int,
    mean: Bool = false
  ) -> [[Int]] {
    let d = input.headDim
    let chunks = zip(edges, edges.dropFirst()).map { (a, b) -> [Double] in
      (0..<d).map { i in
        var sum = 0.0
        for g in 0..<input.kvHeads { for t in a..<b { sum += get(input.k, g, t, i) } }
        return sum / Double(input.kvHeads) / (mean ? Double(b - a) : Double(b - a).squareRoot())
      }
    }
    return (0..<(input.queries + block - 1) / block).map { b in
      let rows = b * block..<min((b + 1) * block, input.queries)
      let keys = legal(input, b, block)
      func units(_ range: Range<Int>) -> [Int] {
        range.isEmpty ? [] : Array(range.lowerBound / unit...(range.upperBound - 1) / unit)
      }
      if rows.upperBound > input.queries - tail || keys.count <= budget { return units(keys) }
      let query = (0..<d).map { i in
        var sum = 0.0
        for h in 0..<input.heads { for r in rows { sum += get(input.q, h, r, i) } }
        return sum
      }
      let first = min(sinks, budget / 4)
      let own = keys.upperBound - max(min(input.mask.queryOffset + rows.lowerBound, keys.upperBound), keys.lowerBound)
      let last = min(max(own, min(local, budget - first)), keys.count)
      var taken = Set(units(keys.lowerBound..<keys.lowerBound + first) + units(keys.upperBound - last..<keys.upperBound))
      let score = chunks.map { c in zip(c, query).reduce(0.0) { $0 + $1.0 * $1.1 } }
      let best = units(keys).map { u -> (Double, Int) in
        let tokens = max(u * unit, keys.lowerBound)..<min((u + 1) * unit, keys.upperBound)
        return (tokens.map { t in score[edges.lastIndex { $0 <= t }!] }.max()!, u)
      }
      for (_, u) in best.sorted(by: { $0 > $1 }) where taken.count < (budget + unit - 1) / unit { taken.insert(u) }
      return taken.sorted()
    }
  }

  @Test(arguments: [(0, nil), (70, nil), (0, 90)] as [(Int, Int?)])
  func againstTheRuleAsSets(_ window: Int, _ offset: Int?) throws {
    let (q, k) = random(21, queries: offset == nil ? 300 : 210, keys: 300)
    let input = input(q, k, window: window, offset: offset)
    let edges = [0, 3, 20, 21, 60, 61, 100, 140, 149, 150, 220, 280, 300]
    for (unit, granularity) in [(1, DHSA.Granularity.tokens), (8, .tiles), (32, .tiles)] {
      for (budget, block) in [(40, 16), (64, 32), (100, 64), (17, 10)] {
        let method = try DHSA(
          queryBlock: block, keyBlock: unit == 1 ? 32 : unit, granularity: granularity,
          chunks: .boundaries(edges.map(Int64.init)), pooling: budget == 64 ? .mean : .squareRoot, budget: .tokens(budget), sinks: 8, local: 24, instructionTokens: 20)
        let expected = oracle(
          input, edges, block: block, unit: unit, budget: budget, sinks: 8, local: 24, tail: 20, mean: budget == 64)
        #expect(try select(method, input) == expected)
      }
    }
  }

  @Test func aFullBudgetIsDense() throws {
    let (q, k) = random(22, queries: 130, keys: 130)
    for window in [0, 33] {
      let input = input(q, k, window: window)
      for budget in [DHSA.Budget.all, .tokens(130), .tokens(5000), .density(1)] {
        for granularity in [DHSA.Granularity.tiles, .tokens] {
          let method = try DHSA(
            queryBlock: 32, keyBlock: 16, granularity: granularity, chunks: .boundaries((0...130).map(Int64.init)),
            budget: budget, instructionTokens: 0)
          for (b, row) in try select(method, input).enumerated() {
            let keys = legal(input, b, 32)
            let unit = method.keyBlock
            #expect(row == Array(keys.lowerBound / unit...(keys.upperBound - 1) / unit))
          }
        }
      }
    }
  }

  @Test func listsHoldTheDiagonalAndNothingIllegal() throws {
    let (q, k) = random(23, queries: 257, keys: 300)
    for (window, budget) in [(0, 4), (40, 30), (0, 60)] {
      let input = input(q, k, window: window)
      for granularity in [DHSA.Granularity.tiles, .tokens] {
        let method = try DHSA(
          queryBlock: 24, keyBlock: 8, granularity: granularity, budget: .tokens(budget), sinks: 8, local: 16,
          instructionTokens: 10)
        for (b, row) in try select(method, input).enumerated() {
          #expect(row == Set(row).sorted())
          let keys = legal(input, b, 24)
          for u in row { #expect(u * method.keyBlock < keys.upperBound && (u + 1) * method.keyBlock > keys.lowerBound) }
          for i in b * 24..<min((b + 1) * 24, 257) {
            #expect(row.contains((i + 43) / method.keyBlock), "a query without itself")
          }
        }
      }
    }
  }

  @Test func chunksOfOneLengthRankAsBlockMeans() throws {
    let (q, k) = random(24, queries: 200, keys: 200)
    let input = input(q, k)
    func select(_ pooling: ChunkPooling) throws -> [[Int]] {
      try self.select(
        try DHSA(
          queryBlock: 20, keyBlock: 10, chunks: .uniform(10), pooling: pooling, budget: .tokens(60), instructionTokens: 0), input)
    }
    #expect(try select(.squareRoot) == select(.mean))
  }

  /// Two chunks of the same keys, the earlier four times as long: by sqrt its score is twice the other's, by the mean the same,
  /// and of equals the later is taken.
  @Test func lengthNormalisation() throws {
    let (n, d) = (120, 8)
    let (q, k) = (Tensor([1, n, d]), Tensor([1, n, d]))
    for t in 0..<n { for i in 0..<d { q[0, t, i] = 1 } }
    for t in 0..<50 { for i in 0..<d { k[0, t, i] = 0.5 } }
    for t in 50..<n { for i in 0..<d { k[0, t, i] = -0.5 } }
    let edges: [Int64] = [0, 40, 50, 120]
    func last(_ pooling: ChunkPooling) throws -> [Int] {
      let method = try DHSA(
        queryBlock: 10, granularity: .tokens, chunks: .boundaries(edges), pooling: pooling, budget: .tokens(20), sinks: 0,
        local: 10, instructionTokens: 0)
      return try select(method, input(q, k)).last!
    }
    #expect(try last(.squareRoot) == Array(30..<40) + Array(110..<120))
    #expect(try last(.mean) == Array(40..<50) + Array(110..<120))
  }

  @Test func equalScoresTakeTheMoreRecent() throws {
    let (q, k) = (Tensor([2, 64, 8]), Tensor([1, 64, 8]))
    let method = try DHSA(
      queryBlock: 8, granularity: .tokens, chunks: .uniform(5), budget: .tokens(24), sinks: 4, local: 8, instructionTokens: 0)
    #expect(try select(method, input(q, k)).last! == Array(0..<4) + Array(44..<64))
  }

  @Test func aNaNChunkComesLast() throws {
    let (q, k) = random(25, queries: 96, keys: 96)
    for t in 60..<70 { k[0, t, 3] = .nan }
    let method = try DHSA(
      queryBlock: 16, granularity: .tokens, chunks: .uniform(10), budget: .tokens(32), sinks: 0, local: 16,
      instructionTokens: 0)
    let row = try select(method, input(q, k)).last!
    #expect(row.count == 32 && row.allSatisfy { !(60..<70).contains($0) })
  }

  @Test func theInstructionIsDense() throws {
    let (q, k) = random(26, queries: 100, keys: 100)
    let method = try DHSA(
      queryBlock: 10, granularity: .tokens, budget: .tokens(12), sinks: 2, local: 4, instructionTokens: 15)
    let rows = try select(method, input(q, k))
    #expect(rows.map(\.count) == [10, 12, 12, 12, 12, 12, 12, 12, 90, 100])
  }

  @Test func threadsChangeNothing() throws {
    let (q, k) = random(27, queries: 600, keys: 600)
    let method = try DHSA(queryBlock: 32, keyBlock: 8, chunks: .uniform(7), budget: .tokens(96), sinks: 8, local: 32)
    let one = try select(method, input(q, k))
    for threads in [1, 3] {
      let found = try method.select(input(q, k), on: try CPUBackend(threads: threads), progress: nil)
      #expect(found.rows.map { $0.map(Int.init) } == one)
      #expect(found.boundaries == Array(stride(from: Int64(0), to: 600, by: 7)) + [600])
    }
  }

  /// The official code's list of a block, as its steps are written: a padded list whose first entries are overwritten.
  @Test(arguments: [0, 300]) func theLiteralForm(_ window: Int) throws {
    let n = 600
    let (q, k) = random(28, queries: n, keys: n)
    let edges = [0] + stride(from: 9, to: n, by: 13).map { $0 } + [n]
    let method = try DHSA(
      chunks: .boundaries(edges.map(Int64.init)), budget: .tokens(256), instructionTokens: 20, literal: true)
    #expect(method.keyBlock == 1)
    let rows = try select(method, input(q, k, window: window))
    #expect(rows[4] == Array(legal(input(q, k, window: window), 4, 128)))
    for b in 0..<4 {
      let end = (b + 1) * 128
      let low = window > 0 ? max(0, end - window) : 0
      let budget = min(256, window > 0 ? window : n)
      let scores = zip(edges, edges.dropFirst()).map { (a, c) -> Double in
        var sum = 0.0
        for h in 0..<4 { for r in b * 128..<end { for g in 0..<2 { for t in a..<c { for i in 0..<16 {
          sum += get(q.view, h, r, i) * get(k.view, g, t, i)
        } } } } }
        return sum / Double(c - a).squareRoot()
      }
      let token = (0..<n).map { t in scores[edges.lastIndex { $0 <= t }!] }
      let local = end - min(128, budget, end - low)..<end
      let rest = (low..<local.lowerBound).sorted { (token[$0], $0) > (token[$1], $1) }.prefix(budget - local.count)
      var list = (Array(local) + rest).sorted()
      list += [Int](repeating: n - 1, count: budget - list.count)
      let start = window > 0 ? max(0, b * 128 - window) : 0
      for j in 0..<128 { list[j] = min(start + j, end - 1) }
      #expect(rows[b] == Set(list.filter { $0 < end }).sorted())
    }
  }

  private func refusal(_ body: () throws(TamisError) -> Void) -> Status? {
    do throws(TamisError) {
      try body()
      return nil
    } catch { return error.status }
  }

  private func status(of method: DHSA, _ input: SparseInput, progress: Progress? = nil) -> Status? {
    refusal { () throws(TamisError) in _ = try method.select(input, on: backend, progress: progress) }
  }

  @Test func refusals() throws {
    #expect(refusal { () throws(TamisError) in _ = try DHSA(queryBlock: 0) } == .invalidArgument)
    #expect(refusal { () throws(TamisError) in _ = try DHSA(budget: .density(0)) } == .invalidArgument)
    #expect(refusal { () throws(TamisError) in _ = try DHSA(budget: .tokens(0)) } == .invalidArgument)
    #expect(refusal { () throws(TamisError) in _ = try DHSA(queryBlock: 64, literal: true) } == .invalidArgument)
    let (q, k) = random(29, queries: 20, keys: 20)
    for edges in [[], [0], [0, 10], [1, 20], [0, 12, 12, 20], [0, 13, 9, 20], [0, 21]] as [[Int64]] {
      let method = try DHSA(chunks: .boundaries(edges))
      #expect(status(of: method, input(q, k)) == .invalidArgument)
    }
    var whole = input(q, k)
    whole.mask.causal = false
    let method = try DHSA()
    #expect(status(of: method, whole) == .unsupported)
    #expect(status(of: method, input(q, k), progress: { _ in false }) == .cancelled)
  }
}
