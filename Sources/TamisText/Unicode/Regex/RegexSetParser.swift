import TamisCore

/// Classes, brackets and single characters.
extension RegexParser {
  /// Behind a backslash: a class or a character.
  mutating func setEscape() throws(TamisError) -> ScalarSet.Term {
    guard let c = next else { throw malformed("the pattern ends in a backslash") }
    at += 1
    switch c {
    case 0x64: return .categories(CategorySet(bits: 0x200))
    case 0x44: return .not(.categories(CategorySet(bits: 0x200)))
    case 0x73: return .whitespace
    case 0x53: return .not(.whitespace)
    case 0x77: return .word
    case 0x57: return .not(.word)
    case 0x68: return .ranges([0x30...0x39, 0x41...0x46, 0x61...0x66])
    case 0x48: return .not(.ranges([0x30...0x39, 0x41...0x46, 0x61...0x66]))
    case 0x70: return try property(negated: false)
    case 0x50: return try property(negated: true)
    default:
      let scalar = try character(c)
      return .ranges([scalar...scalar])
    }
  }

  /// The character that an escape (letter c, already read) stands for.
  private mutating func character(_ c: UInt32) throws(TamisError) -> UInt32 {
    switch c {
    case 0x6e: return 0x0a
    case 0x72: return 0x0d
    case 0x74: return 0x09
    case 0x66: return 0x0c
    case 0x76: return 0x0b
    case 0x61: return 0x07
    case 0x65: return 0x1b
    case 0x30 where !(next.map { (0x30...0x39).contains($0) } ?? false): return 0
    case 0x78:
      if take("{") {
        let value = try hexadecimal(1...8)
        guard take("}") else { throw malformed("\\x{ without its }") }
        return value
      }
      let value = try hexadecimal(1...2)
      if value > 0x7f { throw unsupported("a byte above 0x7f") }
      return value
    case 0x75: return try hexadecimal(4...4)
    case 0x30...0x39: throw unsupported("a back reference or octal escape")
    case 0x41...0x5a, 0x61...0x7a:
      throw unsupported("the escape \\\(Unicode.Scalar(c).map(String.init) ?? "")")
    default: return c
    }
  }

  private mutating func hexadecimal(_ digits: ClosedRange<Int>) throws(TamisError) -> UInt32 {
    var value: UInt32 = 0
    var count = 0
    while count < digits.upperBound, let c = next, c < 0x80, let digit = hexDigit(UInt8(c)) {
      value = value << 4 | UInt32(digit)
      count += 1
      at += 1
    }
    guard count >= digits.lowerBound, Unicode.Scalar(value) != nil else { throw malformed("no character of that number") }
    return value
  }

  private mutating func property(negated: Bool) throws(TamisError) -> ScalarSet.Term {
    guard take("{") else { throw malformed("\\p without {name}") }
    var negated = negated
    if take("^") { negated.toggle() }
    var name = ""
    while let c = next, c != 0x7d {
      if let scalar = Unicode.Scalar(c) { name.unicodeScalars.append(scalar) }
      at += 1
    }
    guard take("}") else { throw malformed("\\p{ without its }") }
    guard let term = ScalarSet.property(name) else { throw unsupported("the property \\p{\(name)}") }
    return negated ? .not(term) : term
  }

  /// Behind `[`, up to and with its `]`.
  mutating func bracket() throws(TamisError) -> ScalarSet.Term {
    try enter()
    defer { depth -= 1 }
    let isNegated = take("^")
    var intersected: [ScalarSet.Term] = []
    var terms: [ScalarSet.Term] = []
    var ranges: [ClosedRange<UInt32>] = []
    var isFirst = true
    func union() -> ScalarSet.Term {
      let all = terms + (ranges.isEmpty ? [] : [ScalarSet.ranges(ranges)])
      return all.count == 1 ? all[0] : .union(all)
    }
    while true {
      guard let c = next else { throw malformed("a [ without its ]") }
      if c == 0x5d, !isFirst {
        at += 1
        break
      }
      isFirst = false
      if take("&&") {
        intersected.append(union())
        terms = []
        ranges = []
        continue
      }
      if isNext("[:"), let term = try posixBracket() {
        terms.append(term)
        continue
      }
      if take("[") {
        terms.append(try bracket())
        continue
      }
      guard let low = try bracketScalar(&terms) else { continue }
      if isNext("-"), at + 1 < scalars.count, scalars[at + 1] != 0x5d {
        at += 1
        var none: [ScalarSet.Term] = []
        if isNext("[") { throw unsupported("a range that ends in a set") }
        guard let high = try bracketScalar(&none) else { throw unsupported("a range that ends in a class") }
        guard low <= high else { throw malformed("a range that ends before it begins") }
        ranges.append(low...high)
      } else {
        ranges.append(low...low)
      }
    }
    var term = union()
    if !intersected.isEmpty { term = .intersection(intersected + [term]) }
    // [^..] without regard to case is the rest of what the set matches without regard to case.
    return isNegated ? .not(folded(term)) : term
  }

  /// One character of a set; nil: it was a class, now among the terms.
  private mutating func bracketScalar(_ terms: inout [ScalarSet.Term]) throws(TamisError) -> UInt32? {
    guard let c = next else { throw malformed("a [ without its ]") }
    at += 1
    if c != 0x5c { return c }
    if next == 0x62 {
      at += 1
      return 0x08
    }
    let term = try setEscape()
    if case .ranges(let ranges) = term, ranges.count == 1, ranges[0].count == 1 { return ranges[0].lowerBound }
    terms.append(term)
    return nil
  }

  private mutating func posixBracket() throws(TamisError) -> ScalarSet.Term? {
    let start = at
    at += 2
    let isNegated = take("^")
    var name = ""
    while let c = next, (0x61...0x7a).contains(c), let scalar = Unicode.Scalar(c) {
      name.unicodeScalars.append(scalar)
      at += 1
    }
    guard take(":]") else {
      at = start
      return nil
    }
    guard let term = ScalarSet.posix(name) else { throw unsupported("[:\(name):]") }
    return isNegated ? .not(term) : term
  }
}
