import CShims

/// Extended grapheme clusters (UAX #29, Unicode 15.0 with rule GB9c of 15.1).
public enum GraphemeClusters {
  /// Where the cluster that starts at `at` ends, at most at `end`.
  @inline(__always)
  static func end(_ base: UnsafePointer<UInt8>, from at: Int, to end: Int) -> Int {
    let (c, length) = UTF8Text.scalar(base, at: at)
    let next = at &+ length
    // Two ASCII scalars never join, but for CR LF.
    if c < 0x80, next < end, base[next] < 0x80 { return c == 0x0d && base[next] == 0x0a ? next &+ 1 : next }
    return longEnd(base, c, next, end)
  }

  private static func longEnd(_ base: UnsafePointer<UInt8>, _ first: UInt32, _ from: Int, _ end: Int) -> Int {
    var state = State(ts_grapheme(first))
    var at = from
    while at < end {
      let (c, length) = UTF8Text.scalar(base, at: at)
      if state.breaks(before: ts_grapheme(c)) { return at }
      at &+= length
    }
    return end
  }

  /// What is behind us in the cluster, as far as the rules look back.
  private struct State {
    var last: Int
    /// Regional indicators at the end, modulo 2.
    var isOddIndicator: Bool
    /// Extended_Pictographic Extend*, the start of GB11.
    var pictographic: Bool
    /// Consonant [Extend Linker]*, the start of GB9c, and whether a linker was among them.
    var conjunct: Bool
    var linked = false

    init(_ entry: UInt8) {
      last = Int(entry & 15)
      isOddIndicator = last == ts_break_Regional_Indicator
      pictographic = entry & 16 != 0
      conjunct = entry >> 5 == 2
    }

    mutating func breaks(before entry: UInt8) -> Bool {
      let next = Int(entry & 15)
      if isBreak(next, entry) { return true }
      let joinsPictograph = last == ts_break_ZWJ && pictographic && entry & 16 != 0
      isOddIndicator = next == ts_break_Regional_Indicator && !isOddIndicator
      pictographic = entry & 16 != 0 || (pictographic && (next == ts_break_Extend || next == ts_break_ZWJ) && !joinsPictograph)
      switch entry >> 5 {
      case 2: (conjunct, linked) = (true, false)
      case 3: linked = conjunct
      case 1: break
      default: conjunct = false
      }
      last = next
      return false
    }

    private func isBreak(_ next: Int, _ entry: UInt8) -> Bool {
      if last == ts_break_CR { return next != ts_break_LF }  // GB3, GB4
      if last == ts_break_LF || last == ts_break_Control { return true }  // GB4
      switch next {
      case Int(ts_break_CR), Int(ts_break_LF), Int(ts_break_Control): return true  // GB5
      case Int(ts_break_Extend), Int(ts_break_ZWJ), Int(ts_break_SpacingMark): return false  // GB9, GB9a
      default: break
      }
      switch last {
      case Int(ts_break_Prepend): return false  // GB9b
      case Int(ts_break_L):  // GB6
        if next == ts_break_L || next == ts_break_V || next == ts_break_LV || next == ts_break_LVT { return false }
      case Int(ts_break_LV), Int(ts_break_V):  // GB7
        if next == ts_break_V || next == ts_break_T { return false }
      case Int(ts_break_LVT), Int(ts_break_T):  // GB8
        if next == ts_break_T { return false }
      case Int(ts_break_Regional_Indicator):  // GB12, GB13
        if next == ts_break_Regional_Indicator { return !isOddIndicator }
      default: break
      }
      if conjunct, linked, entry >> 5 == 2 { return false }  // GB9c
      if last == ts_break_ZWJ, pictographic, entry & 16 != 0 { return false }  // GB11
      return true
    }
  }

  /// The borders of the clusters of a text: 0, every break, and the length.
  public static func borders(_ text: UnsafeBufferPointer<UInt8>) -> [Int] {
    var borders = [0]
    guard let base = text.baseAddress else { return borders }
    var at = 0
    while at < text.count {
      at = end(base, from: at, to: text.count)
      borders.append(at)
    }
    return borders
  }
}
