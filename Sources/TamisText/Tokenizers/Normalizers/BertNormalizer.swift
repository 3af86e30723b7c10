import CShims
import TamisCore

/// BERT's `BasicTokenizer` before it splits: control characters go and white space becomes a space (`cleanText`), CJK
/// ideographs get spaces around them, accents go (NFD without nonspacing marks), lower case. In this order.
public struct BertNormalizer: Normalizer {
  public var cleanText: Bool
  public var handlesChineseCharacters: Bool
  public var stripsAccents: Bool
  public var lowercases: Bool

  /// - stripsAccents: nil: where the text is lower-cased.
  public init(
    cleanText: Bool = true, handlesChineseCharacters: Bool = true, stripsAccents: Bool? = nil, lowercases: Bool = true
  ) {
    self.cleanText = cleanText
    self.handlesChineseCharacters = handlesChineseCharacters
    self.stripsAccents = stripsAccents ?? lowercases
    self.lowercases = lowercases
  }

  @_optimize(speed)
  public func apply(_ text: inout AlignedText) {
    if stripsAccents, hasReorderedMarks(text) { return applyInSteps(&text) }
    let touched: UInt8 =
      (cleanText ? 3 : 0) | (handlesChineseCharacters ? 8 : 0) | (stripsAccents ? 128 : 0) | (lowercases ? 64 : 0)
    text.changeScalars(lowercases ? .lowercased : .kept) { c, length in
      let flags = ts_bert(c) & touched
      if flags == 0 { return c }
      if flags & 0b1000_1001 != 0 { return TextRewrite.needsRewrite }
      if flags & 2 != 0 { return length == 1 ? 0x20 : TextRewrite.needsRewrite }
      let lower = ts_lower(c)
      return UTF8Text.length(of: lower) == length && c != 0x130 ? lower : TextRewrite.needsRewrite
    } rewrite: { new, c, length in
      let flags = ts_bert(c) & touched
      if flags & 1 == 0 {
        let place = new.place(length)
        if flags & 8 != 0 { new.write(0x20, aligned: place) }
        if flags & 2 != 0 {
          new.write(0x20, aligned: place)
        } else if flags & 128 != 0 {
          CanonicalParts.each(c) { part in
            if ts_bert(part) & 16 == 0 { writeLower(&new, part, place) }
          }
        } else {
          writeLower(&new, c, place)
        }
        if flags & 8 != 0 { new.write(0x20, aligned: place) }
      }
      new.drop(length)
    }
  }

  @inline(__always)
  private func writeLower(_ new: inout TextRewrite, _ c: UInt32, _ place: (start: Int32, end: Int32)) {
    new.write(lowercases ? ts_lower(c) : c, aligned: place)
    if lowercases, c == 0x130 { new.write(0x307, aligned: place) }
  }

  /// Marks that NFD can move and that are not stripped (spacing ones, and ones newer than the list of nonspacing marks): rare,
  /// and then where they land depends on their neighbours.
  private func hasReorderedMarks(_ text: AlignedText) -> Bool {
    text.bytes.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return false }
      var at = 0
      while at < bytes.count {
        if at &+ 8 <= bytes.count,
          UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0
        {
          at &+= 8
          continue
        }
        let (c, length) = UTF8Text.scalar(base, at: at)
        if ts_bert(c) & 0b1001_0000 == 128, Normalization.entry(c, .unicode9) & 0xff != 0 { return true }
        at &+= length
      }
      return false
    }
  }

  /// The same, one rule after another.
  func applyInSteps(_ text: inout AlignedText) {
    if cleanText {
      text.filterScalars { ts_bert($0) & 1 == 0 }
      text.mapScalars { ts_bert($0) & 2 != 0 ? 0x20 : $0 }
    }
    if handlesChineseCharacters {
      text.changeScalars(.kept) { c, _ in ts_bert(c) & 8 != 0 ? TextRewrite.needsRewrite : c } rewrite: { new, c, length in
        let place = new.place(length)
        for scalar in [0x20, c, 0x20] { new.write(scalar, aligned: place) }
        new.drop(length)
      }
    }
    if stripsAccents {
      NormalFormNormalizer(.nfd).apply(&text)
      text.filterScalars { ts_bert($0) & 16 == 0 }
    }
    if lowercases { LowercaseNormalizer().apply(&text) }
  }
}

/// What one scalar is made of canonically, out of any context.
enum CanonicalParts {
  @inline(__always)
  static func each(_ c: UInt32, _ body: (UInt32) -> Void) {
    if c &- 0xac00 < 11172 {
      let index = c &- 0xac00
      body(0x1100 &+ index / 588)
      body(0x1161 &+ index % 588 / 28)
      if index % 28 != 0 { body(0x11a7 &+ index % 28) }
      return
    }
    let offset = ts_normal(c) & 4096 == 0 ? Int(ts_decomposition(c)) : 0
    let length = offset == 0 ? 0 : Int(ts_decomposition_at(offset) & 0xff)
    if length == 0 { return body(c) }
    for i in 1...length { body(ts_decomposition_at(offset &+ i)) }
  }
}
