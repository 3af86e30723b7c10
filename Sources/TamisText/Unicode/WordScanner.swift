import CShims

/// The splitting patterns of the GPT family, by hand: each step takes one match, and the matches cover the text without a gap.
///
/// - gpt2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
/// - cl100k (also Llama 3; Qwen 2 with one digit):
///   `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
/// - o200k: words by case, marks included, contractions at their end; `[\r\n/]*` behind punctuation.
struct WordScanner: Sendable, Equatable {
  enum Family: Sendable {
    case gpt2, cl100k, o200k
  }

  var family: Family
  /// Longest run of digits.
  var digits = Int.max
  /// `\s++$` first: white space at the end of the text is one match even where line breaks are in it (tiktoken's own patterns).
  var takesTrailingSpace = false

  @inline(__always)
  func each(_ base: UnsafePointer<UInt8>, from: Int, to: Int, _ body: (Int, Int) -> Void) {
    let cursor = Cursor(base: base, end: to)
    var at = from
    switch family {
    case .gpt2:
      while at < to {
        let end = gpt2(cursor, at)
        body(at, end)
        at = end
      }
    case .cl100k:
      while at < to {
        let end = cl100k(cursor, at)
        body(at, end)
        at = end
      }
    case .o200k:
      while at < to {
        let end = o200k(cursor, at)
        body(at, end)
        at = end
      }
    }
  }

  // MARK: one match

  @inline(__always)
  private func gpt2(_ text: Cursor, _ at: Int) -> Int {
    let lead = text.base[at]
    if lead == 0x27 {
      let length = text.contraction(at, ignoringCase: false)
      if length > 0 { return at &+ length }
    }
    var start = at
    var (kind, length) = text.kind(at)
    if lead == 0x20, at &+ 1 < text.end {
      let next = text.kind(at &+ 1)
      if !next.kind.isSpace {
        start = at &+ 1
        (kind, length) = next
      }
    }
    if kind.isLetter { return text.run(start &+ length) { $0.isLetter } }
    if kind.isNumber { return text.run(start &+ length) { $0.isNumber } }
    if !kind.isSpace { return text.run(start &+ length) { $0.isOther } }
    return text.spaces(at, first: length, breaks: false, trailing: false)
  }

  @inline(__always)
  private func cl100k(_ text: Cursor, _ at: Int) -> Int {
    let lead = text.base[at]
    if lead == 0x27 {
      let length = text.contraction(at, ignoringCase: true)
      if length > 0 { return at &+ length }
    }
    let (kind, length) = text.kind(at)
    let next = at &+ length
    if kind.isLetter { return text.run(next) { $0.isLetter } }
    if kind.isNumber { return text.run(next, atMost: digits &- 1) { $0.isNumber } }
    if lead != 0x0a, lead != 0x0d, next < text.end {
      let (kind, length) = text.kind(next)
      if kind.isLetter { return text.run(next &+ length) { $0.isLetter } }
    }
    return punctuationOrSpaces(text, at, kind, length, slash: false)
  }

  /// Upper: Lu Lt Lm Lo M; lower: Ll Lm Lo M. A word is U* L+ or else U+ L*, of what its optional first character leaves.
  @inline(__always)
  private func o200k(_ text: Cursor, _ at: Int) -> Int {
    let lead = text.base[at]
    let (kind, length) = text.kind(at)
    let next = at &+ length
    // The optional first character may be a mark, which can also begin the word.
    let takesFirst = !kind.isLetter && !kind.isNumber && lead != 0x0a && lead != 0x0d
    if takesFirst, next < text.end {
      let end = text.casedWord(next, needsLower: true)
      if end > next { return text.withContraction(end) }
    }
    if kind.isCased {
      let end = text.casedWord(at, needsLower: true)
      if end > at { return text.withContraction(end) }
    }
    if takesFirst, next < text.end {
      let end = text.casedWord(next, needsLower: false)
      if end > next { return text.withContraction(end) }
    }
    if kind.isCased {
      let end = text.casedWord(at, needsLower: false)
      if end > at { return text.withContraction(end) }
    }
    if kind.isNumber { return text.run(next, atMost: digits &- 1) { $0.isNumber } }
    return punctuationOrSpaces(text, at, kind, length, slash: true)
  }

  /// ` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
  @inline(__always)
  private func punctuationOrSpaces(_ text: Cursor, _ at: Int, _ kind: ScalarKind, _ length: Int, slash: Bool) -> Int {
    var start = at &+ length
    var isOther = !kind.isSpace
    if text.base[at] == 0x20, start < text.end {
      let next = text.kind(start)
      if next.kind.isOther {
        isOther = true
        start &+= next.length
      }
    }
    if !isOther { return text.spaces(at, first: length, breaks: true, trailing: takesTrailingSpace) }
    var end = text.run(start) { $0.isOther }
    while end < text.end, text.base[end] == 0x0a || text.base[end] == 0x0d || (slash && text.base[end] == 0x2f) { end &+= 1 }
    return end
  }
}

/// The classes that the patterns speak of, from a byte of the category table.
struct ScalarKind {
  let entry: UInt8

  @inline(__always) var isSpace: Bool { entry & 32 != 0 }
  @inline(__always) var isLetter: Bool { CategorySet.letter.contains(entry) }
  @inline(__always) var isNumber: Bool { CategorySet.number.contains(entry) }
  /// `[^\s\p{L}\p{N}]`
  @inline(__always) var isOther: Bool { !isSpace && !CategorySet(bits: 0x3e | 0xe00).contains(entry) }
  /// L or M
  @inline(__always) var isCased: Bool { CategorySet(bits: 0x3e | 0x1c0).contains(entry) }
  /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
  @inline(__always) var isUpper: Bool { CategorySet(bits: 0x3a | 0x1c0).contains(entry) }
  /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
  @inline(__always) var isLower: Bool { CategorySet(bits: 0x34 | 0x1c0).contains(entry) }
}

/// A text and where it ends.
struct Cursor {
  let base: UnsafePointer<UInt8>
  let end: Int

  @inline(__always)
  func kind(_ at: Int) -> (kind: ScalarKind, length: Int) {
    let (c, length) = UTF8Text.scalar(base, at: at)
    return (ScalarKind(entry: ts_category(c)), length)
  }

  /// End of the longest run from `at` of what `belongs`.
  @inline(__always)
  func run(_ from: Int, atMost limit: Int = .max, _ belongs: (ScalarKind) -> Bool) -> Int {
    var at = from
    var left = limit
    while at < end, left > 0 {
      let (kind, length) = kind(at)
      if !belongs(kind) { break }
      at &+= length
      left &-= 1
    }
    return at
  }

  /// Bytes of 's 't 're 've 'm 'll 'd at `at`, which holds an apostrophe; 0: none. U+017F is an s when case is ignored.
  @inline(__always)
  func contraction(_ at: Int, ignoringCase: Bool) -> Int {
    if at &+ 1 >= end { return 0 }
    let fold: UInt8 = ignoringCase ? 0x20 : 0
    let first = base[at &+ 1]
    if ignoringCase, first == 0xc5, at &+ 2 < end, base[at &+ 2] == 0xbf { return 3 }
    switch first | fold {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return 2
    case UInt8(ascii: "r"), UInt8(ascii: "v"): return at &+ 2 < end && base[at &+ 2] | fold == UInt8(ascii: "e") ? 3 : 0
    case UInt8(ascii: "l"): return at &+ 2 < end && base[at &+ 2] | fold == UInt8(ascii: "l") ? 3 : 0
    default: return 0
    }
  }

  @inline(__always)
  func withContraction(_ at: Int) -> Int {
    at < end && base[at] == 0x27 ? at &+ contraction(at, ignoringCase: true) : at
  }

  /// A run of white space that begins at `at` with a scalar of `first` bytes.
  /// - breaks: `\s*[\r\n]+` comes first: up to and with the last line break of the run.
  /// - trailing: `\s++$` comes before that.
  @inline(__always)
  func spaces(_ at: Int, first: Int, breaks: Bool, trailing: Bool) -> Int {
    var last = at
    var stop = at &+ first
    var afterBreak = base[at] == 0x0a || base[at] == 0x0d ? stop : 0
    while stop < end {
      let (kind, length) = kind(stop)
      if !kind.isSpace { break }
      last = stop
      stop &+= length
      if base[last] == 0x0a || base[last] == 0x0d { afterBreak = stop }
    }
    if trailing, stop == end { return stop }
    if breaks, afterBreak > 0 { return afterBreak }
    return stop == end || last == at ? stop : last
  }

  /// U*L+ (`needsLower`) or U+L* from `at`; `at` itself where there is none.
  @inline(__always)
  func casedWord(_ at: Int, needsLower: Bool) -> Int {
    let uppers = run(at) { $0.isUpper }
    let stop = run(uppers) { $0.isLower }
    if !needsLower { return uppers > at ? stop : at }
    if stop > uppers { return stop }
    // U* gives back from its end until a scalar that is lower as well; what follows that one is not, so L+ ends behind it.
    var lower = uppers
    while lower > at {
      let start = UTF8Text.start(base, before: lower)
      if kind(start).kind.isLower { return lower }
      lower = start
    }
    return at
  }
}
