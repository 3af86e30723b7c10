import Tamis
import Testing

/// Attention over tile lists on every backend against the plain loops, and the counts of a mask against its pairs.
@Suite struct SparseAttentionTests {
  private static func lists(
    batch: Int, heads: Int, queries: Int, keys: Int, queryBlock: Int, keyBlock: Int, _ random: inout Random
  ) -> TileMask {
    let blocks = (queries + queryBlock - 1) / queryBlock
    let tiles = Int32((keys + keyBlock - 1) / keyBlock)
    let rows = (0..<batch * heads * blocks).map { r in
      ContiguousArray((0..<tiles).filter { _ in r % 5 == 4 || r % 5 > 0 && Int.random(in: 0..<r % 5 + 1, using: &random) == 0 })
    }
    return TileMask(
      batch: batch, heads: heads, queries: queries, keys: keys, queryBlock: queryBlock, keyBlock: keyBlock, rows: rows)
  }

  @Test(arguments: Engine.allCases) func everyBackendAgreesWithTheLoops(_ engine: Engine) throws {
    var random = Random(21)
    let q = Tensor.normal([2, 4, 21, 16], &random)
    let k = Tensor.normal([2, 2, 33, 16], &random), v = Tensor.normal([2, 2, 33, 16], &random)
    for heads in [1, 2, 4] {
      let mask = Self.lists(batch: 2, heads: heads, queries: 21, keys: 33, queryBlock: 8, keyBlock: 5, &random)
      func attend(_ backend: any Backend) throws -> (Tensor, Tensor) {
        let (out, lse) = (Tensor([2, 4, 21, 16]), Tensor([2, 4, 21]))
        var reports: [Double] = []
        try SparseAttention.attend(
          Context(backend: backend), q: q.view, k: k.view, v: v.view, rule: AttentionRule(scale: 0.4),
          mask: DenseMask(causal: true, queryOffset: 12), tiles: mask.lists(), out: out.view, lse: lse.view,
          progress: { reports.append($0); return true })
        #expect(reports.count >= 2 && reports == reports.sorted() && reports.last == 1)
        return (out, lse)
      }
      let (out, lse) = try attend(try engine.backend())
      let (wanted, wantedLSE) = try attend(ReferenceBackend())
      #expect(zip(out.floats, wanted.floats).allSatisfy { abs($0 - $1) < 2e-5 })
      #expect(zip(lse.floats, wantedLSE.floats).allSatisfy { $0 == $1 || abs($0 - $1) < 2e-5 })
    }
  }

  @Test(arguments: Engine.allCases) func noListsIsDense(_ engine: Engine) throws {
    var random = Random(22)
    let q = Tensor.normal([2, 9, 16], &random), k = Tensor.normal([2, 12, 16], &random)
    let context = Context(backend: try engine.backend())
    let (dense, sparse) = (Tensor([2, 9, 16]), Tensor([2, 9, 16]))
    let (rule, mask) = (AttentionRule(scale: 0.4), DenseMask(causal: true, queryOffset: 3))
    try Dense.attend(
      context, q: q.view, k: k.view, v: k.view, rule: rule, mask: mask, out: dense.view, lse: nil, progress: nil)
    try SparseAttention.attend(
      context, q: q.view, k: k.view, v: k.view, rule: rule, mask: mask, tiles: nil, out: sparse.view, lse: nil, progress: nil)
    #expect(dense.floats.elementsEqual(sparse.floats))
  }

  @Test func badInput() {
    var random = Random(23)
    let good = Self.lists(batch: 1, heads: 2, queries: 9, keys: 12, queryBlock: 4, keyBlock: 4, &random)
    func attend(_ mask: TileMask, blas: Bool = false, lists: Bool = true, progress: Progress? = nil) -> Status? {
      status {
        try SparseAttention.attend(
          Context(backend: ReferenceBackend()), q: Tensor([4, 9, 16]).view, k: Tensor([2, 12, 16]).view,
          v: Tensor([2, 12, 16]).view, rule: AttentionRule(scale: 1), mask: DenseMask(causal: true, queryOffset: 3, blas: blas),
          tiles: lists ? mask.lists() : nil, out: Tensor([4, 9, 16]).view, lse: nil, progress: progress)
      }
    }
    #expect(attend(good) == nil)
    #expect(attend(good, blas: true) == .unsupported)
    #expect(attend(good, blas: true, lists: false) == .unsupported)
    #expect(attend(good, progress: { _ in false }) == .cancelled)
    let heads = Self.lists(batch: 1, heads: 3, queries: 9, keys: 12, queryBlock: 4, keyBlock: 4, &random)
    #expect(attend(heads) == .invalidArgument)
    let blocks = Self.lists(batch: 1, heads: 2, queries: 13, keys: 12, queryBlock: 4, keyBlock: 4, &random)
    #expect(attend(blocks) == .invalidArgument)
  }

  @Test func countsAreThoseOfThePairs() {
    var random = Random(24)
    for (queries, keys, queryBlock, keyBlock) in [
      (1, 1, 1, 1), (20, 20, 8, 4), (20, 33, 8, 5), (33, 20, 7, 1), (9, 40, 64, 64), (40, 9, 3, 2), (16, 16, 16, 16),
    ] {
      let mask = Self.lists(
        batch: 2, heads: 2, queries: queries, keys: keys, queryBlock: queryBlock, keyBlock: keyBlock, &random)
      for causal in [true, false] {
        for window in [0, 1, 5, 30, Int.max] {
          for offset in [keys - queries, 0, -5, 7, -1000, 1000, Int.max, Int.min] {
            let rule = DenseMask(causal: causal, queryOffset: offset)
            func isLegal(_ i: Int, _ j: Int) -> Bool {
              // In numbers that cannot overflow: j - i against the offset and the window.
              let apart = Double(j - i)
              return (!causal || apart <= Double(offset)) && (window == 0 || apart > Double(offset) - Double(window))
            }
            var wanted = TileCounts()
            for element in 0..<2 {
              for head in 0..<2 {
                for block in 0..<mask.blocks {
                  let row = Set(mask.lists(element).row(head, block))
                  wanted.tilesListed += 3 * row.count
                  let rows = block * queryBlock..<min((block + 1) * queryBlock, queries)
                  for tile in 0..<(keys + keyBlock - 1) / keyBlock {
                    let columns = tile * keyBlock..<min((tile + 1) * keyBlock, keys)
                    let pairs = rows.reduce(0) { sum, i in sum + columns.count { isLegal(i, $0) } }
                    wanted.pairsLegal += 3 * pairs
                    if pairs > 0 { wanted.tilesLegal += 3 }
                    if row.contains(Int32(tile)) { wanted.pairsAttended += 3 * pairs }
                  }
                }
              }
            }
            // Far offsets with a window lose the units of a Double; they see nothing or everything alike.
            if abs(Double(offset)) > 1e15 && window > 0 { continue }
            #expect(
              mask.counts(rule, window: window, heads: 6) == wanted,
              "\(queries)x\(keys) \(queryBlock)x\(keyBlock) \(causal) \(window) \(offset)")
          }
        }
      }
    }
  }

  @Test func aMaskIsACopy() {
    let starts: [Int64] = [0, 2, 2, 3]
    let index: [Int32] = [0, 4, 1]
    let mask = starts.withUnsafeBufferPointer { starts in
      index.withUnsafeBufferPointer { index in
        TileMask(
          copying: TileLists(
            heads: 1, blocks: 3, queryBlock: 4, keyBlock: 2, rowStart: starts.baseAddress!, index: index.baseAddress!),
          batch: 1, queries: 12, keys: 10)
      }
    }
    #expect((0..<3).map { Array(mask.lists().row(0, $0)) } == [[0, 4], [], [1]])
    #expect(mask.boundaryCount == 0 && mask.keys == 10 && mask.blocks == 3)
  }
}
