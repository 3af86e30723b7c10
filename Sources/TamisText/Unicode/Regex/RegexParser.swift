import TamisCore

/// Reads Oniguruma's default syntax, as far as splitting patterns go: no captures and back references, no `\G`, `\K`, `\X`,
/// calls, conditionals. Those are refused, and never read as something else.
struct RegexParser {
  let scalars: [UInt32]
  private let source: String
  var at = 0
  var depth = 0
  private var ignoresCase = false
  /// `.` matches a line break.
  private var dotMatchesAll = false
  private var isExtended = false

  init(_ pattern: String) {
    source = pattern
    scalars = pattern.unicodeScalars.map(\.value)
  }

  static func parse(_ pattern: String) throws(TamisError) -> RegexNode {
    var parser = RegexParser(pattern)
    let node = try parser.alternation()
    if parser.at < parser.scalars.count { throw parser.malformed("a ) without its (") }
    return node
  }

  func malformed(_ what: String) -> TamisError { TamisError(.format, "pattern \(source), character \(at): \(what)") }
  func unsupported(_ what: String) -> TamisError {
    TamisError(.unsupported, "pattern \(source), character \(at): \(what) is not supported")
  }

  var next: UInt32? { at < scalars.count ? scalars[at] : nil }
  func isNext(_ text: StaticString) -> Bool {
    for i in 0..<text.utf8CodeUnitCount {
      if at + i >= scalars.count || scalars[at + i] != UInt32(text.utf8Start[i]) { return false }
    }
    return true
  }
  mutating func take(_ text: StaticString) -> Bool {
    guard isNext(text) else { return false }
    at += text.utf8CodeUnitCount
    return true
  }

  // MARK: structure

  private mutating func alternation() throws(TamisError) -> RegexNode {
    try enter()
    defer { depth -= 1 }
    var branches = [try sequence()]
    while take("|") { branches.append(try sequence()) }
    return branches.count == 1 ? branches[0] : .alternation(branches)
  }

  /// One level further in. What reads, compiles and frees a pattern calls itself once a level.
  mutating func enter() throws(TamisError) {
    depth += 1
    if depth > 100 { throw unsupported("a pattern nested deeper than 100") }
  }

  private mutating func sequence() throws(TamisError) -> RegexNode {
    var nodes: [RegexNode] = []
    while let c = next, c != Self.bar, c != Self.close {
      if isExtended, try skipsComment(c) { continue }
      if take("(?#") {
        while let c = next, c != Self.close { _ = c; at += 1 }
        guard take(")") else { throw malformed("a comment without its )") }
        continue
      }
      if let node = try atom() { nodes.append(try repeated(node)) }
    }
    return nodes.count == 1 ? nodes[0] : .sequence(nodes)
  }

  private mutating func skipsComment(_ c: UInt32) throws(TamisError) -> Bool {
    if isSpace(c) {
      at += 1
      return true
    }
    guard c == 0x23 else { return false }
    while let c = next, c != 0x0a { _ = c; at += 1 }
    return true
  }

  private func isSpace(_ c: UInt32) -> Bool { c == 0x20 || (9...13).contains(c) }

  private mutating func repeated(_ node: RegexNode) throws(TamisError) -> RegexNode {
    var node = node
    var times = 0
    while let c = next {
      let bounds: (Int, Int?)
      var isInterval = false
      switch c {
      case 0x2a: bounds = (0, nil)
      case 0x2b: bounds = (1, nil)
      case 0x3f: bounds = (0, 1)
      case 0x7b:
        guard let interval = try interval() else { return node }
        bounds = interval
        isInterval = true
        at -= 1
      default: return node
      }
      at += 1
      // a**: each repeats the one before.
      times += 1
      if times > 4 { throw unsupported("a repetition repeated more than 4 times") }
      if case .assertion = node { throw unsupported("a repeated assertion") }
      if case .look = node { throw unsupported("a repeated look-around") }
      if isInterval {
        // {n}? makes an option of it, {n,m}+ repeats it again: the reading of Ruby's syntax.
        if next == 0x3f, bounds.0 == bounds.1 {
          at += 1
          node = .repetition(
            .repetition(node, minimum: bounds.0, maximum: bounds.1, .greedy), minimum: 0, maximum: 1, .greedy)
        } else {
          node = .repetition(node, minimum: bounds.0, maximum: bounds.1, take("?") ? .lazy : .greedy)
        }
      } else {
        node = .repetition(
          node, minimum: bounds.0, maximum: bounds.1, take("?") ? .lazy : take("+") ? .possessive : .greedy)
      }
    }
    return node
  }

  /// `{n}` `{n,}` `{,m}` `{n,m}`; nil, with nothing read, where the brace stands for itself.
  private mutating func interval() throws(TamisError) -> (Int, Int?)? {
    let start = at
    at += 1
    let low = try number()
    var bounds: (Int, Int?)? = low.map { ($0, $0) }
    if take(",") {
      let high = try number()
      bounds = low == nil && high == nil ? nil : (low ?? 0, high)
    }
    guard let bounds, take("}") else {
      at = start
      // As an atom it is read by `atom`, so step over nothing here.
      return nil
    }
    if let high = bounds.1, high < bounds.0 { throw malformed("an interval that ends before it begins") }
    return bounds
  }

  private mutating func number() throws(TamisError) -> Int? {
    var value: Int?
    while let c = next, (0x30...0x39).contains(c) {
      value = (value ?? 0) * 10 + Int(c - 0x30)
      if let value, value > 1000 { throw unsupported("a repetition over 1000 times") }
      at += 1
    }
    return value
  }

  // MARK: atoms

  /// nil: it changed an option.
  private mutating func atom() throws(TamisError) -> RegexNode? {
    guard let c = next else { throw malformed("the pattern ends too early") }
    switch c {
    case 0x28: return try group()
    case 0x5b:
      at += 1
      return .set(ScalarSet(folded(try bracket())))
    case 0x2e:
      at += 1
      return .set(ScalarSet(dotMatchesAll ? .ranges([0...0x10ffff]) : .not(.ranges([0x0a...0x0a]))))
    case 0x5e:
      at += 1
      return .assertion(.lineStart)
    case 0x24:
      at += 1
      return .assertion(.lineEnd)
    case 0x2a, 0x2b, 0x3f: throw malformed("a repetition of nothing")
    case 0x5c:
      at += 1
      return try escape()
    default:
      at += 1
      return .set(ScalarSet(folded(.ranges([c...c]))))
    }
  }

  func folded(_ term: ScalarSet.Term) -> ScalarSet.Term { ignoresCase ? .ignoringCase(term) : term }

  private mutating func group() throws(TamisError) -> RegexNode? {
    let options = (ignoresCase, dotMatchesAll, isExtended)
    var wrap: (RegexNode) -> RegexNode = { $0 }
    if take("(?:") {
    } else if take("(?=") {
      wrap = { .look($0, behind: false, negative: false) }
    } else if take("(?!") {
      wrap = { .look($0, behind: false, negative: true) }
    } else if take("(?<=") {
      wrap = { .look($0, behind: true, negative: false) }
    } else if take("(?<!") {
      wrap = { .look($0, behind: true, negative: true) }
    } else if take("(?>") {
      wrap = { .atomic($0) }
    } else if take("(?<") || take("(?P<") {
      while let c = next, c != 0x3e { _ = c; at += 1 }
      guard take(">") else { throw malformed("a group name without its >") }
    } else if take("(?") {
      try readOptions()
      if take(")") {
        // To the end of the enclosing group, alternatives included.
        let rest = try alternation()
        (ignoresCase, dotMatchesAll, isExtended) = options
        return rest
      }
      guard take(":") else { throw unsupported("this kind of group") }
    } else {
      at += 1
    }
    let body = try alternation()
    guard take(")") else { throw malformed("a ( without its )") }
    (ignoresCase, dotMatchesAll, isExtended) = options
    return wrap(body)
  }

  private mutating func readOptions() throws(TamisError) {
    var turnsOn = true
    while let c = next, c != 0x3a, c != Self.close {
      switch c {
      case 0x2d: turnsOn = false
      case 0x69: ignoresCase = turnsOn
      case 0x6d: dotMatchesAll = turnsOn
      case 0x78: isExtended = turnsOn
      default: throw unsupported("this kind of group")
      }
      at += 1
    }
  }

  /// Behind a backslash, outside brackets.
  private mutating func escape() throws(TamisError) -> RegexNode {
    guard let c = next else { throw malformed("the pattern ends in a backslash") }
    switch c {
    case 0x62: return assertion(.wordBorder)
    case 0x42: return assertion(.notWordBorder)
    case 0x41: return assertion(.textStart)
    case 0x7a: return assertion(.textEnd)
    case 0x5a: return assertion(.textEndOrLastBreak)
    case 0x52:
      at += 1
      let breaks = ScalarSet(.ranges([0x0a...0x0d, 0x85...0x85, 0x2028...0x2029]))
      return .atomic(.alternation([.sequence([.set(ScalarSet(0x0d)), .set(ScalarSet(0x0a))]), .set(breaks)]))
    case 0x77, 0x57:
      at += 1
      return .set(ScalarSet(c == 0x77 ? .bareWord : .not(.bareWord)))
    default: return .set(ScalarSet(folded(try setEscape())))
    }
  }

  private mutating func assertion(_ kind: RegexNode.Assertion) -> RegexNode {
    at += 1
    return .assertion(kind)
  }

  static let bar: UInt32 = 0x7c
  static let close: UInt32 = 0x29
}
