public import TamisCore
public import TamisDevice

/// TER (Snover et al. 2006) as sacreBLEU 2.6.0 computes it after Tercom: greedy shifts of blocks, then a beam edit distance.
public enum TranslationEditRate {
  static let longestShift = 10
  static let farthestShift = 50
  static let beam = 25
  static let mostCandidates = 1000

  /// Per hypothesis: the fewest edits over its references, and the mean length of these.
  public static func count(_ batch: ScoredBatch, context: Context, progress: Progress? = nil)
    throws(TamisError) -> (edits: [Int64], lengths: [Double])
  {
    var edits = [Int64](repeating: 0, count: batch.hypotheses.count)
    var lengths = [Double](repeating: 0, count: batch.hypotheses.count)
    try edits.withUnsafeMutableBufferPointer { (edits) throws(TamisError) in
      try lengths.withUnsafeMutableBufferPointer { (lengths) throws(TamisError) in
        nonisolated(unsafe) let edits = edits
        nonisolated(unsafe) let lengths = lengths
        try SegmentRounds.run(batch.segments, tokens: 100 * batch.total, context: context, progress: progress) { segments in
          let aligner = ShiftAligner()
          for s in segments {
            let references = batch.references(of: s)
            var total = 0
            for r in references { total += batch.references[r].count }
            for h in batch.hypotheses(of: s) {
              var best = Int64.max
              for r in references {
                best = min(best, Int64(aligner.edits(Array(batch.hypotheses[h]), Array(batch.references[r]))))
              }
              edits[h] = best
              lengths[h] = Double(total) / Double(references.count)
            }
          }
        }
      }
    }
    return (edits, lengths)
  }

  /// Per cent; without words in the references 100 for any edit, 0 for none.
  public static func score(edits: Int64, length: Double) -> Double {
    100 * (length > 0 ? Double(edits) / length : edits > 0 ? 1 : 0)
  }
}

/// Edit distance with shifts of one pair of sentences.
final class ShiftAligner {
  private static let unreached: Int32 = 1 << 30
  private enum Operation { static let match: UInt8 = 0, substitute: UInt8 = 1, delete: UInt8 = 2, insert: UInt8 = 3 }

  /// The dynamic programme of one order of the hypothesis: [h + 1][r + 1].
  private struct Matrix {
    var cost: [Int32] = []
    var operation: [UInt8] = []
  }

  private var reference: [Int32] = []
  private var base = Matrix()
  private var trial = Matrix()
  private var shifted: [Int32] = []
  private var best: [Int32] = []
  // Of the order at hand: where each reference word lies, and which words are wrong on each side.
  private var alignment: [Int] = []
  private var referenceErrors: [Int] = []
  private var hypothesisErrors: [Int] = []

  func edits(_ hypothesis: [Int32], _ reference: [Int32]) -> Int {
    if reference.isEmpty { return hypothesis.count }
    self.reference = reference
    var words = hypothesis
    var shifts = 0
    var checked = 0
    fill(&base, words, from: 0)
    while true {
      let gain = bestShift(words, &checked)
      if checked >= TranslationEditRate.mostCandidates || gain <= 0 { break }
      shifts += 1
      words = best
      fill(&base, words, from: 0)
    }
    return shifts + Int(distance(base))
  }

  private func distance(_ matrix: borrowing Matrix) -> Int32 { matrix.cost[matrix.cost.count - 1] }

  /// Rows `first` + 1 and on; the rows before them hold already.
  @_optimize(speed)
  private func fill(_ matrix: inout Matrix, _ words: [Int32], from first: Int) {
    let (h, r) = (words.count, reference.count)
    let width = r + 1
    if matrix.cost.count != (h + 1) * width {
      matrix.cost = [Int32](repeating: Self.unreached, count: (h + 1) * width)
      matrix.operation = [UInt8](repeating: Operation.insert, count: (h + 1) * width)
    }
    if first == 0 { for j in 0..<width { matrix.cost[j] = Int32(j) } }
    let ratio = h > 0 ? Double(r) / Double(h) : 1
    let half = Double(TranslationEditRate.beam) < ratio / 2
      ? Int((ratio / 2 + Double(TranslationEditRate.beam)).rounded(.up)) : TranslationEditRate.beam
    let unreached = Self.unreached
    reference.withUnsafeBufferPointer { reference in
      matrix.cost.withUnsafeMutableBufferPointer { cost in
        matrix.operation.withUnsafeMutableBufferPointer { operation in
          for i in stride(from: first + 1, through: h, by: 1) {
            let diagonal = Int((Double(i) * ratio).rounded(.down))
            let low = max(0, diagonal - half)
            let high = i == h ? width : min(width, diagonal + half)
            let (row, above) = (i * width, (i - 1) * width)
            for j in 0..<min(low, width) { cost[row + j] = unreached }
            for j in max(0, min(high, width))..<width { cost[row + j] = unreached }
            let word = words[i - 1]
            var j = low
            while j < high {
              if j == 0 {
                cost[row] = cost[above] &+ 1
                operation[row] = Operation.delete
              } else {
                let isSame = word == reference[j - 1]
                var least = cost[above + j - 1] &+ (isSame ? 0 : 1)
                var chosen = isSame ? Operation.match : Operation.substitute
                if cost[above + j] &+ 1 < least {
                  least = cost[above + j] &+ 1
                  chosen = Operation.delete
                }
                let left = j > low ? cost[row + j - 1] : unreached
                if left &+ 1 < least {
                  least = left &+ 1
                  chosen = Operation.insert
                }
                cost[row + j] = least
                operation[row + j] = chosen
              }
              j += 1
            }
          }
        }
      }
    }
  }

  /// The trace of `base` from the end, flipped: how the reference becomes the hypothesis.
  private func align(_ words: [Int32]) {
    let width = reference.count + 1
    var (i, j) = (words.count, reference.count)
    alignment = [Int](repeating: 0, count: reference.count)
    referenceErrors = [Int](repeating: 0, count: reference.count + 1)
    hypothesisErrors = [Int](repeating: 0, count: words.count + 1)
    while i > 0 || j > 0 {
      switch i == 0 ? Operation.insert : base.operation[i * width + j] {
      case Operation.insert:
        // In the reference only: aligned with the hypothesis word before.
        j -= 1
        alignment[j] = i - 1
        referenceErrors[j] = 1
      case Operation.delete:
        i -= 1
        hypothesisErrors[i] = 1
      case let operation:
        i -= 1
        j -= 1
        alignment[j] = i
        if operation == Operation.substitute {
          referenceErrors[j] = 1
          hypothesisErrors[i] = 1
        }
      }
    }
  }

  /// Finds the shift that ranks first and leaves its order in `best`; returns what it saves.
  private func bestShift(_ words: [Int32], _ checked: inout Int) -> Int {
    align(words)
    let before = Int(distance(base))
    if trial.cost.count != base.cost.count { trial = base }
    var rank: (gain: Int, length: Int, start: Int, target: Int)?
    let (h, r) = (words.count, reference.count)
    for start in 0..<h {
      let low = max(0, start - TranslationEditRate.farthestShift)
      for place in low..<max(low, min(r, start + TranslationEditRate.farthestShift + 1)) {
        var length = 0
        while length < TranslationEditRate.longestShift && words[start + length] == reference[place + length] {
          length += 1
          consider(words, start, place, length, before, &rank, &checked)
          if checked >= TranslationEditRate.mostCandidates { return rank?.gain ?? 0 }
          if start + length == h || place + length == r { break }
        }
      }
    }
    return rank?.gain ?? 0
  }

  private func consider(
    _ words: [Int32], _ start: Int, _ place: Int, _ length: Int, _ before: Int,
    _ rank: inout (gain: Int, length: Int, start: Int, target: Int)?, _ checked: inout Int
  ) {
    guard hypothesisErrors[start..<start + length].contains(1), referenceErrors[place..<place + length].contains(1),
      !(start <= alignment[place] && alignment[place] < start + length)
    else { return }
    var previous = -1
    for offset in -1..<length {
      let target = place + offset == -1 ? 0 : alignment[place + offset] + 1
      if target == previous { continue }
      previous = target
      shift(words, start, length, target)
      // The order is the same up to the first word that moved.
      let first = min(start, target)
      copyRows(first)
      fill(&trial, shifted, from: first)
      let gain = before - Int(distance(trial))
      checked += 1
      let isBetter =
        rank.map { (gain, length, -start, -target) > ($0.gain, $0.length, -$0.start, -$0.target) } ?? true
      if isBetter {
        rank = (gain, length, start, target)
        best = shifted
      }
    }
  }

  private func copyRows(_ first: Int) {
    let n = (first + 1) * (reference.count + 1)
    base.cost.withUnsafeBufferPointer { source in
      trial.cost.withUnsafeMutableBufferPointer { $0.baseAddress!.update(from: source.baseAddress!, count: n) }
    }
  }

  private func shift(_ words: [Int32], _ start: Int, _ length: Int, _ target: Int) {
    shifted.removeAll(keepingCapacity: true)
    let end = start + length
    if target < start {
      shifted += words[..<target]
      shifted += words[start..<end]
      shifted += words[target..<start]
      shifted += words[end...]
    } else {
      // A target inside the block moves it by as much to the right.
      let after = target > end ? target : max(end, min(words.count, length + target))
      shifted += words[..<start]
      shifted += words[end..<after]
      shifted += words[start..<end]
      shifted += words[after...]
    }
  }
}
