/// What shares a budget: the words of each chunk, of each text, or all of them. The budget is dealt out by weight, so that the
/// parts sum to the whole.
struct BudgetGroups {
  /// Each group as ranges of words.
  private var groups: [[Range<Int>]] = []
  private var weights: [Int] = []

  init(_ scope: ThresholdScope, _ words: [CompressionWord], _ texts: [Range<Int>]) {
    switch scope {
    case .prompt: groups = [texts]
    case .context: groups = texts.map { [$0] }
    case .chunk:
      for text in texts {
        var start = text.lowerBound
        for i in text where i > start && words[i].flags.contains(.opensChunk) {
          groups.append([start..<i])
          start = i
        }
        groups.append([start..<text.upperBound])
      }
    }
    weights = groups.map { $0.reduce(0) { $0 + $1.reduce(0) { $0 + Int(words[$1].tokens) } } }
  }

  /// Sets `kept` of the words of all groups.
  func keep(_ words: inout [CompressionWord], budget: Int) {
    let total = max(1, weights.reduce(0, +))
    var before = 0
    var dealt = 0
    for (group, weight) in zip(groups, weights) {
      before += weight
      let upTo = Int((Double(budget) * (Double(before) / Double(total))).rounded(.down))
      BudgetSelection.keep(&words, group, budget: max(0, upTo - dealt))
      dealt = max(dealt, upTo)
    }
  }
}
