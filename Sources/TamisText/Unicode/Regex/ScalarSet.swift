import CShims

/// A set of scalars as an expression over Unicode properties; ASCII is worked out once.
struct ScalarSet: Sendable, Equatable {
  indirect enum Term: Sendable, Equatable {
    /// Ascending, without overlap.
    case ranges([ClosedRange<UInt32>])
    case categories(CategorySet)
    case whitespace
    /// Alphabetic, M, Nd, Pc
    case word
    /// `\w` outside brackets, which has the superscript digits and fractions of Latin 1 as well: an oddity of Oniguruma.
    case bareWord
    case script(UInt8)
    case not(Term)
    case union([Term])
    case intersection([Term])
    /// Scalars of which some case variant is in the set.
    case ignoringCase(Term)

    func contains(_ c: UInt32) -> Bool {
      switch self {
      case .ranges(let ranges):
        var low = 0
        var high = ranges.count
        while low < high {
          let middle = (low &+ high) / 2
          if ranges[middle].upperBound < c { low = middle &+ 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].lowerBound <= c
      case .categories(let set): return set.contains(ts_category(c))
      case .whitespace: return ts_category(c) & 32 != 0
      case .word: return ScalarSet.isWord(c)
      case .bareWord: return ScalarSet.isBareWord(c)
      case .script(let script): return ts_script(c) == script
      case .not(let term): return !term.contains(c)
      case .union(let terms):
        for term in terms where term.contains(c) { return true }
        return false
      case .intersection(let terms):
        for term in terms where !term.contains(c) { return false }
        return true
      case .ignoringCase(let term):
        if term.contains(c) { return true }
        for variant in CaseVariants.of(c) where term.contains(variant) { return true }
        return false
      }
    }
  }

  let term: Term
  private let ascii: (UInt64, UInt64)

  init(_ term: Term) {
    self.term = term
    var bits: (UInt64, UInt64) = (0, 0)
    for c in 0..<UInt32(128) where term.contains(c) {
      if c < 64 { bits.0 |= 1 << UInt64(c) } else { bits.1 |= 1 << UInt64(c - 64) }
    }
    ascii = bits
  }

  init(_ c: UInt32) { self.init(.ranges([c...c])) }

  static func == (a: ScalarSet, b: ScalarSet) -> Bool { a.term == b.term }

  @inline(__always)
  func contains(_ c: UInt32) -> Bool {
    if c < 64 { return ascii.0 >> UInt64(c) & 1 != 0 }
    if c < 128 { return ascii.1 >> UInt64(c &- 64) & 1 != 0 }
    return term.contains(c)
  }

  /// Without the joiners of the Unicode recommendation.
  static func isWord(_ c: UInt32) -> Bool { ts_category(c) & 64 != 0 && c != 0x200c && c != 0x200d }

  static func isBareWord(_ c: UInt32) -> Bool {
    switch c {
    case 0xb2, 0xb3, 0xb9, 0xbc, 0xbd, 0xbe: true
    default: isWord(c)
    }
  }

  /// Ranges in any order as ranges in order.
  static func ranges(_ list: [ClosedRange<UInt32>]) -> Term {
    var merged: [ClosedRange<UInt32>] = []
    for range in list.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = merged.last, range.lowerBound <= last.upperBound {
        merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    return .ranges(merged)
  }

  /// `\p{name}`: a general category, a script, or one of a few other properties; nil: none of them.
  static func property(_ name: String) -> Term? {
    let wanted = name.filter { $0 != "_" && $0 != " " && $0 != "-" }.lowercased()
    switch wanted {
    case "any": return .ranges([0...0x10ffff])
    case "alpha", "alphabetic": return .union([.categories(CategorySet(bits: 0x3e | 0x400)), .word])
    case "space", "whitespace": return .whitespace
    case "word": return .word
    case "digit": return .categories(CategorySet(bits: 0x200))
    case "upper", "uppercase", "lower", "lowercase", "punct", "alnum", "graph", "print", "cntrl", "blank", "xdigit", "ascii":
      return posix(wanted)
    default: break
    }
    if let long = longCategories[wanted] { return .categories(long) }
    for (i, category) in GeneralCategory.names.enumerated() where category.lowercased() == wanted {
      return .categories(CategorySet(bits: 1 << UInt32(i)))
    }
    if wanted.utf8.count == 1, let set = CategorySet(name: wanted.uppercased()) { return .categories(set) }
    if wanted == "l&" || wanted == "lc" { return .categories(CategorySet(bits: 0b1110)) }
    for i in 0..<Int(ts_script_count) {
      let names = String(cString: ts_script_name(i)).split(separator: " ")
      for name in names where name.filter({ $0 != "_" }).lowercased() == wanted { return .script(UInt8(i + 1)) }
    }
    return nil
  }

  /// POSIX brackets, as Oniguruma reads them; nil: unknown, or one whose definition the tables do not have.
  static func posix(_ name: String) -> Term? {
    switch name {
    case "space": .whitespace
    case "digit": .categories(CategorySet(bits: 0x200))
    case "word": .word
    // Punctuation and symbols, since Oniguruma 6.9.5.
    case "punct": .categories(CategorySet(bits: 0x7f000 | 0x780000))
    case "cntrl": .categories(CategorySet(bits: 1 << 26))
    case "xdigit": .ranges([0x30...0x39, 0x41...0x46, 0x61...0x66])
    case "blank": .union([.ranges([9...9]), .categories(CategorySet(bits: 1 << 23))])
    case "ascii": .ranges([0...127])
    default: nil
    }
  }

  private static let longCategories: [String: CategorySet] = [
    "letter": .letter, "mark": .mark, "number": .number, "punctuation": .punctuation, "symbol": CategorySet(bits: 0x780000),
    "separator": CategorySet(bits: 0x3800000), "other": CategorySet(bits: 0x3c000001),
    "uppercaseletter": CategorySet(bits: 1 << 1), "lowercaseletter": CategorySet(bits: 1 << 2),
    "titlecaseletter": CategorySet(bits: 1 << 3), "modifierletter": CategorySet(bits: 1 << 4),
    "otherletter": CategorySet(bits: 1 << 5), "nonspacingmark": CategorySet(bits: 1 << 6),
    "decimalnumber": CategorySet(bits: 1 << 9),
  ]
}

/// The scalars that differ from one only by case (simple folding).
enum CaseVariants {
  private static let sources: [UInt32: [UInt32]] = {
    var sources: [UInt32: [UInt32]] = [:]
    // No scalar from here on has a case folding.
    for c in 0..<UInt32(0x1f000) {
      let folded = ts_fold(c)
      if folded != c { sources[folded, default: []].append(c) }
    }
    return sources
  }()

  static func of(_ c: UInt32) -> [UInt32] {
    let folded = ts_fold(c)
    return [folded] + (sources[folded] ?? [])
  }
}
