/// The coarse filter (native mode): which texts of a prompt stay. The best by mean probability, the forced ones first; ties go
/// to the first.
enum ContextSelection {
  /// - Parameters:
  ///   - scores: mean probability per text; NaN (no words) counts as minus infinity.
  ///   - tokens: counted tokens per text.
  ///   - count: texts to keep, nil: no such limit; `budget`: tokens the kept ones may have, nil: no such limit.
  static func keep(scores: [Double], tokens: [Int], count: Int?, budget: Int?, forced: Set<Int>) -> [Bool] {
    var kept = scores.indices.map { forced.contains($0) }
    var left = (count ?? scores.count) - kept.reduce(0) { $0 + ($1 ? 1 : 0) }
    var room = (budget ?? Int.max) - zip(kept, tokens).reduce(0) { $0 + ($1.0 ? $1.1 : 0) }
    func value(_ i: Int) -> Double { scores[i].isNaN ? -.infinity : scores[i] }
    for i in scores.indices.sorted(by: { value($0) != value($1) ? value($0) > value($1) : $0 < $1 }) where !kept[i] {
      guard left > 0 else { break }
      guard tokens[i] <= room else { continue }
      kept[i] = true
      left -= 1
      room -= tokens[i]
    }
    return kept
  }
}
