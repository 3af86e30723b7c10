public import TamisCore

/// SentencePiece's normaliser by its own table, in one of two readings of it.
public struct PrecompiledNormalizer: Normalizer {
  public enum Mode: Sendable {
    /// `tokenizers`: a grapheme cluster of at most five bytes is looked up whole, and replaced by the entry of the shortest key
    /// it begins with; otherwise its scalars one by one. What a tokenizer.json means.
    case clusters
    /// SentencePiece: the longest key at each place. What a .model file means.
    case longestPrefix
  }

  public let mode: Mode
  private let map: CharacterMap?

  /// - map: nil changes nothing, as an empty table does.
  public init(_ map: CharacterMap?, mode: Mode = .clusters) {
    self.map = map
    self.mode = mode
  }

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
        switch mode {
        case .clusters: at = replaceCluster(map, base, at, end, &steps, &new)
        case .longestPrefix: at = replacePrefix(map, base, at, end, &steps, &new)
        }
        let next = nextChange(map, base, from: at, to: end) ?? end
        steps.keep(&new, from: at, to: next)
        at = next
      }
      steps.flush(&new)
    }
  }

  /// The next cluster or key, from `from`, that the map may change.
  @inline(__always)
  private func nextChange(_ map: CharacterMap, _ base: UnsafePointer<UInt8>, from: Int, to: Int) -> Int? {
    let plain = mode == .clusters ? map.unmapped : map.unused
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
      let end = mode == .clusters ? GraphemeClusters.end(base, from: at, to: to) : to
      if changes(map, base, at, end) { return at }
      at = mode == .clusters ? end : at &+ UTF8Text.length(lead: base[at])
    }
    return nil
  }

  @inline(__always)
  private func changes(_ map: CharacterMap, _ base: UnsafePointer<UInt8>, _ from: Int, _ to: Int) -> Bool {
    if mode == .longestPrefix || to &- from < 6 {
      if map.first(base + from, to &- from, { _ in }) { return true }
      if mode == .longestPrefix { return false }
    }
    var at = from
    while at < to {
      let length = UTF8Text.length(lead: base[at])
      if map.first(base + at, length, { _ in }) { return true }
      at &+= length
    }
    return false
  }

  @inline(__always)
  private func replaceCluster(
    _ map: CharacterMap, _ base: UnsafePointer<UInt8>, _ from: Int, _ to: Int, _ steps: inout PendingStep,
    _ new: inout TextRewrite
  ) -> Int {
    let end = GraphemeClusters.end(base, from: from, to: to)
    if end &- from < 6,
      map.first(base + from, end &- from, { steps.replace(&new, base, from: from, to: end, by: $0) })
    {
      return end
    }
    var at = from
    while at < end {
      let length = UTF8Text.length(lead: base[at])
      if !map.first(base + at, length, { steps.replace(&new, base, from: at, to: at &+ length, by: $0) }) {
        steps.keep(&new, from: at, to: at &+ length)
      }
      at &+= length
    }
    return end
  }

  @inline(__always)
  private func replacePrefix(
    _ map: CharacterMap, _ base: UnsafePointer<UInt8>, _ at: Int, _ to: Int, _ steps: inout PendingStep,
    _ new: inout TextRewrite
  ) -> Int {
    var end = at &+ UTF8Text.length(lead: base[at])
    let found = map.longest(base + at, to &- at) { text, length in
      // A key may end inside a scalar only in a damaged table.
      end = max(end, at &+ length)
      while end < to, UTF8Text.isContinuation(base[end]) { end &+= 1 }
      steps.replace(&new, base, from: at, to: end, by: text)
    }
    if !found { steps.keep(&new, from: at, to: end) }
    return end
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
