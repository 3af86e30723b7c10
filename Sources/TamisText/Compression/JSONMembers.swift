/// A JSON text as a tree of byte ranges: what may be dropped without breaking it. A leaf is an object's member or an array's
/// element whose value is no container (or an empty one); dropping it takes its comma along. A container stays while anything
/// in it stays.
struct JSONMembers {
  struct Node {
    /// A leaf: from the first byte of the name (or value) past the value. A container: past the opening bracket.
    var start: Int
    var end: Int
    /// Containers: the closing bracket, and the node after the last one inside.
    var close: Int
    var next: Int
    var isLeaf: Bool
  }

  /// Containers before what they hold.
  private(set) var nodes: [Node] = []

  /// nil unless the text is one JSON array or object, and white space.
  init?(_ text: UnsafeBufferPointer<UInt8>) {
    var parser = Parser(text: text)
    guard parser.document() else { return nil }
    nodes = parser.nodes
  }

  var leaves: [Range<Int>] { nodes.filter(\.isLeaf).map { $0.start..<$0.end } }

  /// The ranges of the text that are left when `keeps` names the leaves that stay (in the order of `leaves`): brackets, names,
  /// values, and the commas and white space before them.
  func spans(_ text: UnsafeBufferPointer<UInt8>, keeps: [Bool]) -> [Range<Int>] {
    var stays = [Bool](repeating: false, count: nodes.count)
    var leaf = keeps.count
    for i in nodes.indices.reversed() {
      if nodes[i].isLeaf {
        leaf -= 1
        stays[i] = keeps[leaf]
      } else {
        // what is inside is decided already: asking the direct children is enough
        var child = i + 1
        while child < nodes[i].next, !stays[child] { child = nodes[child].next }
        stays[i] = child < nodes[i].next
      }
    }
    var spans: [Range<Int>] = []
    func add(_ range: Range<Int>) {
      if let last = spans.last, last.upperBound == range.lowerBound {
        spans[spans.count - 1] = last.lowerBound..<range.upperBound
      } else if !range.isEmpty {
        spans.append(range)
      }
    }
    // containers that are open: where they close, and whether something was written in them
    var open: [(next: Int, close: Int, written: Bool)] = []
    var i = 0
    func closeFinished(before node: Int) {
      while let last = open.last, last.next <= node {
        // the white space before the bracket, when something stands before it
        add((last.written ? spaceStart(text, before: last.close) : last.close)..<last.close + 1)
        open.removeLast()
      }
    }
    while i < nodes.count {
      closeFinished(before: i)
      let node = nodes[i]
      guard stays[i] || i == 0 else {
        i = node.next
        continue
      }
      var start = node.start
      if i > 0 {
        start = spaceStart(text, before: start)
        if let last = open.last, last.written, start > 0, text[start - 1] == 0x2c { start = start - 1 }
        open[open.count - 1].written = true
      }
      add((i == 0 ? 0 : start)..<node.end)
      if !node.isLeaf { open.append((node.next, node.close, false)) }
      i += 1
    }
    closeFinished(before: nodes.count)
    if let end = spans.last?.upperBound { add(end..<text.count) }
    return spans
  }

  private func spaceStart(_ text: UnsafeBufferPointer<UInt8>, before i: Int) -> Int {
    var i = i
    while i > 0, Parser.isSpace(text[i - 1]) { i -= 1 }
    return i
  }

  private struct Parser {
    let text: UnsafeBufferPointer<UInt8>
    var nodes: [Node] = []
    var at = 0

    init(text: UnsafeBufferPointer<UInt8>) { self.text = text }

    static func isSpace(_ c: UInt8) -> Bool { c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d }

    var next: UInt8? { at < text.count ? text[at] : nil }

    mutating func skipSpace() { while let c = next, Self.isSpace(c) { at += 1 } }

    mutating func document() -> Bool {
      skipSpace()
      guard next == 0x7b || next == 0x5b else { return false }
      guard value(start: at, depth: 0) else { return false }
      skipSpace()
      return at == text.count
    }

    /// The value at `at`; its node begins at `start` (the name's first byte in an object).
    mutating func value(start: Int, depth: Int) -> Bool {
      guard depth <= 512, let c = next else { return false }
      if c == 0x7b || c == 0x5b { return container(start: start, isObject: c == 0x7b, depth: depth) }
      guard c == 0x22 ? string() : scalar() else { return false }
      nodes.append(Node(start: start, end: at, close: at, next: nodes.count + 1, isLeaf: true))
      return true
    }

    private mutating func container(start: Int, isObject: Bool, depth: Int) -> Bool {
      let index = nodes.count
      at += 1
      nodes.append(Node(start: start, end: at, close: at, next: 0, isLeaf: false))
      skipSpace()
      let closing: UInt8 = isObject ? 0x7d : 0x5d
      if next == closing {
        at += 1
        nodes[index] = Node(start: start, end: depth > 0 ? at : at - 1, close: at - 1, next: index + 1, isLeaf: depth > 0)
        return true
      }
      while true {
        let child = at
        if isObject {
          guard next == 0x22, string() else { return false }
          skipSpace()
          guard next == 0x3a else { return false }
          at += 1
          skipSpace()
        }
        guard value(start: child, depth: depth + 1) else { return false }
        skipSpace()
        guard let c = next else { return false }
        at += 1
        if c == closing {
          nodes[index].close = at - 1
          nodes[index].next = nodes.count
          return true
        }
        guard c == 0x2c else { return false }
        skipSpace()
      }
    }

    private mutating func string() -> Bool {
      at += 1
      while let c = next {
        at += 1
        if c == 0x22 { return true }
        if c == 0x5c { at += 1 }
        if c < 0x20 { return false }
      }
      return false
    }

    /// true, false, null or a number, read loosely: it stays or goes as it is.
    private mutating func scalar() -> Bool {
      let start = at
      while let c = next, Self.isScalarByte(c) { at += 1 }
      return at > start
    }

    /// Letters, digits, + - .
    private static func isScalarByte(_ c: UInt8) -> Bool {
      c == 0x2b || c == 0x2d || c == 0x2e || (0x30...0x39).contains(c) || (0x61...0x7a).contains(c | 0x20)
    }
  }
}
