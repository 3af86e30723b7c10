import TamisCore

/// One component of a tokenizer.json with its options; a wrong one is refused by name. Options are asked for by name: `finish`
/// refuses those that nobody asked for, where one of them may change the ids.
final class Component {
  /// "normalizer", "pre_tokenizer", ..
  let role: String
  let type: String
  private var unread: [JSON.Member]
  private let members: [JSON.Member]

  /// - Parameter otherwise: the type of a component that names none, as in old files; nil: it must.
  init(_ json: JSON, role: String, type otherwise: String? = nil) throws(TamisError) {
    guard let members = json.object else { throw TamisError(.format, "tokenizer.json: \(role) is not an object") }
    guard let type = json["type"]?.string ?? otherwise else {
      throw TamisError(.format, "tokenizer.json: \(role) has no type")
    }
    self.role = role
    self.type = type
    self.members = members
    unread = members.filter { $0.name != "type" }
  }

  /// nil: not there, or null.
  subscript(_ name: String) -> JSON? {
    unread.removeAll { $0.name == name }
    guard let value = members.first(where: { $0.name == name })?.value, value != .null else { return nil }
    return value
  }

  /// Without a `standard` the option must be there.
  func flag(_ name: String, _ standard: Bool? = nil) throws(TamisError) -> Bool {
    guard let value = try optionalFlag(name) ?? standard else { throw missing(name) }
    return value
  }

  func optionalFlag(_ name: String) throws(TamisError) -> Bool? {
    switch self[name] {
    case nil: return nil
    case .bool(let value): return value
    case .some: throw wrong(name, "true or false")
    }
  }

  func text(_ name: String, _ standard: String? = nil) throws(TamisError) -> String {
    guard let value = self[name] else {
      guard let standard else { throw missing(name) }
      return standard
    }
    guard let text = value.string else { throw wrong(name, "a string") }
    return text
  }

  func bytes(_ name: String, _ standard: String? = nil) throws(TamisError) -> [UInt8] {
    Array(try text(name, standard).utf8)
  }

  /// A string of one scalar.
  func scalar(_ name: String) throws(TamisError) -> UInt32 {
    let scalars = try text(name).unicodeScalars
    guard let scalar = scalars.first, scalars.count == 1 else { throw wrong(name, "one character") }
    return scalar.value
  }

  func count(_ name: String, _ standard: Int, from low: Int64 = 0) throws(TamisError) -> Int {
    guard let value = self[name] else { return standard }
    guard let number = value.integer, (low...Int64(Int32.max)).contains(number) else {
      throw wrong(name, "a count of at least \(low)")
    }
    return Int(number)
  }

  func id(_ name: String) throws(TamisError) -> Int32? {
    guard self[name] != nil else { return nil }
    return Int32(try count(name, 0))
  }

  func array(_ name: String) throws(TamisError) -> [JSON] {
    guard let value = self[name] else { throw missing(name) }
    guard let array = value.array else { throw wrong(name, "an array") }
    return array
  }

  /// One of the values of an enumeration.
  func choice<Value: RawRepresentable<String>>(_ name: String, _ standard: Value? = nil) throws(TamisError) -> Value {
    let text = try text(name, standard?.rawValue)
    guard let value = Value(rawValue: text) else {
      throw TamisError(.unsupported, "tokenizer.json: \(role) \(type): \(name) \"\(text)\" is not supported")
    }
    return value
  }

  /// {"Regex": ..} or {"String": ..}
  func pattern(_ name: String) throws(TamisError) -> Pattern {
    guard let value = self[name] else { throw missing(name) }
    guard let members = value.object, members.count == 1, let text = members[0].value.string else {
      throw wrong(name, "{\"Regex\": ..} or {\"String\": ..}")
    }
    switch members[0].name {
    case "String": return Pattern(literal: text.utf8)
    case "Regex": return try Pattern(text.utf8)
    default: throw wrong(name, "{\"Regex\": ..} or {\"String\": ..}")
    }
  }

  /// Refuses what nobody asked for.
  func finish() throws(TamisError) {
    guard let option = unread.first(where: { $0.value != .null }) else { return }
    throw TamisError(.unsupported, "tokenizer.json: \(role) \(type): option \"\(option.name)\" is not supported")
  }

  var unknownType: TamisError { TamisError(.unsupported, "tokenizer.json: \(role) of type \"\(type)\" is not supported") }

  func missing(_ name: String) -> TamisError { TamisError(.format, "tokenizer.json: \(role) \(type) has no \"\(name)\"") }

  func wrong(_ name: String, _ expected: String) -> TamisError {
    TamisError(.format, "tokenizer.json: \(role) \(type): \"\(name)\" is not \(expected)")
  }
}
