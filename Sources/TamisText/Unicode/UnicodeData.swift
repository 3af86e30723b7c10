import CShims

/// Properties of Unicode scalars, from tables that generate_tables.py makes of the standard's data files. It says which
/// property follows which version of Unicode, and why they differ. Arguments are code points below 0x110000.
public enum UnicodeData {
  /// Version of the data files that the tables were made from.
  public static let version = TS_UNICODE_VERSION

  /// Unicode 16.0.
  @inline(__always)
  public static func category(_ c: UInt32) -> GeneralCategory { GeneralCategory(rawValue: ts_category(c) & 31) ?? .unassigned }
  /// White_Space
  @inline(__always)
  public static func isWhitespace(_ c: UInt32) -> Bool { ts_category(c) & 32 != 0 }
  /// `\w` of Unicode regular expressions (UTS #18): Alphabetic, M, Nd, Pc, Join_Control.
  @inline(__always)
  public static func isWord(_ c: UInt32) -> Bool { ts_category(c) & 64 != 0 }
  /// N*, of Unicode 17.0
  @inline(__always)
  public static func isNumeric(_ c: UInt32) -> Bool { ts_category(c) & 128 != 0 }
  @inline(__always)
  public static func isLetter(_ c: UInt32) -> Bool { CategorySet.letter.contains(ts_category(c)) }
  @inline(__always)
  public static func isNumber(_ c: UInt32) -> Bool { CategorySet.number.contains(ts_category(c)) }
  @inline(__always)
  public static func isMark(_ c: UInt32) -> Bool { CategorySet.mark.contains(ts_category(c)) }
  /// P*
  @inline(__always)
  public static func isPunctuation(_ c: UInt32) -> Bool { CategorySet.punctuation.contains(ts_category(c)) }
  /// S*
  @inline(__always)
  public static func isSymbol(_ c: UInt32) -> Bool { CategorySet.symbol.contains(ts_category(c)) }

  /// Simple lower case. U+0130 becomes "i"; its full mapping has U+0307 behind it.
  @inline(__always)
  public static func lowercase(_ c: UInt32) -> UInt32 { ts_lower(c) }
  /// Simple case folding.
  @inline(__always)
  public static func foldCase(_ c: UInt32) -> UInt32 { ts_fold(c) }
}

/// General_Category; the raw value is its place in the tables.
public enum GeneralCategory: UInt8, Sendable {
  case unassigned = 0
  case uppercaseLetter, lowercaseLetter, titlecaseLetter, modifierLetter, otherLetter
  case nonspacingMark, spacingMark, enclosingMark
  case decimalNumber, letterNumber, otherNumber
  case connectorPunctuation, dashPunctuation, openPunctuation, closePunctuation, initialPunctuation, finalPunctuation,
    otherPunctuation
  case mathSymbol, currencySymbol, modifierSymbol, otherSymbol
  case spaceSeparator, lineSeparator, paragraphSeparator
  case control, format, privateUse, surrogate

  /// The two-letter names, in order.
  static let names = [
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
    "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cs",
  ]
}

/// A set of general categories, one bit each, asked with a byte of the category table.
struct CategorySet: Sendable, Equatable {
  var bits: UInt32

  @inline(__always)
  func contains(_ entry: UInt8) -> Bool { bits >> UInt32(entry & 31) & 1 != 0 }

  static let letter = CategorySet(bits: 0x3e)
  static let mark = CategorySet(bits: 0x1c0)
  static let number = CategorySet(bits: 0xe00)
  static let punctuation = CategorySet(bits: 0x7f000)
  static let symbol = CategorySet(bits: 0x780000)

  /// "Lu", "L", "L&", "LC"; nil: no such category.
  init?(name: String) {
    bits = 0
    if name == "L&" || name == "LC" {
      bits = 0b1110
    } else {
      let isWhole = name.utf8.count == 1
      for (i, category) in GeneralCategory.names.enumerated() {
        if category == name || (isWhole && category.utf8.first == name.utf8.first) { bits |= 1 << UInt32(i) }
      }
    }
    if bits == 0 { return nil }
  }

  init(bits: UInt32) { self.bits = bits }
}
