/// A regular expression as a tree.
indirect enum RegexNode: Equatable, Sendable {
  enum Greed: Sendable {
    case greedy, lazy, possessive
  }
  enum Assertion: Sendable {
    /// `^`, `$`: at line breaks too, as Oniguruma's Ruby syntax has it.
    case lineStart, lineEnd
    /// `\A`, `\z`, `\Z`
    case textStart, textEnd, textEndOrLastBreak
    case wordBorder, notWordBorder
  }

  case set(ScalarSet)
  case sequence([RegexNode])
  case alternation([RegexNode])
  /// maximum nil: no limit
  case repetition(RegexNode, minimum: Int, maximum: Int?, Greed)
  case look(RegexNode, behind: Bool, negative: Bool)
  case atomic(RegexNode)
  case assertion(Assertion)

  /// Scalars that it matches, where that is one number.
  var fixedLength: Int? {
    switch self {
    case .set: return 1
    case .look, .assertion: return 0
    case .atomic(let node): return node.fixedLength
    case .sequence(let nodes):
      var sum = 0
      for node in nodes {
        guard let length = node.fixedLength, case let (total, overflow) = sum.addingReportingOverflow(length), !overflow else {
          return nil
        }
        sum = total
      }
      return sum
    case .alternation(let nodes):
      guard let first = nodes.first?.fixedLength, nodes.dropFirst().allSatisfy({ $0.fixedLength == first }) else { return nil }
      return first
    case .repetition(let node, let minimum, let maximum, _):
      guard maximum == minimum, let length = node.fixedLength else { return nil }
      let (product, overflow) = length.multipliedReportingOverflow(by: minimum)
      return overflow ? nil : product
    }
  }
}
