/// Whether a word may end inside a text, by the characters on both sides. Decided by the text alone, so it is the same for
/// every tokenizer.
///
/// Letters and digits grow together; so do what stands between two of them in 3.5, 1,000, 10:30, 1/2, don't, U.S, AT&T,
/// well-known and snake_case, a currency sign or sign and its number, a number and its per cent, runs of one punctuation
/// character, and anything with the marks and joiners that follow it.
struct WordBoundary {
  let text: ScalarReader

  /// `i` is strictly inside the text and no white space stands on either side. `start`: where the word before i begins.
  func joins(at i: Int, wordFrom start: Int) -> Bool {
    let a = text.scalar(before: i)
    let b = text.scalar(at: i)
    let left = ScalarClass(a.code)
    let right = ScalarClass(b.code)
    if right == .extend || left == .extend { return left != .space && right != .space }
    if left.isWord && right.isWord { return true }
    if left == .katakana && right == .katakana { return true }
    if left == .regional && right == .regional { return endsInsidePair(i, from: start) }
    if left.isWord && right == .punctuation {
      if b.code == 0x25 && left == .digit { return true }  // 50%
      let after = i + b.length
      return after < text.bytes.count && bridges(left, b.code, text.classAt(after))
    }
    if left == .punctuation && right.isWord {
      let before = i - a.length
      let outer = before > 0 ? text.classBefore(before) : .space
      if right == .digit && isUnit(a.code) && !(outer.isWord && a.code < 0x80 && a.code != 0x24) { return true }
      return bridges(outer, a.code, right)
    }
    if left == .punctuation && right == .punctuation { return a.code == b.code }
    return false
  }

  /// Currency signs and signs that a number is not to lose.
  private func isUnit(_ code: UInt32) -> Bool {
    switch code {
    case 0x24, 0x2b, 0x2d, 0x2212, 0xa3, 0xa5, 0x20a0...0x20c0: true  // $ + - − £ ¥ ..
    default: false
    }
  }

  private func bridges(_ left: ScalarClass, _ middle: UInt32, _ right: ScalarClass) -> Bool {
    guard left.isWord, right.isWord else { return false }
    switch middle {
    case 0x5f, 0x2d, 0x2010, 0x2011: return true  // _ - and hyphens
    case 0x27, 0x2019, 0xb7: return left == .letter && right == .letter  // ' ’ ·
    case 0x26: return left == .letter && right == .letter  // &
    case 0x2e: return left == right  // .
    case 0x2c, 0x3a, 0x2f: return left == .digit && right == .digit  // , : /
    default: return false
    }
  }

  /// Flags are pairs of regional indicators: odd ones join the next. Words end between pairs, so no more than the word is
  /// looked at.
  private func endsInsidePair(_ i: Int, from start: Int) -> Bool {
    var count = 0
    var at = i
    while at > start {
      let previous = text.scalar(before: at)
      guard ScalarClass(previous.code) == .regional else { break }
      count += 1
      at -= previous.length
    }
    return count % 2 == 1
  }
}
