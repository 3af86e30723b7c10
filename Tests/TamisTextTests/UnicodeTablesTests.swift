import CShims
import Testing

@testable import TamisText

/// The tables against those of Swift's standard library, which come from another generator.
@Suite struct UnicodeTablesTests {
  /// Scalars that were assigned in Unicode 15.0: what came later may be missing on either side.
  static let assigned: [Unicode.Scalar] = (0..<UInt32(0x110000)).compactMap(Unicode.Scalar.init).filter {
    guard let age = $0.properties.age else { return false }
    return age.major <= 15 && (age.major < 15 || age.minor == 0)
  }

  static let names: [Unicode.GeneralCategory: String] = [
    .uppercaseLetter: "Lu", .lowercaseLetter: "Ll", .titlecaseLetter: "Lt", .modifierLetter: "Lm", .otherLetter: "Lo",
    .nonspacingMark: "Mn", .spacingMark: "Mc", .enclosingMark: "Me", .decimalNumber: "Nd", .letterNumber: "Nl",
    .otherNumber: "No", .connectorPunctuation: "Pc", .dashPunctuation: "Pd", .openPunctuation: "Ps", .closePunctuation: "Pe",
    .initialPunctuation: "Pi", .finalPunctuation: "Pf", .otherPunctuation: "Po", .mathSymbol: "Sm", .currencySymbol: "Sc",
    .modifierSymbol: "Sk", .otherSymbol: "So", .spaceSeparator: "Zs", .lineSeparator: "Zl", .paragraphSeparator: "Zp",
    .control: "Cc", .format: "Cf", .privateUse: "Co", .surrogate: "Cs", .unassigned: "Cn",
  ]

  @Test func categoriesAndWhiteSpace() {
    var wrong: [UInt32] = []
    for scalar in Self.assigned {
      let category = GeneralCategory.names[Int(UnicodeData.category(scalar.value).rawValue)]
      // U+1171E became a spacing mark in Unicode 16.0, U+0295 another letter in 17.0.
      if category != Self.names[scalar.properties.generalCategory], ![0x1171e, 0x295].contains(scalar.value) {
        wrong.append(scalar.value)
      }
      if UnicodeData.isWhitespace(scalar.value) != scalar.properties.isWhitespace { wrong.append(scalar.value) }
    }
    #expect(Self.assigned.count > 280_000)
    #expect(wrong.isEmpty)
  }

  @Test func lowerCase() {
    var wrong: [UInt32] = []
    for scalar in Self.assigned {
      var lower = String(Unicode.Scalar(UnicodeData.lowercase(scalar.value))!)
      if scalar.value == 0x130 { lower += "\u{307}" }
      if !lower.unicodeScalars.elementsEqual(scalar.properties.lowercaseMapping.unicodeScalars) { wrong.append(scalar.value) }
    }
    #expect(wrong.isEmpty)
  }

  @Test func combiningClasses() {
    var wrong: [UInt32] = []
    for scalar in Self.assigned
    where Normalization.entry(scalar.value, .current) & 0xff != UInt16(scalar.properties.canonicalCombiningClass.rawValue) {
      wrong.append(scalar.value)
    }
    #expect(wrong.isEmpty)
  }

  @Test func wordsAreAlphabeticMarksDigitsConnectorsJoiners() {
    var wrong: [UInt32] = []
    for scalar in Self.assigned {
      let properties = scalar.properties
      let isWord: Bool
      switch properties.generalCategory {
      case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: isWord = true
      default: isWord = properties.isAlphabetic || properties.isJoinControl
      }
      if UnicodeData.isWord(scalar.value) != isWord { wrong.append(scalar.value) }
    }
    #expect(wrong.isEmpty)
  }

  @Test func newerCharacters() {
    // 16.0: Garay capital; 17.0 (numbers and lower case only): Beria Erfe capital, Tolong Siki digit.
    #expect(UnicodeData.category(0x10d50) == .uppercaseLetter)
    #expect(UnicodeData.lowercase(0x10d50) == 0x10d70)
    #expect(UnicodeData.lowercase(0x16ea0) == 0x16ebb)
    #expect(UnicodeData.category(0x11de0) == .unassigned)
    #expect(UnicodeData.isNumeric(0x11de0))
    #expect(UnicodeData.version == "15.0.0")
  }

  @Test func caseFolding() {
    #expect(UnicodeData.foldCase(0x17f) == 0x73)
    #expect(UnicodeData.foldCase(0x212a) == 0x6b)
    #expect(UnicodeData.foldCase(0x1e9e) == 0xdf)
    #expect(Set(CaseVariants.of(0x4b)) == [0x6b, 0x4b, 0x212a])
  }
}
