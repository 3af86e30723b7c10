/// What a word is compared by: its characters after full case folding, without the punctuation and symbols (categories P and
/// S) at its edges; a word of nothing else stays as it is. Stands where LLMLingua-2's code has spaCy's lemmas.
enum WordKey {
  static func of(_ text: TextBytes, _ span: TextSpan) -> [UInt8] {
    let word = ScalarReader(bytes: TextBytes(rebasing: text[..<Int(span.end)]))
    var start = Int(span.start)
    var end = Int(span.end)
    while start < end, isEdge(word.scalar(at: start).code) { start += word.scalar(at: start).length }
    if start < end {
      while isEdge(word.scalar(before: end).code) { end -= word.scalar(before: end).length }
    } else {
      start = Int(span.start)
    }
    var key: [UInt8] = []
    key.reserveCapacity(end - start)
    while start < end {
      let (code, length) = word.scalar(at: start)
      fold(code, word.bytes[start..<start + length], into: &key)
      start += length
    }
    return key
  }

  /// What stands for bytes that are no UTF-8 is no symbol here: those bytes are letters.
  private static func isEdge(_ code: UInt32) -> Bool {
    code != 0xfffd && (UnicodeData.isPunctuation(code) || UnicodeData.isSymbol(code))
  }

  private static func fold(_ code: UInt32, _ bytes: Slice<TextBytes>, into key: inout [UInt8]) {
    if code < 0x80 {
      key.append((0x41...0x5a).contains(code) ? UInt8(code) + 0x20 : UInt8(code))
      return
    }
    // The dotless i folds to itself; bytes that are no UTF-8 are told apart.
    guard code != 0xfffd, code != 0x131, let scalar = Unicode.Scalar(code) else {
      key.append(contentsOf: bytes)
      return
    }
    // The standard library has the full mappings, which UnicodeData has not. Lower case of upper case is full case folding, but
    // for Cherokee, where both sides of it differ from the standard's alike.
    for upper in scalar.properties.uppercaseMapping.unicodeScalars {
      key.append(contentsOf: upper.properties.lowercaseMapping.utf8)
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
