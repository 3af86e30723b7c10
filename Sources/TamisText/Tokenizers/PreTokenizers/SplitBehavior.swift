/// What becomes of the matches of a splitting pattern: "the-final--countdown" at "-".
public enum SplitBehavior: String, Sendable, CaseIterable {
  /// the | final | countdown
  case removed = "Removed"
  /// the | - | final | - | - | countdown
  case isolated = "Isolated"
  /// the- | final- | - | countdown
  case mergedWithPrevious = "MergedWithPrevious"
  /// the | -final | - | -countdown
  case mergedWithNext = "MergedWithNext"
  /// the | - | final | -- | countdown
  case contiguous = "Contiguous"
}

/// Takes the pieces of one slice in order, matches and what lies between them, and appends what the behaviour makes of them.
struct SplitCollector {
  let behavior: SplitBehavior
  private var pending: TextSlice?
  private var lastIsMatch = false

  init(_ behavior: SplitBehavior) { self.behavior = behavior }

  @inline(__always)
  mutating func piece(_ start: Int, _ end: Int, isMatch: Bool, _ slices: inout [TextSlice]) {
    switch behavior {
    case .isolated:
      if start < end { slices.append(TextSlice(start, end)) }
    case .removed:
      if !isMatch, start < end { slices.append(TextSlice(start, end)) }
    case .mergedWithPrevious:
      join(start, end, isMatch && !lastIsMatch, &slices)
    case .contiguous:
      join(start, end, isMatch == lastIsMatch, &slices)
    case .mergedWithNext:
      // A match waits for what follows and goes with it unless that is a match too.
      join(start, end, lastIsMatch && !isMatch, &slices)
    }
    lastIsMatch = isMatch
  }

  @inline(__always)
  private mutating func join(_ start: Int, _ end: Int, _ joins: Bool, _ slices: inout [TextSlice]) {
    if joins, pending != nil {
      pending?.end = Int32(truncatingIfNeeded: end)
    } else {
      flush(&slices)
      pending = TextSlice(start, end)
    }
  }

  private mutating func flush(_ slices: inout [TextSlice]) {
    if let pending, pending.start < pending.end { slices.append(pending) }
    pending = nil
  }

  /// The slice is over.
  @inline(__always)
  mutating func finish(_ slices: inout [TextSlice]) {
    flush(&slices)
    lastIsMatch = false
  }
}

/// Splitting at single scalars.
enum ScalarSplit {
  /// Every scalar for which `isMatch` is true is a match of its own.
  @inline(__always)
  static func split(
    _ text: AlignedText, _ slices: inout [TextSlice], _ behavior: SplitBehavior, _ isMatch: (UInt32) -> Bool
  ) {
    var new: [TextSlice] = []
    new.reserveCapacity(max(slices.count, text.bytes.count / 4))
    text.bytes.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      var collector = SplitCollector(behavior)
      for slice in slices {
        let end = Int(slice.end)
        var at = Int(slice.start)
        var gap = at
        while at < end {
          let (c, length) = UTF8Text.scalar(base, at: at)
          if isMatch(c) {
            if gap < at { collector.piece(gap, at, isMatch: false, &new) }
            collector.piece(at, at &+ length, isMatch: true, &new)
            gap = at &+ length
          }
          at &+= length
        }
        if gap < end { collector.piece(gap, end, isMatch: false, &new) }
        collector.finish(&new)
      }
    }
    slices = new
  }
}
