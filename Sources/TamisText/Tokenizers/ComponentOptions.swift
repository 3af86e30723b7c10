import TamisCore

/// The options of one component of a tokenizer.json. Each is asked for by name; one that nobody asked for is refused, because
/// it may change the ids.
struct ComponentOptions {
  /// "normalizer", "pre_tokenizer", ..
  let role: String
  let type: String
  private var left: [JSON.Member]

  init(_ json: JSON, role: String) throws(TamisError) {
    self.role = role
    guard let members = json.object else { throw TamisError(.format, "tokenizer.json: \(role) is not an object") }
    guard let type = json["type"]?.string else { throw TamisError(.format, "tokenizer.json: \(role) has no type") }
    self.type = type
    left = members.filter { $0.name != "type" }
  }

  /// nil: not there, or null.
  mutating func take(_ name: String) -> JSON? {
    guard let i = left.firstIndex(where: { $0.name == name }) else { return nil }
    let value = left.remove(at: i).value
    return value == .null ? nil : value
  }

  mutating func bool(_ name: String, _ standard: Bool? = nil) throws(TamisError) -> Bool {
    guard let value = try optionalBool(name) ?? standard else { throw missing(name) }
    return value
  }

  mutating func optionalBool(_ name: String) throws(TamisError) -> Bool? {
    switch take(name) {
    case nil: return nil
    case .bool(let value): return value
    case .some: throw wrong(name, "true or false")
    }
  }

  mutating func text(_ name: String, _ standard: String? = nil) throws(TamisError) -> String {
    guard let value = take(name) else {
      guard let standard else { throw missing(name) }
      return standard
    }
    guard let text = value.string else { throw wrong(name, "a string") }
    return text
  }

  /// A string of one scalar.
  mutating func scalar(_ name: String) throws(TamisError) -> UInt32 {
    let scalars = try text(name).unicodeScalars
    guard let scalar = scalars.first, scalars.count == 1 else { throw wrong(name, "one character") }
    return scalar.value
  }

  /// One of the values of an enumeration.
  mutating func choice<Value: RawRepresentable<String>>(_ name: String, _ standard: Value? = nil) throws(TamisError) -> Value {
    let text = try text(name, standard?.rawValue)
    guard let value = Value(rawValue: text) else {
      throw TamisError(.unsupported, "tokenizer.json: \(role) \(type): \(name) \"\(text)\" is not supported")
    }
    return value
  }

  /// {"Regex": ..} or {"String": ..}
  mutating func pattern(_ name: String) throws(TamisError) -> Pattern {
    guard let value = take(name) else { throw missing(name) }
    guard let members = value.object, members.count == 1, let text = members[0].value.string else {
      throw wrong(name, "{\"Regex\": ..} or {\"String\": ..}")
    }
    switch members[0].name {
    case "String": return Pattern(literal: text.utf8)
    case "Regex": return try Pattern(text.utf8)
    default: throw wrong(name, "{\"Regex\": ..} or {\"String\": ..}")
    }
  }

  /// Refuses what is left.
  func finish() throws(TamisError) {
    guard let option = left.first(where: { $0.value != .null }) else { return }
    throw TamisError(.unsupported, "tokenizer.json: \(role) \(type): option \"\(option.name)\" is not supported")
  }

  func unknownType() -> TamisError {
    TamisError(.unsupported, "tokenizer.json: \(role) of type \"\(type)\" is not supported")
  }

  func missing(_ name: String) -> TamisError { TamisError(.format, "tokenizer.json: \(role) \(type) has no \"\(name)\"") }

  func wrong(_ name: String, _ expected: String) -> TamisError {
    TamisError(.format, "tokenizer.json: \(role) \(type): \"\(name)\" is not \(expected)")
  }
}
