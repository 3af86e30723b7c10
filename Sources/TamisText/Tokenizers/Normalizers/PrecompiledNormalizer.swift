public import TamisCore

/// SentencePiece's normaliser as `tokenizers` reads its table: a grapheme cluster of at most five bytes is looked up whole, and
/// replaced by the entry of the shortest key it begins with; otherwise its scalars one by one.
public struct PrecompiledNormalizer: Normalizer {
  private let map: CharacterMap?

  /// - map: nil changes nothing, as an empty table does.
  public init(_ map: CharacterMap?) { self.map = map }

  /// - Throws: `format`
  public init(base64: String) throws(TamisError) {
    guard let bytes = Base64.decode(base64.utf8) else {
      throw TamisError(.format, "tokenizer.json: normalizer Precompiled: precompiled_charsmap is not base64")
    }
    self.init(bytes.isEmpty ? nil : try CharacterMap(bytes))
  }

  public func apply(_ text: inout AlignedText) {
    guard let map else { return }
    let first = text.bytes.withUnsafeBufferPointer { bytes in
      bytes.baseAddress.flatMap { nextChange(map, $0, from: 0, to: bytes.count) }
    }
    guard let first else { return }
    text.rewrite(room: text.bytes.count &+ text.bytes.count / 8 &+ 64) { (new: inout TextRewrite) in
      guard let base = new.source.baseAddress else { return }
      var steps = PendingStep()
      let end = new.source.count
      var at = first
      steps.keep(&new, from: 0, to: at)
      while at < end {
        let next = GraphemeClusters.end(base, from: at, to: end)
        Self.parts(map, base, at, next) { from, to, text in
          if let text {
            steps.replace(&new, base, from: from, to: to, by: text)
          } else {
            steps.keep(&new, from: from, to: to)
          }
          return true
        }
        at = nextChange(map, base, from: next, to: end) ?? end
        steps.keep(&new, from: next, to: at)
      }
      steps.flush(&new)
    }
  }

  /// The next cluster, from `from`, that the map changes.
  @inline(__always)
  private func nextChange(_ map: CharacterMap, _ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Int? {
    let plain = map.unmapped
    var at = from
    while at < to {
      if plain.hasPrintable, at &+ 8 <= to,
        ASCIIWord.isPrintable(UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self))
      {
        // The last of them may be the base of a mark behind it.
        at &+= 7
        continue
      }
      if plain.contains(base[at]), at &+ 1 == to || base[at &+ 1] < 0x80, base[at] != 0x0d {
        at &+= 1
        continue
      }
      let end = GraphemeClusters.end(base, from: at, to: to)
      var changes = false
      Self.parts(map, base, at, end) { _, _, text in
        changes = text != nil
        return !changes
      }
      if changes { return at }
      at = end
    }
    return nil
  }

  /// Calls `each` with what the map is asked for in a cluster, and its answer, until `each` returns false.
  @inline(__always)
  private static func parts(
    _ map: CharacterMap, _ base: UnsafePointer<UInt8>, _ from: Int, _ to: Int,
    _ each: (Int, Int, UnsafeBufferPointer<UInt8>?) -> Bool
  ) {
    if to &- from < 6, map.first(base + from, to &- from, { _ = each(from, to, $0) }) { return }
    var at = from
    var goesOn = true
    while goesOn, at < to {
      let next = at &+ UTF8Text.length(lead: base[at])
      if !map.first(base + at, next &- at, { goesOn = each(at, next, $0) }) { goesOn = each(at, next, nil) }
      at = next
    }
  }
}

/// The last step of a rewrite, held back: what is removed behind it counts as removed by it. Where nothing is before what is
/// removed, the steps that follow take its place in the original, as they do in the peer.
private struct PendingStep {
  private var scalar: UInt32 = 0
  private var change: Int32 = 0
  private var isSet = false

  mutating func flush(_ new: inout TextRewrite) {
    if isSet { new.step(scalar, change: change) }
    isSet = false
  }

  private mutating func push(_ new: inout TextRewrite, _ scalar: UInt32, _ change: Int32) {
    flush(&new)
    (self.scalar, self.change, isSet) = (scalar, change, true)
  }

  /// Scalars [from, to) of the old text stay.
  mutating func keep(_ new: inout TextRewrite, from: Int, to: Int) {
    if from == to { return }
    flush(&new)
    guard let base = new.source.baseAddress else { return }
    let last = UTF8Text.start(base, before: to)
    if new.at == from {
      new.copy(to: last)
    } else {
      var at = from
      while at < last {
        let (c, length) = UTF8Text.scalar(base, at: at)
        new.step(c, change: 0)
        at &+= length
      }
    }
    push(&new, UTF8Text.scalar(base, at: last).value, 0)
  }

  /// Scalars [from, to) of the old text become `text`.
  mutating func replace(
    _ new: inout TextRewrite, _ base: UnsafePointer<UInt8>, from: Int, to: Int, by text: UnsafeBufferPointer<UInt8>
  ) {
    let old = Self.scalars(UnsafeBufferPointer(start: base + from, count: to &- from))
    let count = Self.scalars(text)
    guard let content = text.baseAddress, count > 0 else {
      change &-= isSet ? old : 0
      return
    }
    var at = 0
    var index: Int32 = 0
    while at < text.count {
      let (c, length) = UTF8Text.scalar(content, at: at)
      push(&new, c, index >= old ? 1 : 0)
      at &+= length
      index &+= 1
    }
    if count < old { change &-= old &- count }
  }

  private static func scalars(_ text: UnsafeBufferPointer<UInt8>) -> Int32 {
    var count: Int32 = 0
    for byte in text where !UTF8Text.isContinuation(byte) { count &+= 1 }
    return count
  }
}
