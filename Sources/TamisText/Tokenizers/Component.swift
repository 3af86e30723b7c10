import TamisCore

/// A component object of a tokenizer.json with its options; a wrong one is refused by name.
struct Component {
  let json: JSON
  let type: String
  let what: String

  init(_ json: JSON, _ what: String) throws(TamisError) {
    guard json.object != nil, let type = json["type"]?.string else {
      throw TamisError(.format, "tokenizer.json: \(what) has no type")
    }
    self.json = json
    self.type = type
    self.what = what
  }

  /// A component without a type, as old files have.
  init(_ json: JSON, _ what: String, type: String) {
    self.json = json
    self.what = what
    self.type = type
  }

  var unsupported: TamisError { TamisError(.unsupported, "tokenizer.json: the \(what) \(type) is not implemented") }

  func wrong(_ name: String, _ expected: String) -> TamisError {
    TamisError(.format, "tokenizer.json: \(name) of the \(what) \(type) is not \(expected)")
  }

  subscript(_ name: String) -> JSON? {
    guard let value = json[name], value != .null else { return nil }
    return value
  }

  func bytes(_ name: String, _ otherwise: String) throws(TamisError) -> [UInt8] {
    guard let value = self[name] else { return Array(otherwise.utf8) }
    guard let text = value.string else { throw wrong(name, "a string") }
    return Array(text.utf8)
  }

  func flag(_ name: String, _ otherwise: Bool) throws(TamisError) -> Bool {
    guard let value = self[name] else { return otherwise }
    guard case .bool(let flag) = value else { throw wrong(name, "true or false") }
    return flag
  }

  func count(_ name: String, _ otherwise: Int) throws(TamisError) -> Int {
    guard let value = self[name] else { return otherwise }
    guard let number = value.integer, (0...Int64(Int32.max)).contains(number) else { throw wrong(name, "a count") }
    return Int(number)
  }

  func id(_ name: String) throws(TamisError) -> Int32? {
    guard self[name] != nil else { return nil }
    return Int32(try count(name, 0))
  }

  func array(_ name: String) throws(TamisError) -> [JSON] {
    guard let array = self[name]?.array else { throw wrong(name, "an array") }
    return array
  }

  enum PrependScheme { case always, first, never }

  /// Of a Metaspace: `prepend_scheme`, or `add_prefix_space` in files that have none.
  func prependScheme() throws(TamisError) -> PrependScheme {
    let addsPrefix = try flag("add_prefix_space", true)
    guard let scheme = self["prepend_scheme"] else { return addsPrefix ? .always : .never }
    switch scheme.string {
    case "always": return .always
    case "first": return .first
    case "never": return .never
    default: throw wrong("prepend_scheme", "always, first or never")
    }
  }
}
