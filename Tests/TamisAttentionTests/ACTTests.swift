import Tamis
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// ACT (arXiv 2406.15765) against the edit of a whole table of weights, in float64.
@Suite struct ACTTests {
  struct Rules: Sendable {
    var offset: Int?
    var window = 0
    var softcap: Float = 0
    var bias: [Float]?
    var threshold: Float = 0.08
    var beta: Float = 0.4
    var minRows = 1
    var heads: [Bool]?
  }

  /// Weights of one head and which are legal, [c][n].
  static func weights(_ q: Tensor, _ k: Tensor, head h: Int, _ rules: Rules, scale: Double) -> (p: [[Double]], legal: [[Bool]]) {
    let (c, n, d, group) = (q.view.shape[1], k.view.shape[1], q.view.shape[2], q.view.shape[0] / k.view.shape[0])
    let offset = rules.offset ?? n - c
    var (p, legal) = ([[Double]](), [[Bool]]())
    for i in 0..<c {
      let sees = (0..<n).map { $0 <= offset + i && (rules.window == 0 || $0 > offset + i - rules.window) }
      let z = (0..<n).map { j -> Double in
        if !sees[j] { return -.infinity }
        var z = scale * (0..<d).reduce(0.0) { $0 + q[h, i, $1] * k[h / group, j, $1] }
        if rules.softcap > 0 { z = Double(rules.softcap) * tanh(z / Double(rules.softcap)) }
        return z + (j == 0 ? Double(rules.bias?[h] ?? 0) : 0)
      }
      let top = z.max()!
      let e = z.map { top == -.infinity ? 0 : exp($0 - top) }
      let sum = e.reduce(0, +)
      p.append(e.map { sum == 0 ? 0 : $0 / sum })
      legal.append(sees)
    }
    return (p, legal)
  }

  static func sinks(_ p: [[Double]], _ legal: [[Bool]], _ rules: Rules) -> [Int] {
    guard let n = p.first?.count else { return [] }
    return (1..<max(n, 1)).filter { j in
      let rows = p.indices.filter { legal[$0][j] }
      let mean = rows.reduce(0.0) { $0 + p[$1][j] } / Double(max(rows.count, 1))
      #expect(rows.isEmpty || abs(mean - Double(rules.threshold)) > 1e-6, "too near the threshold to tell: another seed")
      return rows.count >= rules.minRows && mean > Double(rules.threshold)
    }
  }

  static func edited(_ row: [Double], _ sinks: [Int], beta: Double) -> [Double] {
    let m = sinks.reduce(0.0) { $0 + row[$1] }
    if 1 - m < 1e-6 { return row }
    var after = row.map { $0 * (1 + (1 - beta) * m / (1 - m)) }
    for j in sinks { after[j] = beta * row[j] }
    return after
  }

  static func run(
    _ context: Context, _ q: Tensor, _ k: Tensor, _ v: Tensor, _ rules: Rules, scale: Float, state: ACTState? = nil,
    progress: Progress? = nil
  ) throws -> (out: Tensor, lse: Tensor) {
    let (heads, c, d) = (q.view.shape[0], q.view.shape[1], v.view.shape[2])
    let (out, lse) = (Tensor([heads, c, d]), Tensor([heads, c]))
    var options = ACT.Options()
    (options.threshold, options.beta, options.minRows, options.heads) = (rules.threshold, rules.beta, rules.minRows, rules.heads)
    try (rules.bias ?? []).withUnsafeBufferPointer { bias in
      var rule = AttentionRule(scale: scale)
      (rule.window, rule.softcap) = (rules.window, rules.softcap)
      if rules.bias != nil { rule.keyZeroBias = bias.baseAddress }
      try ACT.attend(
        context, q: q.view, k: k.view, v: v.view, rule: rule,
        mask: DenseMask(causal: true, queryOffset: rules.offset ?? k.view.shape[1] - c), options: options, state: state,
        out: out.view, lse: lse.view, progress: progress)
    }
    return (out, lse)
  }

  static func check(
    _ context: Context, _ rules: Rules, heads: Int, kvHeads: Int, c: Int, n: Int, d: Int, scale: Float = 0.5, within bound: Double = 1e-5,
    seed: UInt64 = 1, _ what: String
  ) throws {
    var random = Random(seed)
    let q = Tensor.normal([heads, c, d], &random)
    let (k, v) = (Tensor.normal([kvHeads, n, d], &random), Tensor.normal([kvHeads, n, d], &random))
    let found = try run(context, q, k, v, rules, scale: scale)
    for h in 0..<heads {
      let (p, legal) = weights(q, k, head: h, rules, scale: Double(scale))
      let s = rules.heads?[h] == false ? [] : sinks(p, legal, rules)
      for i in 0..<c {
        let row = edited(p[i], s, beta: Double(rules.beta))
        for x in 0..<d {
          let want = (0..<n).reduce(0.0) { $0 + row[$1] * v[h / (heads / kvHeads), $1, x] }
          #expect(abs(found.out[h, i, x] - want) < bound, "\(what): head \(h) row \(i): \(found.out[h, i, x]), not \(want)")
        }
      }
    }
  }

  static let contexts: [(String, @Sendable () throws -> Context)] =
    [("reference", { @Sendable () throws -> Context in Context(backend: ReferenceBackend()) })]
    + Kernels.available.map { level in
      ("\(level)", { @Sendable () throws -> Context in Context(backend: try CPUBackend(threads: 2, level: level)) })
    }

  @Test(arguments: contexts.indices) func prefillAndDecode(_ at: Int) throws {
    let (name, make) = Self.contexts[at]
    let context = try make()
    for (c, n, d, heads, kvHeads) in [
      (1, 1, 8, 1, 1), (2, 2, 8, 2, 1), (40, 40, 16, 4, 2), (1, 50, 16, 4, 2), (5, 50, 16, 3, 1), (33, 66, 8, 2, 2), (20, 280, 8, 1, 1),
    ] {
      try Self.check(context, Rules(threshold: 0.05), heads: heads, kvHeads: kvHeads, c: c, n: n, d: d, "\(name) c \(c) n \(n)")
    }
  }

  @Test(arguments: contexts.indices) func rules(_ at: Int) throws {
    let (name, make) = Self.contexts[at]
    let context = try make()
    let rules = [
      Rules(window: 7), Rules(window: 1), Rules(softcap: 1.5), Rules(bias: [1, -2, 0, 30]), Rules(offset: -4), Rules(offset: 9),
      Rules(offset: 60), Rules(beta: 0), Rules(beta: 0.95), Rules(threshold: 0), Rules(minRows: 4), Rules(heads: [true, false, false, true]),
      Rules(offset: 5, window: 11, softcap: 2, bias: [1, 2, 3, 4], threshold: 0.15, beta: 0.2),
    ]
    for (i, rule) in rules.enumerated() {
      for c in [3, 24] {
        try Self.check(context, rule, heads: 4, kvHeads: 2, c: c, n: 30, d: 16, "\(name) rule \(i) c \(c)")
      }
    }
  }

  /// Rows whose mass is nearly all in S: from o and o_S alone they could not be told in f32.
  @Test(arguments: contexts.indices) func rowsOfSinks(_ at: Int) throws {
    let (name, make) = Self.contexts[at]
    let context = try make()
    for (scale, c) in [(Float(2), 20), (5, 20), (5, 3), (9, 64)] {
      try Self.check(
        context, Rules(threshold: 0.04, beta: 0.1), heads: 2, kvHeads: 1, c: c, n: max(c, 40), d: 16, scale: scale, within: 2e-5,
        seed: 7, "\(name) scale \(scale) c \(c)")
    }
  }

  /// The hand case of the method page: row 2 = [.2, .5, .3], S = {1}, beta = .4 gives [.32, .2, .48].
  @Test(arguments: contexts.indices) func byHand(_ at: Int) throws {
    let context = try Self.contexts[at].1()
    let (q, k, v) = (Tensor([1, 3, 8]), Tensor([1, 3, 8]), Tensor([1, 3, 8]))
    for (i, p) in [0.2, 0.5, 0.3].enumerated() {
      q[0, i, 0] = 1
      k[0, i, 0] = log(p)
      v[0, i, i] = 1
    }
    let state = try ACTState(context: context, qHeads: 1)
    let out = try Self.run(context, q, k, v, Rules(threshold: 0.5), scale: 1, state: state).out
    #expect(try state.sinks(head: 0) == [1])
    for (x, want) in [0.32, 0.2, 0.48].enumerated() { #expect(abs(out[0, 2, x] - want) < 1e-6) }
    #expect(out[0, 0, 0] == 1)
  }

  @Test func withoutSinksItIsAttention() throws {
    let context = try Context(threads: 2)
    var random = Random(4)
    for c in [1, 40] {
      let q = Tensor.normal([4, c, 16], &random)
      let (k, v) = (Tensor.normal([2, 40, 16], &random), Tensor.normal([2, 40, 16], &random))
      let (out, lse) = (Tensor([4, c, 16]), Tensor([4, c]))
      try Dense.attend(
        context, q: q.view, k: k.view, v: v.view, rule: AttentionRule(scale: 0.5), mask: DenseMask(causal: true, queryOffset: 40 - c),
        out: out.view, lse: lse.view, progress: nil)
      for rules in [Rules(threshold: 1), Rules(threshold: 0.01, beta: 1), Rules(minRows: 99), Rules(heads: .init(repeating: false, count: 4))] {
        let found = try Self.run(context, q, k, v, rules, scale: 0.5)
        #expect(found.out.floats.elementsEqual(out.floats) && found.lse.floats.elementsEqual(lse.floats))
      }
      let some = try Self.run(context, q, k, v, Rules(threshold: 0.02, heads: [true, false, true, false]), scale: 0.5)
      #expect(some.out.floats[c * 16..<2 * c * 16].elementsEqual(out.floats[c * 16..<2 * c * 16]))
      #expect(!some.out.floats[..<(c * 16)].elementsEqual(out.floats[..<(c * 16)]))
    }
  }

  /// Each call's rows join the sums before its sinks are found.
  @Test(arguments: [Engine.reference, .cpu]) func stateCarriesTheSums(_ engine: Engine) throws {
    let context = Context(backend: try engine.backend())
    var random = Random(5)
    let n = 30
    let q = Tensor.normal([2, n, 16], &random)
    let (k, v) = (Tensor.normal([1, n, 16], &random), Tensor.normal([1, n, 16], &random))
    let rules = Rules(threshold: 0.07)
    let state = try ACTState(context: context, qHeads: 2)
    var start = 0
    for end in [12, 13, 14, 25, 30] {
      let (qs, ks, vs) = (Tensor([2, end - start, 16]), Tensor([1, end, 16]), Tensor([1, end, 16]))
      for h in 0..<2 { for i in start..<end { for x in 0..<16 { qs[h, i - start, x] = q[h, i, x] } } }
      for j in 0..<end { for x in 0..<16 { (ks[0, j, x], vs[0, j, x]) = (k[0, j, x], v[0, j, x]) } }
      let out = try Self.run(context, qs, ks, vs, rules, scale: 0.5, state: state).out
      for h in 0..<2 {
        // All rows so far, [0, end), over [0, end).
        let all = Tensor([2, end, 16])
        for g in 0..<2 { for i in 0..<end { for x in 0..<16 { all[g, i, x] = q[g, i, x] } } }
        let (p, legal) = Self.weights(all, ks, head: h, rules, scale: 0.5)
        let s = Self.sinks(p, legal, rules)
        #expect(try state.sinks(head: h) == s.map(Int32.init), "rows to \(end)")
        for i in start..<end {
          let row = Self.edited(p[i], s, beta: 0.4)
          for x in 0..<16 {
            let want = (0..<end).reduce(0.0) { $0 + row[$1] * v[0, $1, x] }
            #expect(abs(out[h, i - start, x] - want) < 1e-5)
          }
        }
      }
      start = end
    }
    #expect(status { _ = try Self.run(context, q, k, v, rules, scale: 0.5, state: state) } == .invalidArgument)
    try state.reset()
    #expect(try state.sinks(head: 1) == [])
    _ = try Self.run(context, q, k, v, rules, scale: 0.5, state: state)
    #expect(status { _ = try state.sinks(head: 2) } == .invalidArgument)
    #expect(status { _ = try state.sinks(head: -1) } == .invalidArgument)
  }

  @Test func sameBitsForAnyThreads() throws {
    var random = Random(6)
    let q = Tensor.normal([4, 300, 32], &random)
    let (k, v) = (Tensor.normal([2, 300, 32], &random), Tensor.normal([2, 300, 32], &random))
    let runs = try [1, 2, 3].map { threads in
      Array(try Self.run(Context(threads: threads), q, k, v, Rules(threshold: 0.01, beta: 0.1), scale: 0.8).out.floats)
    }
    #expect(runs[0] == runs[1] && runs[0] == runs[2])
  }

  @Test func cancelledCallsLeaveTheState() throws {
    let context = try Context(threads: 2)
    var random = Random(8)
    let q = Tensor.normal([2, 40, 16], &random)
    let k = Tensor.normal([1, 40, 16], &random)
    let state = try ACTState(context: context, qHeads: 2)
    var asked = 0
    for limit in 1...50 {
      asked = 0
      let found = status {
        _ = try Self.run(context, q, k, k, Rules(), scale: 0.5, state: state) { _ in
          asked += 1
          return asked < limit
        }
      }
      if found == nil { break }
      #expect(found == .cancelled && asked == limit)
      #expect(try state.sinks(head: 0) == [])
    }
    #expect(asked > 2)
    #expect(try !state.sinks(head: 0).isEmpty)
  }

  @Test func badInput() throws {
    let context = try Context()
    let other = try Context()
    let state = try ACTState(context: context, qHeads: 4)
    func attend(
      _ change: (inout ACT.Options) -> Void = { _ in }, q: [Int] = [4, 3, 16], k: [Int] = [2, 5, 16], causal: Bool = true,
      scale: Float = 1, offset: Int = 0, state: ACTState? = nil, on: Context? = nil
    ) -> Status? {
      var options = ACT.Options()
      change(&options)
      let (q, k) = (Tensor(q), Tensor(k))
      return status {
        try ACT.attend(
          on ?? context, q: q.view, k: k.view, v: k.view, rule: AttentionRule(scale: scale),
          mask: DenseMask(causal: causal, queryOffset: offset), options: options, state: state, out: Tensor(q.view.ndim == 4 ? [1, 4, 3, 16] : [4, 3, 16]).view,
          lse: nil)
      }
    }
    #expect(attend() == nil)
    #expect(attend(state: state, on: other) == .invalidArgument)
    #expect(attend(offset: 1, state: state) == .invalidArgument)
    #expect(attend(k: [2, 2, 16], state: state) == .invalidArgument)
    #expect(attend({ $0.threshold = -0.1 }) == .invalidArgument)
    #expect(attend({ $0.threshold = .nan }) == .invalidArgument)
    #expect(attend({ $0.beta = 1.1 }) == .invalidArgument)
    #expect(attend({ $0.beta = -0.1 }) == .invalidArgument)
    #expect(attend({ $0.beta = .nan }) == .invalidArgument)
    #expect(attend({ $0.minRows = 0 }) == .invalidArgument)
    #expect(attend({ $0.heads = [true] }) == .invalidArgument)
    #expect(attend(q: [1, 4, 3, 16], k: [1, 2, 5, 16]) == .invalidArgument)
    #expect(attend(k: [3, 5, 16]) == .invalidArgument)
    #expect(attend(scale: 0) == .invalidArgument)
    #expect(attend(causal: false) == .unsupported)
    #expect(attend({ $0.heads = [true, true, false, true] }, state: state) == nil)
    #expect(attend(k: [2, 6, 16], offset: 3, state: state) == .invalidArgument)  // other heads than before
    #expect(attend({ $0.heads = [true, true, false, true] }, k: [2, 6, 16], offset: 3, state: state) == nil)
    #expect(attend(offset: 0, state: try? ACTState(context: context, qHeads: 3)) == .invalidArgument)
    for heads in [0, -1, Int.max] { #expect(status { _ = try ACTState(context: context, qHeads: heads) } == .invalidArgument) }
  }
}
