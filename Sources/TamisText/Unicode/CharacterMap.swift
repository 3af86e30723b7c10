public import TamisCore

/// SentencePiece's `precompiled_charsmap`: a Darts double-array trie from UTF-8 prefixes to replacements.
///
/// Layout: byte length of the trie (u32, little-endian), its units (u32), then NUL-terminated UTF-8 texts; the value of a key
/// is the offset of its text. Unit: 31 bits of value where a key ends, otherwise label (bits 0...7 and 31), bit 8: a key ends
/// here, bits 10...30 the offset of the children, times 256 where bit 9 is set.
public struct CharacterMap: Sendable {
  private let units: [UInt32]
  /// The replacements; a NUL is behind the last one.
  private let texts: [UInt8]
  /// ASCII, bit by bit: what is no key by itself.
  let unmapped: ASCIISet
  /// ASCII that is itself before other ASCII: no key, nor the start of one that goes on in ASCII.
  let plainBeforeASCII: ASCIISet

  /// - Throws: `format`
  public init(_ bytes: [UInt8]) throws(TamisError) {
    func word(_ i: Int) -> UInt32 {
      UInt32(bytes[i]) | UInt32(bytes[i + 1]) << 8 | UInt32(bytes[i + 2]) << 16 | UInt32(bytes[i + 3]) << 24
    }
    guard bytes.count >= 4 else { throw TamisError(.format, "precompiled_charsmap: shorter than its header") }
    let size = Int(word(0))
    guard size > 0, size % 4 == 0, size <= bytes.count - 4 else {
      throw TamisError(.format, "precompiled_charsmap: a trie of \(size) bytes in \(bytes.count)")
    }
    units = (0..<size / 4).map { word(4 + 4 * $0) }
    texts = bytes[(4 + size)...] + [0]
    guard String(validating: texts, as: UTF8.self) != nil else {
      throw TamisError(.format, "precompiled_charsmap: a replacement is not UTF-8")
    }
    unmapped = ASCIISet { [units] c in
      withUnsafePointer(to: c) { key in
        units.withUnsafeBufferPointer { Self.longestOrFirst($0, key, 1, first: true) == nil }
      }
    }
    plainBeforeASCII = ASCIISet { [units, unmapped] c in
      let child = Self.children(units[0]) ^ Int(c)
      // No key begins with it.
      guard child < units.count, units[child] & 0x8000_00ff == UInt32(c) else { return true }
      guard unmapped.contains(c) else { return false }
      let node = child ^ Self.children(units[child])
      return (1..<128).allSatisfy { next in
        node ^ next >= units.count || units[node ^ next] & 0x8000_00ff != UInt32(next)
      }
    }
  }

  /// Where the children of a unit lie, to be combined with their label.
  @inline(__always)
  private static func children(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 0x200) >> 6) }

  /// The shortest (`first`) or longest key that `key` begins with: its value and length. A damaged trie has fewer keys: one
  /// that ends inside a scalar is none.
  @inline(__always)
  private static func longestOrFirst(
    _ units: UnsafeBufferPointer<UInt32>, _ key: UnsafePointer<UInt8>, _ count: Int, first: Bool
  ) -> (value: Int, length: Int)? {
    var node = children(units[0])
    var found: (value: Int, length: Int)?
    for i in 0..<count {
      let c = key[i]
      if c == 0 { break }
      node ^= Int(c)
      guard node < units.count else { break }
      let unit = units[node]
      if unit & 0x8000_00ff != UInt32(c) { break }
      node ^= children(unit)
      guard node < units.count else { break }
      if unit & 0x100 != 0, i &+ 1 == count || !UTF8Text.isContinuation(key[i &+ 1]) {
        found = (Int(units[node] & 0x7fff_ffff), i &+ 1)
        if first { break }
      }
    }
    return found
  }

  /// Calls `each` with the replacement of the shortest key that these bytes begin with, if there is one.
  @inline(__always)
  func first(_ key: UnsafePointer<UInt8>, _ count: Int, _ each: (UnsafeBufferPointer<UInt8>) -> Void) -> Bool {
    lookUp(key, count, first: true) { text, _ in each(text) }
  }

  /// The same with the longest key, whose length goes along.
  @inline(__always)
  func longest(_ key: UnsafePointer<UInt8>, _ count: Int, _ each: (UnsafeBufferPointer<UInt8>, Int) -> Void) -> Bool {
    lookUp(key, count, first: false, each)
  }

  @inline(__always)
  private func lookUp(
    _ key: UnsafePointer<UInt8>, _ count: Int, first: Bool, _ each: (UnsafeBufferPointer<UInt8>, Int) -> Void
  ) -> Bool {
    let found = units.withUnsafeBufferPointer { Self.longestOrFirst($0, key, count, first: first) }
    // A value of a damaged trie can lie inside a scalar.
    guard let (value, length) = found, value < texts.count, !UTF8Text.isContinuation(texts[value]) else { return false }
    texts.withUnsafeBufferPointer { texts in
      var end = value
      while texts[end] != 0 { end &+= 1 }
      each(UnsafeBufferPointer(rebasing: texts[value..<end]), length)
    }
    return true
  }
}

/// A set of ASCII characters.
struct ASCIISet: Sendable {
  private let bits: (UInt64, UInt64)
  /// Whether all of 0x20...0x7e are in it.
  let hasPrintable: Bool

  init(_ contains: (UInt8) -> Bool) {
    var bits: (UInt64, UInt64) = (0, 0)
    for c in 0..<UInt8(128) where contains(c) {
      if c < 64 { bits.0 |= 1 << UInt64(c) } else { bits.1 |= 1 << UInt64(c - 64) }
    }
    self.bits = bits
    hasPrintable = bits.0 >> 32 == .max >> 32 && bits.1 | 1 << 63 == .max
  }

  @inline(__always)
  func contains(_ c: UInt8) -> Bool {
    c < 0x80 && (c < 64 ? bits.0 >> UInt64(c) : bits.1 >> UInt64(c &- 64)) & 1 != 0
  }
}
