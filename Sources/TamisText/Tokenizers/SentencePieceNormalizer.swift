import TamisCore

/// SentencePiece's own normaliser: the longest entry of the character map at each place, white space squeezed, a space in front, and
/// spaces written as U+2581. User-defined symbols pass through.
struct SentencePieceNormalizer: Normalizer, Sendable {
  struct Rule {
    var addsDummyPrefix = true
    var removesExtraWhitespace = true
    var escapesWhitespace = true
  }

  let map: CharacterMap?
  let symbols: DoubleArray?
  let longestSymbol: Int
  let rule: Rule
  private static let space: [UInt8] = [0xe2, 0x96, 0x81]

  init(map: CharacterMap?, symbols: DoubleArray?, longestSymbol: Int, _ rule: Rule) {
    self.map = map
    self.symbols = symbols
    self.longestSymbol = longestSymbol
    self.rule = rule
  }

  func apply(_ text: inout AlignedText) {
    let old = text
    var new = Output(room: old.bytes.count + old.bytes.count / 4 + 16)
    old.bytes.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress else { return }
      let count = source.count
      var at = 0
      if rule.removesExtraWhitespace {
        while at < count, case let next = entry(base, at, count, { piece, _ in piece.count == 1 && piece[0] == 0x20 }), next.found {
          at = next.end
        }
      }
      guard at < count else { return }
      func original(_ from: Int, _ to: Int) -> (Int32, Int32) {
        if old.isUnchanged { return (old.origin + Int32(from), old.origin + Int32(to)) }
        return (old.starts[from], old.ends[max(to - 1, from)])
      }
      if rule.addsDummyPrefix {
        let place = original(at, at).0
        new.append(rule.escapesWhitespace ? Self.space : [0x20], place, place)
      }
      var afterSpace = rule.removesExtraWhitespace
      while at < count {
        var endsInSpace = false
        let (_, end) = entry(base, at, count) { piece, end in
          var piece = piece[...]
          while afterSpace, piece.first == 0x20 { piece = piece.dropFirst() }
          guard let last = piece.last else { return false }
          endsInSpace = last == 0x20
          let (from, to) = original(at, end)
          for byte in piece {
            if byte == 0x20, rule.escapesWhitespace { new.append(Self.space, from, to) } else { new.append(byte, from, to) }
          }
          afterSpace = endsInSpace
          return true
        }
        at = end
        if !rule.removesExtraWhitespace { afterSpace = false }
      }
      if rule.removesExtraWhitespace { new.dropTrailing(rule.escapesWhitespace ? Self.space : [0x20]) }
    }
    text.bytes = new.bytes
    text.starts = new.starts
    text.ends = new.ends
  }

  /// What stands at `at`, normalised: a user-defined symbol as it is, the longest entry of the map, or the scalar.
  private func entry(
    _ base: UnsafePointer<UInt8>, _ at: Int, _ count: Int, _ body: (UnsafeBufferPointer<UInt8>, Int) -> Bool
  ) -> (found: Bool, end: Int) {
    if let symbols, let (_, length) = symbols.longestMatch(base + at, min(longestSymbol, count - at)) {
      return (body(UnsafeBufferPointer(start: base + at, count: length), at + length), at + length)
    }
    var result = false
    var end = at
    if let map, map.longest(base + at, count - at, { replacement, length in
      end = at + length
      result = body(replacement, end)
    }), end > at {
      return (result, end)
    }
    let width = UTF8Text.length(lead: base[at])
    return (body(UnsafeBufferPointer(start: base + at, count: width), at + width), at + width)
  }

  private struct Output {
    var bytes: [UInt8] = []
    var starts: [Int32] = []
    var ends: [Int32] = []

    init(room: Int) {
      bytes.reserveCapacity(room)
      starts.reserveCapacity(room)
      ends.reserveCapacity(room)
    }

    mutating func append(_ byte: UInt8, _ start: Int32, _ end: Int32) {
      bytes.append(byte)
      starts.append(start)
      ends.append(end)
    }

    mutating func append(_ text: [UInt8], _ start: Int32, _ end: Int32) {
      for byte in text { append(byte, start, end) }
    }

    mutating func dropTrailing(_ space: [UInt8]) {
      while bytes.count >= space.count, bytes.suffix(space.count).elementsEqual(space) {
        bytes.removeLast(space.count)
        starts.removeLast(space.count)
        ends.removeLast(space.count)
      }
    }
  }
}
