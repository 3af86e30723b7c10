import TamisCore

/// SentencePiece's own normaliser: the longest entry of the character map at each place, white space squeezed, a space in
/// front, and spaces written as U+2581. User-defined symbols pass through.
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

  @_optimize(speed)
  func apply(_ text: inout AlignedText) {
    let old = text
    let new = Output(room: old.bytes.count + old.bytes.count / 2 + 16)
    old.bytes.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress else { return }
      let count = source.count
      var at = 0
      if rule.removesExtraWhitespace {
        while at < count {
          let next = entry(base, at, count) { piece, _ in piece.count == 1 && piece[0] == 0x20 }
          guard next.found else { break }
          at = next.end
        }
      }
      guard at < count else { return }
      let plain = map?.plainBeforeASCII
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
        // Most text: ASCII that is no key, nor with the ASCII behind it.
        if symbols == nil {
          let first = at
          while at &+ 1 < count, base[at] < 0x80, base[at] != 0x20, base[at &+ 1] < 0x80, plain?.contains(base[at]) ?? true {
            let (from, to) = original(at, at &+ 1)
            new.append(base[at], from, to)
            at &+= 1
          }
          if at > first { afterSpace = false }
          if at == count { break }
        }
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
    new.store(into: &text)
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

  private final class Output {
    private var bytes: UnsafeMutablePointer<UInt8>
    private var starts: UnsafeMutablePointer<Int32>
    private var ends: UnsafeMutablePointer<Int32>
    private var count = 0
    private var capacity: Int

    init(room: Int) {
      capacity = room
      bytes = .allocate(capacity: room)
      starts = .allocate(capacity: room)
      ends = .allocate(capacity: room)
    }

    deinit {
      bytes.deallocate()
      starts.deallocate()
      ends.deallocate()
    }

    @inline(__always)
    func append(_ byte: UInt8, _ start: Int32, _ end: Int32) {
      if count == capacity { grow() }
      bytes[count] = byte
      starts[count] = start
      ends[count] = end
      count &+= 1
    }

    @inline(__always)
    func append(_ text: [UInt8], _ start: Int32, _ end: Int32) {
      for byte in text { append(byte, start, end) }
    }

    private func grow() {
      capacity = 2 * capacity + 16
      bytes = widened(bytes)
      starts = widened(starts)
      ends = widened(ends)
    }

    private func widened<T: BitwiseCopyable>(_ old: UnsafeMutablePointer<T>) -> UnsafeMutablePointer<T> {
      let new = UnsafeMutablePointer<T>.allocate(capacity: capacity)
      new.update(from: old, count: count)
      old.deallocate()
      return new
    }

    func dropTrailing(_ space: [UInt8]) {
      while count >= space.count {
        let last = UnsafeBufferPointer(start: bytes + count - space.count, count: space.count)
        guard last.elementsEqual(space) else { break }
        count -= space.count
      }
    }

    func store(into text: inout AlignedText) {
      text.bytes = Array(UnsafeBufferPointer(start: bytes, count: count))
      text.starts = Array(UnsafeBufferPointer(start: starts, count: count))
      text.ends = Array(UnsafeBufferPointer(start: ends, count: count))
    }
  }
}
