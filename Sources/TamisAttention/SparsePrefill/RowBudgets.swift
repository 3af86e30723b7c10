public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Budgets of query blocks that differ within bounds while their sum stays that of equal budgets (DHSA v2's dynamic rows, arXiv
/// 2510.24606 v2): what the lower bounds leave is poured over the rows by softmax(tanh priority), as water into vessels of
/// different height.
public struct RowBudgets: Sendable, Equatable {
  /// Multiples of the budget K that a row may have.
  public let lower, upper: Float
  static let rounds = 8

  /// - Throws: `invalidArgument` unless 0 <= lower <= 1 <= upper.
  public init(lower: Float, upper: Float) throws(TamisError) {
    try require(lower >= 0 && lower <= 1, "row_min is \(lower); expected 0 to 1")
    try require(upper >= 1 && upper.isFinite, "row_max is \(upper); expected a finite number of at least 1")
    self.lower = lower
    self.upper = upper
  }

  /// Tiles of each row; their sum is that of min(available, budget). A row that fits the budget keeps all it has.
  /// - Parameters:
  ///   - forced: tiles a row lists whatever its score; at most min(available, budget).
  ///   - priorities: any scale; NaN is the least.
  func tiles(available: [Int], forced: [Int], budget: Int, priorities: [Double]) -> [Int] {
    let low = max(1, Int((Double(lower) * Double(budget) * (1 + 1e-7)).rounded(.down)))
    let high = Int(min((Double(upper) * Double(budget) * (1 - 1e-7)).rounded(.up), 1e15))
    let floors = available.indices.map { available[$0] <= budget ? available[$0] : max(forced[$0], min(available[$0], low)) }
    let ceilings = available.map { $0 <= budget ? $0 : min($0, max(high, budget)) }
    let total = available.reduce(0) { $0 + min($1, budget) }
    return Self.pour(
      total - floors.reduce(0, +), floors: floors, ceilings: ceilings,
      weights: priorities.map { $0.isNaN ? exp(-1) : exp(tanh($0)) })
  }

  /// Adds `units` to the floors in proportion to the weights (positive), none above its ceiling: eight rounds of pouring what
  /// full rows could not take, then whole units by the largest remainder. Ties go to the lower row. The sum of what it returns
  /// is that of the floors plus `units`, or of the ceilings where those are too low.
  static func pour(_ units: Int, floors: [Int], ceilings: [Int], weights: [Double]) -> [Int] {
    let room = floors.indices.map { Double(max(0, ceilings[$0] - floors[$0])) }
    var level = [Double](repeating: 0, count: floors.count)
    var left = Double(units)
    for _ in 0..<rounds where left > 1e-9 {
      let open = floors.indices.filter { level[$0] < room[$0] }
      let mass = open.reduce(0) { $0 + weights[$1] }
      if open.isEmpty { break }
      var poured = 0.0
      for i in open {
        let share = min(room[i] - level[i], left * weights[i] / mass)
        level[i] += share
        poured += share
      }
      left -= poured
    }
    var whole = level.map { Int(($0 + 1e-9).rounded(.down)) }
    var rest = units - whole.reduce(0, +)
    let order = floors.indices.sorted {
      let a = level[$0] - Double(whole[$0])
      let b = level[$1] - Double(whole[$1])
      return a != b ? a > b : $0 < $1
    }
    while rest > 0 {
      let before = rest
      for i in order where rest > 0 && whole[i] < Int(room[i]) {
        whole[i] += 1
        rest -= 1
      }
      if rest == before { break }
    }
    return floors.indices.map { floors[$0] + whole[$0] }
  }
}
