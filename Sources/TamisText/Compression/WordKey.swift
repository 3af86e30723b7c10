/// What a word is compared by: its characters after full case folding, without the punctuation and symbols (categories P and S) at
/// its edges; a word of nothing else stays as it is. Stands where LLMLingua-2's code has spaCy's lemmas.
enum WordKey {
  static func of(_ text: TextBytes, _ span: TextSpan) -> [UInt8] {
    var scalars: [(scalar: Unicode.Scalar, bytes: ArraySlice<UInt8>)] = []
    var at = Int(span.start)
    let word = TextBytes(rebasing: text[..<Int(span.end)])
    while at < Int(span.end) {
      let (scalar, length) = word.scalar(at: at)
      scalars.append((scalar, ArraySlice(word[at..<at + length])))
      at += length
    }
    let first = scalars.firstIndex { !isEdge($0.scalar) } ?? 0
    let last = scalars.lastIndex { !isEdge($0.scalar) } ?? scalars.count - 1
    var key: [UInt8] = []
    key.reserveCapacity(Int(span.end - span.start))
    for (scalar, bytes) in scalars[first..<last + 1] { fold(scalar, bytes, into: &key) }
    return key
  }

  private static func isEdge(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    // The printable ASCII characters that are neither letters nor digits all are P or S.
    if value < 0x80 { return value > 0x20 && value < 0x7f && !isAlphanumeric(UInt8(value)) }
    // What stands for bytes that are no UTF-8 is no symbol here: those bytes are letters.
    if value == 0xfffd { return false }
    switch scalar.properties.generalCategory {
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation, .finalPunctuation,
      .otherPunctuation, .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol:
      return true
    default: return false
    }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
  }

  private static func fold(_ scalar: Unicode.Scalar, _ bytes: ArraySlice<UInt8>, into key: inout [UInt8]) {
    let value = scalar.value
    if value < 0x80 {
      key.append((0x41...0x5a).contains(value) ? UInt8(value) + 0x20 : UInt8(value))
    } else if value == 0xfffd || value == 0x131 {
      // The dotless i folds to itself; bytes that are no UTF-8 are told apart.
      key.append(contentsOf: bytes)
    } else {
      // Lower case of upper case is full case folding, but for Cherokee, where both sides of it differ from the standard's alike.
      for upper in scalar.properties.uppercaseMapping.unicodeScalars {
        key.append(contentsOf: upper.properties.lowercaseMapping.utf8)
      }
    }
  }
}

/// Words by number: equal keys, equal numbers.
struct WordNumbers {
  private var numbers: [[UInt8]: Int32] = [:]

  mutating func number(_ key: [UInt8]) -> Int32 {
    if let known = numbers[key] { return known }
    let next = Int32(truncatingIfNeeded: numbers.count)
    numbers[key] = next
    return next
  }

  var count: Int { numbers.count }
}
