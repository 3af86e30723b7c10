public import TamisCore

/// How much sequences repeat themselves and each other.
public enum Diversity {
  /// Different n-grams and all n-grams for n = 1 to maxN: of each sequence, [count][maxN][2], and of all together, [maxN][2].
  public static func distinct(_ lists: TokenLists, maxN: Int) -> (each: [Int64], all: [Int64]) {
    var each = [Int64](repeating: 0, count: lists.count * maxN * 2)
    var all = [Int64](repeating: 0, count: maxN * 2)
    var index = NGramIndex(lists)
    for n in 0..<maxN {
      if n > 0 { index.advance() }
      var seen = [Int](repeating: -1, count: index.distinct + 1)
      for i in 0..<lists.count {
        var (unique, total) = (0, 0)
        for p in index.starts[i]..<index.starts[i + 1] where index.ranks[p] != 0 {
          total += 1
          if seen[Int(index.ranks[p])] != i {
            seen[Int(index.ranks[p])] = i
            unique += 1
          }
        }
        each[(i * maxN + n) * 2] = Int64(unique)
        each[(i * maxN + n) * 2 + 1] = Int64(total)
        all[n * 2 + 1] += Int64(total)
      }
      all[n * 2] = Int64(index.distinct)
    }
    return (each, all)
  }

  /// Self-BLEU (Zhu et al. 2018): BLEU of each sequence with all others as references; weights 1 / maxN, NLTK's method1.
  /// One pass:
  /// of every n-gram the two largest counts are kept, and whose the first is.
  /// - Throws: `invalidArgument`: fewer than two sequences.
  public static func selfBLEU(_ lists: TokenLists, maxN: Int) throws(TamisError) -> [Double] {
    try require(lists.count >= 2, "lists has \(lists.count) sequences; expected at least 2, so that each has others")
    var index = NGramIndex(lists)
    let width = NGramStatistics.width(maxN)
    var rows = [Int64](repeating: 0, count: lists.count * width)
    for n in 0..<maxN {
      if n > 0 { index.advance() }
      var counts = [Count](repeating: Count(), count: index.distinct + 1)
      for i in 0..<lists.count {
        for p in index.starts[i]..<index.starts[i + 1] where index.ranks[p] != 0 { counts[Int(index.ranks[p])].add(i) }
      }
      for i in 0..<lists.count {
        var matches: Int64 = 0
        for p in index.starts[i]..<index.starts[i + 1] where index.ranks[p] != 0 {
          matches += counts[Int(index.ranks[p])].take(lists.count + i, limitFor: i)
        }
        rows[i * width + 2 + n] = matches
        rows[i * width + 2 + maxN + n] = Int64(max(0, lists[i].count - n))
      }
    }
    let order = (0..<lists.count).sorted { (lists[$0].count, $0) < (lists[$1].count, $1) }
    for (place, i) in order.enumerated() {
      let length = lists[i].count
      rows[i * width] = Int64(length)
      let below = place > 0 ? lists[order[place - 1]].count : nil
      let above = place + 1 < order.count ? lists[order[place + 1]].count : nil
      let nearest =
        if let below, let above { above - length < length - below ? above : below } else { below ?? above ?? 0 }
      rows[i * width + 1] = Int64(nearest)
    }
    var options = BLEUOptions()
    options.rule = .nltk
    options.smoothing = .method1
    options.orders = maxN
    return try BLEU(options).sentences(NGramStatistics(orders: maxN, rows: rows))
  }

  private struct Count {
    private var first: Int32 = 0
    private var second: Int32 = 0
    private var owner = -1
    private var running: Int32 = 0
    private var stamp = -1

    mutating func add(_ i: Int) {
      running = stamp == i ? running + 1 : 1
      stamp = i
      if owner == i {
        first = running
      } else if running > first {
        second = first
        first = running
        owner = i
      } else {
        second = max(second, running)
      }
    }

    /// 1 while sequence i has taken fewer than another one has.
    mutating func take(_ mark: Int, limitFor i: Int) -> Int64 {
      if stamp != mark {
        stamp = mark
        running = 0
      }
      running += 1
      return running <= (owner == i ? second : first) ? 1 : 0
    }
  }

  /// Tokens that are among the `window` tokens before them (rep-l of unlikelihood training, arXiv 1908.04319).
  public static func repeats(_ ids: UnsafeBufferPointer<Int32>, window: Int) -> Int {
    var last: [Int32: Int] = [:]
    var found = 0
    for (t, id) in ids.enumerated() {
      if let before = last[id], t - before <= window { found += 1 }
      last[id] = t
    }
    return found
  }

  /// Length of the longest run of one token.
  public static func longestRun(_ ids: UnsafeBufferPointer<Int32>) -> Int {
    var (best, run) = (0, 0)
    for t in 0..<ids.count {
      run = t > 0 && ids[t] == ids[t - 1] ? run + 1 : 1
      best = max(best, run)
    }
    return best
  }

  /// Length of the longest stretch that occurs twice; the two may overlap. O(n log n).
  public static func longestRepeat(_ ids: UnsafeBufferPointer<Int32>) -> Int {
    let starts: [Int64] = [0, Int64(ids.count)]
    return starts.withUnsafeBufferPointer { starts in
      var index = NGramIndex(TokenLists(ids: ids.baseAddress, starts: starts.baseAddress!, count: 1))
      func repeats(_ index: NGramIndex) -> Bool { index.distinct < index.ranks.reduce(0) { $0 + ($1 != 0 ? 1 : 0) } }
      guard repeats(index) else { return 0 }
      var powers = [index]
      while true {
        var next = index
        next.combine(index.ranks, 1 << (powers.count - 1))
        guard repeats(next) else { break }
        powers.append(next)
        index = next
      }
      var length = 1 << (powers.count - 1)
      for k in stride(from: powers.count - 2, through: 0, by: -1) {
        var longer = index
        longer.combine(powers[k].ranks, length)
        if repeats(longer) {
          index = longer
          length += 1 << k
        }
      }
      return length
    }
  }
}
