/// A JSON text (RFC 8259), read strictly: UTF-8 only, no duplicate names, no numbers an Int64 or Double cannot hold, bounded
/// depth. For the heads of model files: small texts from strangers.
public enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  /// A number without fraction and exponent.
  case integer(Int64)
  case number(Double)
  case string(String)
  case array([JSON])
  /// In the order of the text.
  case object([Member])

  public struct Member: Sendable, Equatable {
    public var name: String
    public var value: JSON

    public init(name: String, value: JSON) {
      self.name = name
      self.value = value
    }
  }

  /// - Throws: `format` with the byte offset at which the text stops making sense.
  public init(_ text: UnsafeRawBufferPointer, maxDepth: Int = 64) throws(TamisError) {
    var parser = JSONParser(text: text, maxDepth: maxDepth)
    self = try parser.document()
  }

  /// The member of an object.
  public subscript(_ name: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  public var string: String? { if case .string(let value) = self { value } else { nil } }
  public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
  public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  public var object: [Member]? { if case .object(let value) = self { value } else { nil } }
}

private struct JSONParser {
  let text: UnsafeRawBufferPointer
  let maxDepth: Int
  var at = 0
  var depth = 0

  mutating func document() throws(TamisError) -> JSON {
    skipSpace()
    let value = try value()
    skipSpace()
    if at < text.count { throw broken("more text after the value") }
    return value
  }

  func broken(_ what: String) -> TamisError { TamisError(.format, "JSON, byte \(at): \(what)") }

  var next: UInt8? { at < text.count ? text[at] : nil }

  mutating func skipSpace() {
    while let c = next, c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d { at += 1 }
  }

  mutating func take(_ c: Unicode.Scalar) -> Bool {
    guard next == UInt8(ascii: c) else { return false }
    at += 1
    return true
  }

  mutating func value() throws(TamisError) -> JSON {
    switch next {
    case UInt8(ascii: "{"): return try nested { (p) throws(TamisError) in try p.object() }
    case UInt8(ascii: "["): return try nested { (p) throws(TamisError) in try p.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case nil: throw broken("the text ends where a value should be")
    default: return try number()
    }
  }

  mutating func nested(_ body: (inout JSONParser) throws(TamisError) -> JSON) throws(TamisError) -> JSON {
    depth += 1
    if depth > maxDepth { throw broken("nested deeper than \(maxDepth)") }
    at += 1
    skipSpace()
    let value = try body(&self)
    depth -= 1
    return value
  }

  mutating func word(_ word: StaticString, _ value: JSON) throws(TamisError) -> JSON {
    for i in 0..<word.utf8CodeUnitCount {
      guard next == word.utf8Start[i] else { throw broken("expected \(word)") }
      at += 1
    }
    return value
  }

  mutating func object() throws(TamisError) -> JSON {
    var members: [JSON.Member] = []
    var names: Set<String> = []
    if take("}") { return .object(members) }
    while true {
      guard next == UInt8(ascii: "\"") else { throw broken("expected a name in quotes") }
      let name = try string()
      // Names that differ in bytes but not as Unicode would be one key in a Swift string; the text must not play with that.
      if !names.insert(name).inserted { throw broken("the name \"\(name)\" stands twice") }
      skipSpace()
      guard take(":") else { throw broken("expected :") }
      skipSpace()
      members.append(JSON.Member(name: name, value: try value()))
      skipSpace()
      if take("}") { return .object(members) }
      guard take(",") else { throw broken("expected , or }") }
      skipSpace()
    }
  }

  mutating func array() throws(TamisError) -> JSON {
    var values: [JSON] = []
    if take("]") { return .array(values) }
    while true {
      values.append(try value())
      skipSpace()
      if take("]") { return .array(values) }
      guard take(",") else { throw broken("expected , or ]") }
      skipSpace()
    }
  }

  // MARK: strings

  mutating func string() throws(TamisError) -> String {
    at += 1
    var bytes: [UInt8] = []
    while true {
      guard let c = next else { throw broken("the text ends inside a string") }
      switch c {
      case UInt8(ascii: "\""):
        at += 1
        guard let string = String(validating: bytes, as: UTF8.self) else { throw broken("a string is not UTF-8") }
        return string
      case UInt8(ascii: "\\"):
        at += 1
        try JSONEscape.read(text, &at, into: &bytes)
      case 0..<0x20: throw broken("a control character inside a string")
      default:
        bytes.append(c)
        at += 1
      }
    }
  }

  // MARK: numbers

  mutating func digits() throws(TamisError) {
    let first = at
    while let c = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(c) { at += 1 }
    if at == first { throw broken("expected a value") }
  }

  mutating func number() throws(TamisError) -> JSON {
    let first = at
    _ = take("-")
    if !take("0") {
      try digits()
    } else if let c = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(c) {
      throw broken("a number with a leading 0")
    }
    var isInteger = true
    if take(".") {
      isInteger = false
      try digits()
    }
    if take("e") || take("E") {
      isInteger = false
      if !take("+") { _ = take("-") }
      try digits()
    }
    let literal = String(decoding: text[first..<at], as: UTF8.self)
    if isInteger {
      guard let value = Int64(literal) else { throw broken("a whole number that 64 bits cannot hold") }
      return .integer(value)
    }
    guard let value = Double(literal), value.isFinite else { throw broken("a number that a double cannot hold") }
    return .number(value)
  }
}
