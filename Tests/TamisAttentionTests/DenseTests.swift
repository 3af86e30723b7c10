import Tamis
import Testing

@Suite struct DenseTests {
  private let context = Context(backend: ReferenceBackend())

  @Test func aBatchIsItsElements() throws {
    var random = Random(9)
    let q = Tensor.normal([3, 4, 5, 16], &random)
    let k = Tensor.normal([3, 2, 7, 16], &random)
    let v = Tensor.normal([3, 2, 7, 16], &random)
    let (out, lse) = (Tensor([3, 4, 5, 16]), Tensor([3, 4, 5]))
    let rule = AttentionRule(scale: 0.25)
    let mask = DenseMask(causal: true, queryOffset: 2)
    var reports: [Double] = []
    try Dense.attend(
      context, q: q.view, k: k.view, v: v.view, rule: rule, mask: mask, out: out.view, lse: lse.view,
      progress: { reports.append($0); return true })
    #expect(reports.count == 3 && reports == reports.sorted() && reports.last == 1)
    for b in 0..<3 {
      let (one, oneLSE) = (Tensor([4, 5, 16]), Tensor([4, 5]))
      try Dense.attend(
        context, q: q.view.slice(b), k: k.view.slice(b), v: v.view.slice(b), rule: rule, mask: mask, out: one.view,
        lse: oneLSE.view, progress: nil)
      #expect(one.floats.elementsEqual(out.floats[b * 320..<(b + 1) * 320]))
      #expect(oneLSE.floats.elementsEqual(lse.floats[b * 20..<(b + 1) * 20]))
    }
    // Another batch element's keys do not show.
    #expect(!out.floats[0..<320].elementsEqual(out.floats[320..<640]))
  }

  @Test func offsetsFarOutsideAreHarmless() throws {
    var random = Random(9)
    let q = Tensor.normal([2, 3, 16], &random)
    let k = Tensor.normal([2, 5, 16], &random)
    func attend(_ offset: Int, causal: Bool, window: Int) throws -> (Tensor, Tensor) {
      let (out, lse) = (Tensor([2, 3, 16]), Tensor([2, 3]))
      var rule = AttentionRule(scale: 1)
      rule.window = window
      try Dense.attend(
        context, q: q.view, k: k.view, v: k.view, rule: rule, mask: DenseMask(causal: causal, queryOffset: offset),
        out: out.view,
        lse: lse.view, progress: nil)
      return (out, lse)
    }
    for offset in [Int.min, -4, -3] {
      let (out, lse) = try attend(offset, causal: true, window: 0)
      #expect(out.floats.allSatisfy { $0 == 0 } && lse.floats.allSatisfy { $0 == -.infinity })
      #expect(try attend(offset, causal: false, window: 1).1.floats.elementsEqual(attend(0, causal: false, window: 0).1.floats))
    }
    for offset in [Int.max, 5] {
      #expect(try attend(offset, causal: true, window: 0).0.floats.elementsEqual(attend(0, causal: false, window: 0).0.floats))
    }
    // Key j is in the window when j - i > offset - window.
    let afterOwn = try attend(1, causal: false, window: 1).0
    #expect(!afterOwn.floats.elementsEqual(try attend(0, causal: false, window: 0).0.floats))
    #expect(try attend(Int.max, causal: true, window: Int.max).0.floats.elementsEqual(afterOwn.floats))
    #expect(try attend(0, causal: false, window: Int.max).0.floats.elementsEqual(attend(0, causal: false, window: 0).0.floats))
    #expect(
      try attend(Int.min, causal: false, window: Int.max).0.floats.elementsEqual(attend(0, causal: false, window: 0).0.floats))
    #expect(try attend(Int.max, causal: true, window: 3).1.floats.allSatisfy { $0 == -.infinity })
  }

  @Test func badInput() {
    let q = Tensor([4, 3, 16])
    let k = Tensor([2, 5, 16])
    func attend(
      q: Tensor? = nil, k: Tensor? = nil, v: Tensor? = nil, out: Tensor? = nil, lse: Tensor? = nil,
      _ change: (inout AttentionRule) -> Void = { _ in }, progress: Progress? = nil
    ) -> Status? {
      var rule = AttentionRule(scale: 1)
      change(&rule)
      return status {
        try Dense.attend(
          context, q: (q ?? Tensor([4, 3, 16])).view, k: (k ?? Tensor([2, 5, 16])).view, v: (v ?? k ?? Tensor([2, 5, 16])).view,
          rule: rule, mask: DenseMask(causal: true, queryOffset: 0), out: (out ?? q ?? Tensor([4, 3, 16])).view, lse: lse?.view,
          progress: progress)
      }
    }
    #expect(attend(q: q, k: k) == nil)
    #expect(attend(q: Tensor([3, 16])) == .invalidArgument)
    #expect(attend(q: Tensor([1, 4, 3, 16])) == .invalidArgument)
    #expect(attend(k: Tensor([3, 5, 16])) == .invalidArgument)
    #expect(attend(k: Tensor([0, 5, 16])) == .invalidArgument)
    #expect(attend(k: Tensor([2, 0, 16])) == .invalidArgument)
    #expect(attend(v: Tensor([2, 4, 16])) == .invalidArgument)
    #expect(attend(v: Tensor([2, 5, 16], .bf16)) == .invalidArgument)
    #expect(attend(out: Tensor([4, 2, 16])) == .invalidArgument)
    #expect(attend(lse: Tensor([4, 2])) == .invalidArgument)
    #expect(attend(lse: Tensor([4, 3, 1])) == .invalidArgument)
    #expect(attend(lse: Tensor([4, 3], .f16)) == .invalidArgument)
    #expect(attend(k: Tensor([2, 5, 16], stride: [200, 32, 2], elements: 400)) == .invalidArgument)
    #expect(attend(q: Tensor([4, 3, 12]), k: Tensor([2, 5, 12])) == .unsupported)
    #expect(attend(q: Tensor([4, 3, 264]), k: Tensor([2, 5, 264])) == .unsupported)
    #expect(attend(q: Tensor([4, 3, 16], .i8)) == .unsupported)
    #expect(attend(k: Tensor([2, 5, 16], .i32)) == .unsupported)
    #expect(attend({ $0.scale = 0 }) == .invalidArgument)
    #expect(attend({ $0.scale = .nan }) == .invalidArgument)
    #expect(attend({ $0.softcap = -1 }) == .invalidArgument)
    #expect(attend({ $0.window = -1 }) == .invalidArgument)
    #expect(attend(progress: { _ in false }) == .cancelled)
  }

  // MARK: merge

  /// Attention over shards of the keys, merged, is attention over all of them.
  @Test(arguments: [1, 2, 5]) func mergedShardsAreTheWhole(shards: Int) throws {
    var random = Random(11)
    let q = Tensor.normal([2, 3, 16], &random)
    let k = Tensor.normal([2, 20, 16], &random, scale: 2)
    let v = Tensor.normal([2, 20, 16], &random)
    func attend(_ from: Int, _ n: Int) throws -> (Tensor, Tensor) {
      let (out, lse) = (Tensor([2, 3, 16]), Tensor([2, 3]))
      try Dense.attend(
        context, q: q.view, k: k.tokens(from, n), v: v.tokens(from, n), rule: AttentionRule(scale: 1),
        mask: DenseMask(causal: false, queryOffset: 0), out: out.view, lse: lse.view, progress: nil)
      return (out, lse)
    }
    let whole = try attend(0, 20)
    let parts = try (0..<shards).map { try attend($0 * 20 / shards, 20 / shards) }
    let (out, lse) = (Tensor([2, 3, 16]), Tensor([2, 3]))
    try Dense.merge(context, parts: parts.map(\.0.view), lse: parts.map(\.1.view), out: out.view, outLSE: lse.view)
    #expect(maxDifference(out, whole.0) < 1e-5 && maxDifference(lse, whole.1) < 1e-5)
    // Into one of the parts.
    let last = parts[shards - 1]
    try Dense.merge(context, parts: parts.map(\.0.view), lse: parts.map(\.1.view), out: last.0.view, outLSE: last.1.view)
    #expect(last.0.floats.elementsEqual(out.floats) && last.1.floats.elementsEqual(lse.floats))
  }

  @Test func partsWithoutKeys() throws {
    let nan = Tensor([2, 8])
    let some = Tensor([2, 8])
    for i in 0..<16 {
      nan.floats[i] = .nan
      some.floats[i] = Float(i)
    }
    let (none, three) = (Tensor([2]), Tensor([2]))
    for i in 0..<2 {
      none.floats[i] = -.infinity
      three.floats[i] = 3
    }
    let (out, lse) = (Tensor([2, 8]), Tensor([2]))
    try Dense.merge(context, parts: [nan.view, some.view], lse: [none.view, three.view], out: out.view, outLSE: lse.view)
    #expect(out.floats.elementsEqual(some.floats) && lse.floats.elementsEqual(three.floats))
    try Dense.merge(context, parts: [nan.view, nan.view], lse: [none.view, none.view], out: out.view, outLSE: lse.view)
    #expect(out.floats.allSatisfy { $0 == 0 } && lse.floats.allSatisfy { $0 == -.infinity })
    // Far apart, no overflow: the larger one wins.
    three.floats[0] = 5000
    none.floats[0] = -5000
    try Dense.merge(context, parts: [out.view, some.view], lse: [none.view, three.view], out: out.view, outLSE: lse.view)
    #expect(out.floats[3] == 3 && lse.floats[0] == 5000)
    three.floats[1] = .nan
    try Dense.merge(context, parts: [some.view, some.view], lse: [three.view, none.view], out: out.view, outLSE: lse.view)
    #expect(lse.floats[1].isNaN && out.floats[9].isNaN && out.floats[3] == 3)
  }

  @Test func badMerges() {
    let (part, lse) = (Tensor([2, 8]), Tensor([2]))
    func merge(_ parts: [Tensor], _ l: [Tensor], _ out: Tensor? = nil, _ outLSE: Tensor? = nil) -> Status? {
      status {
        try Dense.merge(
          context, parts: parts.map(\.view), lse: l.map(\.view), out: (out ?? Tensor([2, 8])).view,
          outLSE: (outLSE ?? Tensor([2])).view)
      }
    }
    #expect(merge([part], [lse]) == nil)
    #expect(merge([], []) == .invalidArgument)
    #expect(merge([part], []) == .invalidArgument)
    #expect(merge([Tensor([2, 9])], [lse]) == .invalidArgument)
    #expect(merge([Tensor([2, 8], .bf16)], [lse]) == .invalidArgument)
    #expect(merge([part], [Tensor([3])]) == .invalidArgument)
    #expect(merge([part], [lse], Tensor([8])) == .invalidArgument)
    #expect(merge([part], [lse], nil, Tensor([2, 1])) == .invalidArgument)
    #expect(merge([part], [lse], Tensor([2, 8], .f16)) == .invalidArgument)
  }
}
