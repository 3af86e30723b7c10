import CShims
import TamisCore

/// Splits at white space, which goes.
public struct WhitespaceSplitPreTokenizer: PreTokenizer {
  public init() {}
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    ScalarSplit.split(text, &slices, .removed) { UnicodeData.isWhitespace($0) }
  }
}

/// Splits at punctuation: ASCII's, symbols included, and P* of Unicode 8.0.
public struct PunctuationPreTokenizer: PreTokenizer {
  public var behavior: SplitBehavior
  public init(_ behavior: SplitBehavior = .isolated) { self.behavior = behavior }
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    ScalarSplit.split(text, &slices, behavior) { ts_bert($0) & 4 != 0 }
  }
}

/// Splits numbers (N*) from the rest, each digit by itself or a run as one piece.
public struct DigitsPreTokenizer: PreTokenizer {
  public var individually: Bool
  public init(individually: Bool = false) { self.individually = individually }
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    ScalarSplit.split(text, &slices, individually ? .isolated : .contiguous) { UnicodeData.isNumeric($0) }
  }
}

/// Splits at one character, which goes.
public struct CharDelimiterPreTokenizer: PreTokenizer {
  public var delimiter: UInt32
  public init(_ delimiter: UInt32) { self.delimiter = delimiter }
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    ScalarSplit.split(text, &slices, .removed) { $0 == delimiter }
  }
}

/// Pieces of so many scalars; the last may be shorter.
public struct FixedLengthPreTokenizer: PreTokenizer {
  public var length: Int
  /// - length: at least 1
  public init(_ length: Int = 5) { self.length = max(length, 1) }
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    var new: [TextSlice] = []
    for slice in slices {
      var start = Int(slice.start)
      var at = start
      var scalars = 0
      while at < Int(slice.end) {
        at &+= UTF8Text.length(lead: text.bytes[at])
        scalars &+= 1
        if scalars == length || at >= Int(slice.end) {
          new.append(TextSlice(start, at))
          start = at
          scalars = 0
        }
      }
    }
    slices = new
  }
}

/// BERT: splits at white space, which goes, and sets each punctuation character apart.
public struct BertPreTokenizer: PreTokenizer {
  public init() {}
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    ClassSplit.split(text, &slices) { c in
      let flags = ts_bert(c)
      return flags & 2 != 0 ? .removed : flags & 4 != 0 ? .alone : .word
    }
  }
}

/// Runs of `\w`, and runs of what is neither that nor white space.
public struct WhitespacePreTokenizer: PreTokenizer {
  public init() {}
  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    ClassSplit.split(text, &slices) { c in
      let entry = ts_category(c)
      return entry & 64 != 0 ? .word : entry & 32 != 0 ? .removed : .other
    }
  }
}

/// Splitting into runs of scalars of one class.
enum ClassSplit {
  enum Class: UInt8 {
    case word, other
    /// Each a piece of its own.
    case alone
    /// In no piece.
    case removed
  }

  @inline(__always)
  static func split(_ text: AlignedText, _ slices: inout [TextSlice], _ classify: (UInt32) -> Class) {
    var new: [TextSlice] = []
    new.reserveCapacity(max(slices.count, text.bytes.count / 4))
    text.bytes.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      for slice in slices {
        let end = Int(slice.end)
        var at = Int(slice.start)
        while at < end {
          let (c, length) = UTF8Text.scalar(base, at: at)
          let start = at
          let kind = classify(c)
          at &+= length
          if kind == .removed { continue }
          while kind != .alone, at < end {
            let (c, length) = UTF8Text.scalar(base, at: at)
            if classify(c) != kind { break }
            at &+= length
          }
          new.append(TextSlice(start, at))
        }
      }
    }
    slices = new
  }
}
