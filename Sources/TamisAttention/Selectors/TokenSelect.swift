import CShims
import TamisCore
import TamisDevice

/// Top-k tokens by the soft vote of all heads (TokenSelect, arXiv 2411.02886):
///
///     q'_h   = mean over the chunk of R(q_{h,t}, recent + t)      eq. 6; the rotation as in the official code
///     vote_j = sum_h softmax_j(q'_h . k_j), k un-rotated           eq. 7, 8
///
/// so every key is scored as if it stood `recent` tokens back, whatever its distance in the text.
struct TokenSelect: SelectionMethod {
  func budget(_ options: SelectorOptions) -> Budget? {
    Budget(sinks: options.sinks, recent: options.recent, topK: options.topK)
  }

  var scores: Bool { true }

  func query(
    of chunk: ChunkQueries, rotation: ScoringRotation, _ options: SelectorOptions, into query: UnsafeMutablePointer<Float>
  ) {
    let kernels = Kernels.active
    let d = chunk.headDim
    query.update(repeating: 0, count: chunk.heads * d)
    for t in 0..<chunk.count {
      for h in 0..<chunk.heads {
        let row = chunk.row(h, t)
        rotation.turn(row, place: t, d)
        kernels.pointee.add_scaled(query + h * d, row, d, 1)
      }
    }
    kernels.pointee.scale_by(query, chunk.heads * d, 1 / Float(chunk.count))
  }

  func score(
    _ query: UnsafePointer<Float>, over keys: CachedKeys, candidates: Range<Int>, _ options: SelectorOptions,
    on backend: any Backend, into scores: any TokenScores
  ) throws(TamisError) {
    try backend.score(
      query: query, qHeads: options.qHeads, over: keys, candidates: candidates,
      rule: VoteRule(kind: options.vote, headMap: options.headMap, pool: options.pool, topK: options.topK), into: scores)
  }
}
