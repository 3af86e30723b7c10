import CShims
import TamisCore

/// Full lower case of each scalar, without context (a final sigma is a plain one).
public struct LowercaseNormalizer: Normalizer {
  public init() {}

  public func apply(_ text: inout AlignedText) {
    text.changeScalars(.lowercased) { c, length in
      let lower = ts_lower(c)
      return lower == c || (c != 0x130 && UTF8Text.length(of: lower) == length) ? lower : TextRewrite.needsRewrite
    } rewrite: { new, c, length in
      let place = new.place(length)
      new.write(ts_lower(c), aligned: place)
      if c == 0x130 { new.write(0x307, aligned: place) }
      new.drop(length)
    }
  }
}

/// Removes the marks (M*) that stand alone; a decomposing form comes before it.
public struct StripAccentsNormalizer: Normalizer {
  public init() {}
  public func apply(_ text: inout AlignedText) { text.filterScalars { ts_bert($0) & 32 == 0 } }
}

/// Cleaning of Google's neural machine translation: control characters go, odd spaces become spaces.
public struct NmtNormalizer: Normalizer {
  public init() {}

  public func apply(_ text: inout AlignedText) {
    text.filterScalars { c in
      switch c {
      case 0x01...0x08, 0x0b, 0x0e...0x1f, 0x7f, 0x8f, 0x9f: false
      default: true
      }
    }
    text.mapScalars { c in
      switch c {
      case 0x09, 0x0a, 0x0c, 0x0d, 0x1680, 0x200b...0x200f, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd: 0x20
      default: c
      }
    }
  }
}

/// Removes white space at the ends.
public struct StripNormalizer: Normalizer {
  public var left: Bool
  public var right: Bool

  public init(left: Bool, right: Bool) {
    self.left = left
    self.right = right
  }

  public func apply(_ text: inout AlignedText) {
    let (from, to) = text.bytes.withUnsafeBufferPointer { bytes in
      var from = 0
      var to = bytes.count
      guard let base = bytes.baseAddress else { return (0, 0) }
      while left, from < to {
        let (c, length) = UTF8Text.scalar(base, at: from)
        if !UnicodeData.isWhitespace(c) { break }
        from &+= length
      }
      while right, to > from {
        let last = UTF8Text.start(base, before: to)
        if !UnicodeData.isWhitespace(UTF8Text.scalar(base, at: last).value) { break }
        to = last
      }
      return (from, to)
    }
    if from == 0, to == text.bytes.count { return }
    text.rewrite(room: to &- from &+ 1) { (new: inout TextRewrite) in
      new.drop(from)
      new.copy(to: to)
    }
  }
}

/// Puts a text in front of every text that is not empty.
public struct PrependNormalizer: Normalizer {
  public var prefix: [UInt8]
  public init(_ prefix: [UInt8]) { self.prefix = prefix }

  public func apply(_ text: inout AlignedText) {
    if text.bytes.isEmpty { return }
    text.rewrite(room: text.bytes.count &+ prefix.count) { (new: inout TextRewrite) in
      let first = UTF8Text.length(lead: new.source[0])
      if prefix.isEmpty {
        // The peer calls the first scalar an insertion here, and so gives it no place in the original.
        new.insert(UTF8Text.scalar(new.source.baseAddress!, at: 0).value)
        new.drop(first)
      } else {
        let place = new.alignment(0)
        prefix.withUnsafeBufferPointer { new.write($0, aligned: place) }
      }
      new.copy(to: new.source.count)
    }
  }
}

/// Marks a vocabulary of bytes. The peer writes each byte as a printable character here; our vocabularies hold the bytes
/// themselves, so the text stays as it is.
public struct ByteLevelNormalizer: Normalizer {
  public init() {}
  public func apply(_ text: inout AlignedText) {}
}

extension AlignedText {
  /// Keeps the scalars for which `keep` is true.
  @inline(__always)
  mutating func filterScalars(_ keep: (UInt32) -> Bool) {
    changeScalars(.any) { c, _ in keep(c) ? c : TextRewrite.needsRewrite } rewrite: { new, _, length in new.drop(length) }
  }

  /// Replaces each scalar by one.
  @inline(__always)
  mutating func mapScalars(_ map: (UInt32) -> UInt32) {
    changeScalars(.any) { c, length in
      let new = map(c)
      return UTF8Text.length(of: new) == length ? new : TextRewrite.needsRewrite
    } rewrite: { new, c, length in
      new.replace(length, with: map(c))
    }
  }
}
