import Testing

@testable import TamisDevice
import TamisCore

/// The CPU backend is the oracle of this one.
extension OpenCLTests {
  @Suite(.needsDevice) struct CPUTests {
    /// One cache on each device, with the same pages.
    @Test(arguments: [DType.f32, .f16, .bf16, .i8], [DType?.none, .bf16, .i8])
    func scoreSelectAttend(_ dtype: DType, _ copy: DType?) throws {
      let cpu: any Backend = try CPUBackend(threads: 1), device: any Backend = try #require(Device.backend)
      let n = 530, kvHeads = 2, heads = 6, d = 64, pageTokens = 32
      let layout = KVLayout(
        layers: 1, kvHeads: kvHeads, headDim: d, dtype: dtype, pageTokens: pageTokens, maxPages: 20, scoringCopy: copy)
      var random = Random(31)
      let shape = [kvHeads, n, d]
      let k = HostTensor(random.array(kvHeads * n * d), shape), v = HostTensor(random.array(kvHeads * n * d), shape)
      let query = random.array(heads * d), pages = (0..<Int32(17)).map { ($0 * 7) % 17 }
      let bias = random.array(heads)

      var votes: [[Float]] = [], tokens: [[Int32]] = [], outputs: [[Float]] = [], bytes: [[UInt8]] = []
      for backend in [cpu, device] {
        let store = try backend.makeStore(layout)
        for i in 0..<17 {
          try store.write(
            layer: 0, page: pages[i], slot: 0, count: min(pageTokens, n - i * pageTokens), k: k.view, v: v.view,
            from: i * pageTokens)
        }
        var page = [UInt8](repeating: 0, count: layout.layerPageBytes)
        try page.withUnsafeMutableBytes { page throws in try store.exportPage(layer: 0, page: 0, to: page.baseAddress!) }
        bytes.append(page)

        let scores = backend.makeScores(), selection = backend.makeSelection()
        for kind in [VoteRule.Kind.topK, .heads, .soft] {
          try pages.withUnsafeBufferPointer { pages in
            let keys = CachedKeys(store: store, layer: 0, pages: pages.baseAddress!, count: n)
            try backend.score(
              query: query, qHeads: heads, over: keys, candidates: 4..<500,
              rule: VoteRule(kind: kind, headMap: .modulo, pool: 3, topK: 40), into: scores)
          }
          var vote = [Float](repeating: 0, count: 496)
          try scores.read(into: &vote)
          votes.append(vote)
        }
        try backend.select(64, from: scores, into: selection)
        var token = [Int32](repeating: 0, count: selection.count)
        try selection.read(into: &token)
        tokens.append(token)

        for c in [1, 20] {
          var rule = AttentionRule(scale: 0.125)
          rule.rope = RoPE(style: .half, rotaryDims: 32)
          rule.softcap = 5
          // The same list on both, whatever a rounded vote may have swapped.
          try selection.assign(tokens[0], count: tokens[0].count)
          let q = HostTensor(Array(repeating: query, count: c).flatMap { $0 }, [heads, c, d])
          let out = HostTensor([heads, c, d])
          try pages.withUnsafeBufferPointer { pages in
            try bias.withUnsafeBufferPointer { bias in
              rule.keyZeroBias = bias.baseAddress
              try backend.attend(
                q: q.view, over: CachedKeys(store: store, layer: 0, pages: pages.baseAddress!, count: n),
                tokens: AttendedTokens(sinks: 4, selected: selection, recent: 500..<n), rule: rule, out: out.view, lse: nil)
            }
          }
          outputs.append(out.floats)
        }
      }
      // i8 may differ by one step where a quotient lies between two integers, and shows in what follows.
      let integers = dtype == .i8 || copy == .i8
      if !integers { #expect(bytes[0] == bytes[1]) }
      // The CPU may round queries to bf16 where it scores bf16 rows.
      let loose = integers || (copy ?? dtype) == .bf16 && Kernels.active.pointee.prefill.scores_bf16 != nil
      // Votes: raw sums, counts of heads (a rounded logit may swap two tokens), softmax.
      #expect(difference(votes[3], votes[0].map(Double.init)) < (loose ? 0.2 : 1e-4))
      #expect(zip(votes[1], votes[4]).filter { $0 != $1 }.count <= (loose ? 25 : 5))
      #expect(difference(votes[5], votes[2].map(Double.init)) < (loose ? 0.02 : 2e-5))
      #expect(Set(tokens[0]).symmetricDifference(tokens[1]).count <= (loose ? 6 : 2))
      for i in 0..<2 { #expect(difference(outputs[2 + i], outputs[i].map(Double.init)) < (dtype == .i8 ? 2e-2 : 2e-5)) }
    }
  }
}
