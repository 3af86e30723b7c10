/// The substitutions of mteval-v13a and mteval-v14 as sacreBLEU has them: over the whole text one after another, each from left
/// to right without overlap.
enum MTEvalRules {
  @inline(__always)
  private static func isDigit(_ c: UInt32) -> Bool { c &- 0x30 < 10 }
  @inline(__always)
  private static func isMark(_ c: UInt32) -> Bool { c == 0x2e || c == 0x2c }

  /// Marks that always stand alone: `{` to `~`, `[` to backtick, space to `&`, `(` to `+`, `:` to `@`, `/`.
  @inline(__always)
  static func isAlone(_ c: UInt32) -> Bool {
    (c >= 0x7b && c <= 0x7e) || (c >= 0x5b && c <= 0x60) || (c >= 0x20 && c <= 0x26) || (c >= 0x28 && c <= 0x2b)
      || (c >= 0x3a && c <= 0x40) || c == 0x2f
  }

  /// The clean-up of 13a before its substitutions.
  static func clean(_ text: inout [UInt32]) {
    remove("<skipped>", from: &text)
    remove("-\n", from: &text)
    for i in 0..<text.count where text[i] == 0x0a { text[i] = 0x20 }
    decodeEntities(&text)
    text.insert(0x20, at: 0)
    text.append(0x20)
  }

  static func decodeEntities(_ text: inout [UInt32]) {
    guard text.contains(0x26) else { return }
    for (name, value) in [("&quot;", 0x22), ("&amp;", 0x26), ("&lt;", 0x3c), ("&gt;", 0x3e)] as [(String, UInt32)] {
      remove(name, from: &text, replacement: value)
    }
  }

  static func remove(_ pattern: String, from text: inout [UInt32], replacement: UInt32? = nil) {
    let wanted = pattern.unicodeScalars.map(\.value)
    guard text.count >= wanted.count, text.contains(wanted[0]) else { return }
    var out: [UInt32] = []
    out.reserveCapacity(text.count)
    var i = 0
    while i < text.count {
      if text[i] == wanted[0] && i + wanted.count <= text.count && text[i..<i + wanted.count].elementsEqual(wanted) {
        if let replacement { out.append(replacement) }
        i += wanted.count
      } else {
        out.append(text[i])
        i += 1
      }
    }
    text = out
  }

  /// The regular expressions of 13a and zh. `spare` is room that is used again.
  static func substitute(_ text: inout [UInt32], _ spare: inout [UInt32], possessive: Bool = false) {
    pad(&text, &spare, where: isAlone)
    if possessive { separatePossessive(&text, &spare) }
    // A mark after what is no digit, then before what is none, then a hyphen after a digit.
    pairs(&text, &spare, { !isDigit($0) && isMark($1) }) { out, a, b in
      out.append(a)
      out.append(0x20)
      out.append(b)
      out.append(0x20)
    }
    pairs(&text, &spare, { isMark($0) && !isDigit($1) }) { out, a, b in
      out.append(0x20)
      out.append(a)
      out.append(0x20)
      out.append(b)
    }
    pairs(&text, &spare, { isDigit($0) && $1 == 0x2d }) { out, a, b in
      out.append(a)
      out.append(0x20)
      out.append(b)
      out.append(0x20)
    }
  }

  /// mteval-v14: punctuation apart from what is no number beside it, symbols alone.
  static func international(_ text: inout [UInt32], _ spare: inout [UInt32]) {
    pairs(&text, &spare, { !PythonText.isNumber($0) && PythonText.isPunctuation($1) }) { out, a, b in
      out.append(a)
      out.append(0x20)
      out.append(b)
      out.append(0x20)
    }
    pairs(&text, &spare, { PythonText.isPunctuation($0) && !PythonText.isNumber($1) }) { out, a, b in
      out.append(0x20)
      out.append(a)
      out.append(0x20)
      out.append(b)
    }
    pad(&text, &spare, where: PythonText.isSymbol)
  }

  @inline(__always)
  static func pad(_ text: inout [UInt32], _ spare: inout [UInt32], where matches: (UInt32) -> Bool) {
    spare.removeAll(keepingCapacity: true)
    for c in text {
      if matches(c) {
        spare.append(0x20)
        spare.append(c)
        spare.append(0x20)
      } else {
        spare.append(c)
      }
    }
    swap(&text, &spare)
  }

  @inline(__always)
  private static func pairs(
    _ text: inout [UInt32], _ spare: inout [UInt32], _ matches: (UInt32, UInt32) -> Bool,
    _ write: (inout [UInt32], UInt32, UInt32) -> Void
  ) {
    spare.removeAll(keepingCapacity: true)
    var i = 0
    while i < text.count {
      if i + 1 < text.count && matches(text[i], text[i + 1]) {
        write(&spare, text[i], text[i + 1])
        i += 2
      } else {
        spare.append(text[i])
        i += 1
      }
    }
    swap(&text, &spare)
  }

  /// TER's normalisation: "'s" before a space or at the end stands alone.
  private static func separatePossessive(_ text: inout [UInt32], _ spare: inout [UInt32]) {
    spare.removeAll(keepingCapacity: true)
    var i = 0
    while i < text.count {
      if text[i] == 0x27 && i + 1 < text.count && text[i + 1] == 0x73 && (i + 2 == text.count || text[i + 2] == 0x20) {
        spare.append(0x20)
        spare.append(0x27)
        spare.append(0x73)
        if i + 2 < text.count { spare.append(0x20) }
        i += 3
      } else {
        spare.append(text[i])
        i += 1
      }
    }
    swap(&text, &spare)
  }

  private static let chineseRanges: [ClosedRange<UInt32>] = [
    0x2001...0x2a6d, 0x2e80...0x2eff, 0x2f00...0x2fdf, 0x2ff0...0x2fff, 0x3000...0x303f, 0x3100...0x312f, 0x31a0...0x31bf,
    0x31c0...0x31ef, 0x3200...0x32ff, 0x3300...0x33ff, 0x3400...0x4db5, 0x4e00...0x9fa5, 0x9fa6...0x9fbb, 0xf900...0xfa2d,
    0xfa30...0xfa6a, 0xfa70...0xfad9, 0xfe10...0xfe1f, 0xfe30...0xfe4f, 0xff00...0xffef,
  ]

  /// The code points that the package's table splits: two entries of it compare as strings and hold U+2001 to U+2A6D.
  static func isChinese(_ c: UInt32) -> Bool { c >= 0x2001 && chineseRanges.contains { $0.contains(c) } }
}
