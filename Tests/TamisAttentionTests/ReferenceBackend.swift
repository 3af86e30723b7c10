import Tamis

#if canImport(Glibc)
import Glibc
#endif

/// The backend as a few plain loops in float64: what the domain's tests run on, written from the protocol's comments and
/// sharing nothing with the CPU backend.
final class ReferenceBackend: Backend {
  let name = "reference"
  let threads = 2
  /// Fails the store's writes after this many; nil: never.
  var writesUntilFailure: Int?

  func makeStore(_ layout: KVLayout) throws(TamisError) -> any KVStore { ReferenceStore(layout, self) }
  func makeScores() -> any TokenScores { ReferenceScores() }
  func makeSelection() -> any TokenSelection { ReferenceSelection() }

  func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError) {
    try attend(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress) { _, _, _ in true }
  }

  func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, tiles: TileLists, out: TensorView,
    lse: TensorView?, progress: Progress?
  ) throws(TamisError) {
    try attend(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress) { head, query, key in
      let list = head / (q.shape[0] / tiles.heads)
      return tiles.row(list, query / tiles.queryBlock).contains(Int32(key / tiles.keyBlock))
    }
  }

  private func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?, listed: (_ head: Int, _ query: Int, _ key: Int) -> Bool
  ) throws(TamisError) {
    let group = q.shape[0] / k.shape[0]
    for h in 0..<q.shape[0] {
      for t in 0..<q.shape[1] {
        let position = mask.queryOffset + t
        let legal = (0..<k.shape[1]).filter { j in
          (!mask.causal || j <= position) && (rule.window == 0 || j > position - rule.window) && listed(h, t, j)
        }
        let keys = legal.map { j in (0..<k.shape[2]).map { get(k, h / group, j, $0) } }
        let values = legal.map { j in (0..<v.shape[2]).map { get(v, h / group, j, $0) } }
        let query = (0..<q.shape[2]).map { get(q, h, t, $0) }
        let (o, l) = softmaxAttention(query, keys, values, isFirst: legal.map { $0 == 0 }, head: h, rule)
        for i in 0..<v.shape[2] { set(out, h, t, i, o[i]) }
        if let lse { setLSE(lse, h, t, l) }
      }
    }
    if let progress, !progress(1) { throw TamisError(.cancelled, "cancelled") }
  }

  func attend(
    q: TensorView, k: TensorView, v: TensorView, tokens: UnsafeBufferPointer<Int32>, rule: AttentionRule, mask: DenseMask,
    out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    try attend(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: nil) { _, _, key in
      tokens.contains(Int32(key))
    }
  }

  func addColumnSums(
    q: TensorView, k: TensorView, rule: AttentionRule, mask: DenseMask, lse: TensorView, heads: [Int],
    to sums: UnsafeMutablePointer<Double>, stride: Int, progress: Progress?
  ) throws(TamisError) {
    // A weight is what attention gives to a value of 1 at its key.
    let (c, n) = (q.shape[1], k.shape[1])
    for (at, h) in heads.enumerated() {
      for j in 0..<n {
        let (v, out) = (Tensor([k.shape[0], n, 1]), Tensor([q.shape[0], c, 1]))
        for g in 0..<k.shape[0] { v[g, j, 0] = 1 }
        try attend(q: q, k: k, v: v.view, rule: rule, mask: mask, out: out.view, lse: nil, progress: nil) { _, _, _ in true }
        for t in 0..<c { sums[at * stride + j] += out[h, t, 0] }
      }
    }
  }

  func score(
    query: UnsafePointer<Float>, qHeads: Int, over keys: CachedKeys, candidates: Range<Int>, rule: VoteRule,
    into scores: any TokenScores
  ) throws(TamisError) {
    let store = keys.store as! ReferenceStore
    let layout = store.layout
    var votes = [Double](repeating: 0, count: candidates.count)
    for h in 0..<qHeads {
      let kv = rule.headMap == .group ? h / (qHeads / layout.kvHeads) : h % layout.kvHeads
      let logits = candidates.map { token -> Double in
        let key = store.scoringKey(keys, token, kv)
        let dot = (0..<layout.headDim).reduce(0.0) { $0 + Double(query[h * layout.headDim + $1]) * key[$1] }
        if dot.isNaN { return -.infinity }
        return max(-Double(Float.greatestFiniteMagnitude), min(Double(Float.greatestFiniteMagnitude), dot))
      }
      switch rule.kind {
      case .soft:
        let top = logits.max() ?? 0
        let sum = logits.reduce(0) { $0 + exp($1 - top) }
        for j in votes.indices where top > -.infinity { votes[j] += exp(logits[j] - top) / sum }
      case .topK: for j in votes.indices { votes[j] += logits[j] }
      case .heads: for j in best(logits, rule.topK) { votes[j] += 1 }
      }
    }
    if rule.pool > 1 {
      let reach = rule.pool / 2
      votes = votes.indices.map { j in votes[max(0, j - reach)...min(votes.count - 1, j + reach)].max()! }
    }
    let into = scores as! ReferenceScores
    into.candidates = candidates
    into.values = votes
  }

  func select(_ k: Int, from scores: any TokenScores, into selection: any TokenSelection) throws(TamisError) {
    let scores = scores as! ReferenceScores
    (selection as! ReferenceSelection).tokens =
      best(scores.values, k).sorted().map { Int32(scores.candidates.lowerBound + $0) }
  }

  func attend(
    q: TensorView, over keys: CachedKeys, tokens: AttendedTokens, rule: AttentionRule, out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    let store = keys.store as! ReferenceStore
    let selected = (tokens.selected as! ReferenceSelection?)?.tokens.map(Int.init) ?? []
    let list = Array(0..<tokens.sinks) + selected + Array(tokens.recent)
    let c = q.shape[1]
    let group = q.shape[0] / store.layout.kvHeads
    for h in 0..<q.shape[0] {
      for t in 0..<c {
        let own = keys.count - c + t
        let compact = rule.positions == .compact
        let position = compact ? list.count - c + t : own
        let legal = list.indices.filter { list[$0] <= own && (rule.window == 0 || list[$0] > own - rule.window) }
        let keyRows = legal.map { place in
          rotated(store.values(keys, list[place], h / group, isV: false), rule.rope, compact ? place : list[place])
        }
        let valueRows = legal.map { store.values(keys, list[$0], h / group, isV: true) }
        let query = rotated((0..<q.shape[2]).map { get(q, h, t, $0) }, rule.rope, position)
        let (o, l) = softmaxAttention(query, keyRows, valueRows, isFirst: legal.map { list[$0] == 0 }, head: h, rule)
        for i in o.indices { set(out, h, t, i, o[i]) }
        if let lse { setLSE(lse, h, t, l) }
      }
    }
  }
}

/// The k best, best first; ties to the lower index, NaN as -inf.
func best(_ scores: [Double], _ k: Int) -> [Int] {
  let order = scores.indices.sorted { a, b in
    let x = scores[a].isNaN ? -Double.infinity : scores[a]
    let y = scores[b].isNaN ? -Double.infinity : scores[b]
    return x != y ? x > y : a < b
  }
  return Array(order.prefix(k))
}

/// One query over the keys it may see.
func softmaxAttention(
  _ q: [Double], _ keys: [[Double]], _ values: [[Double]], isFirst: [Bool], head: Int, _ rule: AttentionRule
) -> ([Double], Double) {
  var logits = keys.map { key in zip(q, key).reduce(0.0) { $0 + $1.0 * $1.1 } * Double(rule.scale) }
  for j in logits.indices {
    if rule.softcap > 0 { logits[j] = Double(rule.softcap) * tanh(logits[j] / Double(rule.softcap)) }
    if isFirst[j], let bias = rule.keyZeroBias { logits[j] += Double(bias[head]) }
  }
  var out = [Double](repeating: 0, count: values.first?.count ?? q.count)
  guard let top = logits.max() else { return (out, -.infinity) }
  let sum = logits.reduce(0) { $0 + exp($1 - top) }
  for (j, value) in values.enumerated() {
    let p = exp(logits[j] - top) / sum
    for i in out.indices { out[i] += p * value[i] }
  }
  return (out, top + log(sum))
}

/// R(x, position), arXiv 2104.09864, with angles in float64.
func rotated(_ x: [Double], _ rope: RoPE, _ position: Int) -> [Double] {
  if rope.isNone { return x }
  var y = x
  let half = rope.rotaryDims / 2
  for i in 0..<half {
    let angle = Double(position) * rope.scale * pow(rope.base, -2 * Double(i) / Double(rope.rotaryDims))
    let (a, b) = rope.style == .half ? (i, i + half) : (2 * i, 2 * i + 1)
    y[a] = x[a] * cos(angle) - x[b] * sin(angle)
    y[b] = x[b] * cos(angle) + x[a] * sin(angle)
  }
  return y
}

final class ReferenceScores: TokenScores {
  var candidates = 0..<0
  var values: [Double] = []
  func read(into host: UnsafeMutablePointer<Float>) throws(TamisError) {
    for (i, value) in values.enumerated() { host[i] = Float(value) }
  }
}

final class ReferenceSelection: TokenSelection {
  var tokens: [Int32] = []
  var count: Int { tokens.count }
  func read(into host: UnsafeMutablePointer<Int32>) throws(TamisError) {
    for (i, token) in tokens.enumerated() { host[i] = token }
  }
  func assign(_ list: UnsafePointer<Int32>, count: Int) throws(TamisError) {
    tokens = Array(UnsafeBufferPointer(start: list, count: count))
  }
}
