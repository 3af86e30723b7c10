/// Spending a budget of counted tokens on words, best first.
///
/// Forced words come first and are kept even beyond the budget. The others follow by falling probability, ties by position
/// (left first), while they fit. A word that does not fit ends the selection, unless more than one per cent of the budget would
/// then stay unused: it is stepped over. NaN counts as minus infinity; words of weight 0 always fit. Speakers' labels are left out:
/// SpeakerLabels decides on them afterwards.
enum BudgetSelection {
  /// Sets `kept` of the words in the ranges.
  static func keep(_ words: inout [CompressionWord], _ ranges: [Range<Int>], budget: Int) {
    var spent = 0
    var order: [UInt64] = []
    order.reserveCapacity(ranges.reduce(0) { $0 + $1.count })
    for range in ranges {
      for i in range {
        words[i].flags.remove(.kept)
        if words[i].isForced {
          words[i].flags.insert(.kept)
          spent += Int(words[i].tokens)
        } else if !words[i].flags.contains(.label) {
          order.append(rank(words[i].probability) << 32 | UInt64(i))
        }
      }
    }
    order.sort()
    let slack = budget / 100
    for key in order {
      let i = Int(key & 0xffff_ffff)
      let weight = Int(words[i].tokens)
      if weight <= budget - spent || weight == 0 {
        words[i].flags.insert(.kept)
        spent += weight
      } else if budget - spent <= slack {
        break
      }
    }
  }

  /// Keeps forced words and those above a fixed probability.
  static func keep(_ words: inout [CompressionWord], _ range: Range<Int>, above threshold: Double) {
    for i in range {
      if words[i].isForced || (Double(words[i].probability) > threshold && !words[i].flags.contains(.label)) {
        words[i].flags.insert(.kept)
      } else {
        words[i].flags.remove(.kept)
      }
    }
  }

  /// Smaller for more probable: the order of f32 as integers, turned round.
  private static func rank(_ probability: Float) -> UInt64 {
    guard !probability.isNaN else { return 0xffff_ffff }
    let bits = (probability + 0).bitPattern  // -0 to 0
    return UInt64(~(bits & 0x8000_0000 == 0 ? bits | 0x8000_0000 : ~bits))
  }
}
