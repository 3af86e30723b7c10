/// Which words of a text its compression kept.
public enum WordAlignment: Int32, Sendable {
  case exact = 0
  case window = 1

  /// LLMLingua-2's fuzzy alignment (arXiv 2403.12968, Algorithm 1; `label_word.py` of the official code): each word of the
  /// compression looks for an equal, unlabelled word of the text from the last match outwards, forwards first, less than
  /// `window` words away, labels it and goes on from there, but never by more than window / 2 at once. Words without a partner
  /// are passed over.
  static func window(_ original: [Int32], _ compressed: [Int32], window: Int) -> [Bool] {
    var labels = [Bool](repeating: false, count: original.count)
    let half = window / 2
    var last = 0
    for word in compressed {
      // Beyond both ends there is nothing left to look at.
      let reach = min(window, max(last + 1, original.count - last))
      for i in 0..<reach {
        let ahead = last + i
        if ahead < original.count && original[ahead] == word && !labels[ahead] {
          labels[ahead] = true
          last = min(ahead, last + half)
          break
        }
        let behind = last - i
        if behind >= 0 && behind < original.count && original[behind] == word && !labels[behind] {
          labels[behind] = true
          last = behind
          break
        }
      }
    }
    return labels
  }

  /// Pairs of equal words that `exact` weighs at most: 128 MB of them.
  static let largestSearch = 1 << 23

  /// The embedding of the compression in the text, in order, of least cost: g words skipped between two kept ones cost four
  /// times the bit length of g, a second one inside another line costs 8, a word whose bytes differ 1; ties go to the later
  /// word. nil when there is none, or when the search would weigh more than `limit` pairs of equal words.
  /// - Parameters:
  ///   - lines: number of the line of each word of the text.
  ///   - isSame: whether word j of the text and word i of the compression have the same bytes.
  static func exact(
    _ original: [Int32], _ compressed: [Int32], lines: [Int32], limit: Int = largestSearch, isSame: (Int, Int) -> Bool
  ) -> [Bool]? {
    var labels = [Bool](repeating: false, count: original.count)
    if compressed.isEmpty { return labels }
    if compressed.count > original.count { return nil }
    let places = Places(original)
    // One column per word of the compression: the places it may have, the least cost of getting there, and from which entry.
    var entries: [Entry] = []
    var columnStarts = [0]
    for (i, word) in compressed.enumerated() {
      // What stands before place i, or leaves too little room for the words to come, has no embedding.
      let column = places.of(word, in: i..<original.count - (compressed.count - 1 - i))
      if entries.count + column.count > limit { return nil }
      let previous = i == 0 ? nil : columnStarts[i - 1]..<columnStarts[i]
      for place in column {
        let surface: Int32 = isSame(Int(place), i) ? 0 : 1
        guard let previous else {
          entries.append(Entry(place: place, cost: surface, from: -1, least: min(surface, entries.last?.least ?? .max)))
          continue
        }
        guard let (from, cost) = cheapest(entries, previous, before: place, lines) else { continue }
        let least = entries.count > columnStarts[i] ? entries[entries.count - 1].least : .max
        entries.append(Entry(place: place, cost: cost + surface, from: from, least: min(cost + surface, least)))
      }
      if entries.count == columnStarts[i] { return nil }
      columnStarts.append(entries.count)
    }
    var best = columnStarts[compressed.count - 1]
    for e in best..<entries.count where entries[e].cost <= entries[best].cost { best = e }
    var at = Int32(truncatingIfNeeded: best)
    while at >= 0 {
      labels[Int(entries[Int(at)].place)] = true
      at = entries[Int(at)].from
    }
    return labels
  }

  private struct Entry {
    let place: Int32
    let cost: Int32
    let from: Int32
    /// Least cost of this entry and those of its column before it.
    let least: Int32
  }

  /// The entry of a column from which `place` is reached at least cost, the latest among equals.
  private static func cheapest(
    _ entries: [Entry], _ column: Range<Int>, before place: Int32, _ lines: [Int32]
  ) -> (from: Int32, cost: Int32)? {
    let line = lines[Int(place)]
    let opensLine = place == 0 || lines[Int(place) - 1] != line
    var low = column.lowerBound
    var high = column.upperBound
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].place < place { low = middle + 1 } else { high = middle }
    }
    var best: (from: Int32, cost: Int32)?
    var e = low - 1
    while e >= column.lowerBound {
      let skipped = place - entries[e].place - 1
      let turn: Int32 = opensLine || lines[Int(entries[e].place)] == line ? 0 : 8
      let step = 4 * Int32(Int32.bitWidth - skipped.leadingZeroBitCount) + turn
      // Earlier entries skip at least as much: none of them can be cheaper.
      if let best, entries[e].least + step >= best.cost { break }
      let cost = entries[e].cost + step
      if cost < best?.cost ?? .max { best = (Int32(truncatingIfNeeded: e), cost) }
      e -= 1
    }
    return best
  }

  /// Where each word stands, ascending.
  private struct Places {
    private var starts: [Int]
    private var places: [Int32]

    init(_ words: [Int32]) {
      starts = [Int](repeating: 0, count: Int(words.max() ?? -1) + 2)
      for word in words { starts[Int(word) + 1] += 1 }
      for w in 1..<starts.count { starts[w] += starts[w - 1] }
      var next = starts
      places = [Int32](repeating: 0, count: words.count)
      for (j, word) in words.enumerated() {
        places[next[Int(word)]] = Int32(truncatingIfNeeded: j)
        next[Int(word)] += 1
      }
    }

    func of(_ word: Int32, in range: Range<Int>) -> ArraySlice<Int32> {
      guard Int(word) + 1 < starts.count else { return [] }
      let all = places[starts[Int(word)]..<starts[Int(word) + 1]]
      let first = Self.lowerBound(all, range.lowerBound)
      return all[first..<max(first, Self.lowerBound(all, range.upperBound))]
    }

    /// The first index of an ascending list whose place is not below `place`.
    private static func lowerBound(_ list: ArraySlice<Int32>, _ place: Int) -> Int {
      var low = list.startIndex
      var high = list.endIndex
      while low < high {
        let middle = (low + high) / 2
        if Int(list[middle]) < place { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }
}
