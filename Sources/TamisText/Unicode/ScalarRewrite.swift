/// Eight bytes of ASCII at once.
enum ASCIIWord {
  /// Whether all eight are in 0x20...0x7e.
  @inline(__always)
  static func isPrintable(_ word: UInt64) -> Bool {
    // No byte is above 0x7f, so adding and subtracting below 0x80 stays inside its byte.
    let high: UInt64 = 0x8080_8080_8080_8080
    if word & high != 0 { return false }
    let aboveControls = (word | high) &- 0x2020_2020_2020_2020
    let delete = word &+ 0x0101_0101_0101_0101
    return aboveControls & ~delete & high == high
  }

  /// A...Z to a...z; all eight below 0x80.
  @inline(__always)
  static func lowercase(_ word: UInt64) -> UInt64 {
    let high: UInt64 = 0x8080_8080_8080_8080
    let fromA = word &+ 0x3f3f_3f3f_3f3f_3f3f
    let beyondZ = word &+ 0x2525_2525_2525_2525
    return word | ((fromA & ~beyondZ) & high) >> 2
  }
}

/// What becomes of printable ASCII, which is most of most texts.
enum PrintableASCII {
  case kept
  case lowercased
  /// Each byte is asked for.
  case any
}

extension AlignedText {
  /// Changes a text scalar by scalar. Changes that keep the length are made in place and cost no map.
  ///
  /// - plan: what a scalar becomes: itself, another of the same length, or `TextRewrite.needsRewrite`.
  /// - rewrite: writes what stands for the scalar (value, length) of the last kind, and moves past it.
  @inline(__always)
  mutating func changeScalars(
    _ printable: PrintableASCII, plan: (UInt32, Int) -> UInt32, rewrite: (inout TextRewrite, UInt32, Int) -> Void
  ) {
    var first = Int.max
    var changes = 0
    bytes.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      let count = buffer.count
      var at = 0
      while at < count {
        if printable != .any, at &+ 8 <= count {
          let word = UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self)
          if ASCIIWord.isPrintable(word) {
            if printable == .lowercased {
              UnsafeMutableRawPointer(base + at).storeBytes(of: ASCIIWord.lowercase(word), as: UInt64.self)
            }
            at &+= 8
            continue
          }
        }
        // The rest of these eight bytes one by one: asking again for each would cost more than it finds.
        let stop = printable == .any ? count : min(count, at &+ 8)
        while at < stop {
          let (c, length) = UTF8Text.scalar(base, at: at)
          let new = plan(c, length)
          if new == TextRewrite.needsRewrite {
            first = min(first, at)
            changes &+= 1
          } else if new != c {
            _ = UTF8Text.write(new, to: base + at)
          }
          at &+= length
        }
      }
    }
    if first == .max { return }
    // Six bytes more for each: what a Hangul syllable grows by.
    self.rewrite(room: bytes.count &+ 6 &* changes &+ 16) { (new: inout TextRewrite) in
      guard let base = new.source.baseAddress else { return }
      let count = new.source.count
      var at = first
      while at < count {
        if base[at] < 0x80, printable != .any, at &+ 8 <= count,
          ASCIIWord.isPrintable(UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self))
        {
          at &+= 8
          continue
        }
        let (c, length) = UTF8Text.scalar(base, at: at)
        if plan(c, length) == TextRewrite.needsRewrite {
          new.copy(to: at)
          rewrite(&new, c, length)
        }
        at &+= length
      }
      new.copy(to: count)
    }
  }
}

extension TextRewrite {
  /// Not a scalar.
  static let needsRewrite = UInt32.max
}
