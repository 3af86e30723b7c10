/// Reads pickles of tensors (Python's pickle protocol 2 to 5, PEP 307, 3154, 574) by interpreting their opcodes over plain
/// values. Nothing is imported or called: a name outside `PickleGlobal`, or an opcode that would make another object, is an
/// error that says so. Work and memory are proportional to the number of opcodes.
struct Unpickler {
  let bytes: UnsafeRawBufferPointer
  private let path: String
  private(set) var nodes: [[PickleValue]] = []
  private(set) var storages: [PickledStorage] = []
  private(set) var tensors: [PickledTensor] = []
  private var stack: [PickleValue] = []
  /// Heights of the stack at its marks.
  private var marks: [Int] = []
  private var memo: [UInt32: PickleValue] = [:]
  private var at = 0

  init(_ bytes: UnsafeRawBufferPointer, path: String) {
    self.bytes = bytes
    self.path = path
  }

  func broken(_ what: String) -> TamisError { TamisError(.format, "path: \(path): pickle, byte \(at): \(what)") }

  func text(_ range: Range<Int>) -> String? { String(validating: bytes[range], as: UTF8.self) }

  /// Runs from byte `start` to the next STOP. Returns the value and where the next pickle would begin.
  mutating func run(from start: Int) throws(TamisError) -> (value: PickleValue, end: Int) {
    at = start
    stack.removeAll()
    marks.removeAll()
    memo.removeAll()
    while true {
      let opcode = bytes[try take(1).lowerBound]
      if opcode == UInt8(ascii: ".") {
        let value = try pop()
        guard stack.isEmpty, marks.isEmpty else { throw broken("values are left over at the end") }
        return (value, at)
      }
      try step(opcode)
    }
  }

  private mutating func step(_ opcode: UInt8) throws(TamisError) {
    switch opcode {
    case 0x80:
      let version = try number(1)
      guard (2...5).contains(version) else { throw broken("protocol \(version); expected 2 to 5") }
    case 0x95: _ = try take(8)  // FRAME
    case UInt8(ascii: "("): marks.append(stack.count)
    case UInt8(ascii: "0"): _ = try pop()
    case UInt8(ascii: "1"): _ = try popToMark()
    case UInt8(ascii: "2"): stack.append(try top())
    case UInt8(ascii: "N"): stack.append(.none)
    case 0x88: stack.append(.bool(true))
    case 0x89: stack.append(.bool(false))
    case UInt8(ascii: "J"), UInt8(ascii: "K"), UInt8(ascii: "M"), 0x8a, 0x8b, UInt8(ascii: "G"): try pushNumber(opcode)
    case UInt8(ascii: "X"), UInt8(ascii: "T"): stack.append(.text(try take(count: number(4))))
    case 0x8c, UInt8(ascii: "U"): stack.append(.text(try take(count: number(1))))
    case 0x8d: stack.append(.text(try take(count: number(8))))
    case UInt8(ascii: "]"): stack.append(.list(node([])))
    case UInt8(ascii: "}"): stack.append(.dictionary(node([])))
    case UInt8(ascii: ")"): stack.append(.tuple(node([])))
    case UInt8(ascii: "t"): stack.append(.tuple(node(try popToMark())))
    case UInt8(ascii: "l"): stack.append(.list(node(try popToMark())))
    case UInt8(ascii: "d"): stack.append(.dictionary(node(try pairs(try popToMark()))))
    case 0x85, 0x86, 0x87: stack.append(.tuple(node(try pop(Int(opcode) - 0x84))))
    case UInt8(ascii: "a"): try extend(with: try pop(1), .list(0))
    case UInt8(ascii: "e"): try extend(with: try popToMark(), .list(0))
    case UInt8(ascii: "s"): try extend(with: try pop(2), .dictionary(0))
    case UInt8(ascii: "u"): try extend(with: try pairs(try popToMark()), .dictionary(0))
    case UInt8(ascii: "q"): memo[UInt32(try number(1))] = try top()
    case UInt8(ascii: "r"): memo[UInt32(try number(4))] = try top()
    case 0x94: memo[UInt32(truncatingIfNeeded: memo.count)] = try top()
    case UInt8(ascii: "h"): try recall(UInt32(try number(1)))
    case UInt8(ascii: "j"): try recall(UInt32(try number(4)))
    case UInt8(ascii: "c"): try pushGlobal(module: try line(), name: try line())
    case 0x93:
      let names = try pop(2)
      guard case .text(let module) = names[0], case .text(let name) = names[1] else { throw broken("a global without a name") }
      try pushGlobal(module: module, name: name)
    case UInt8(ascii: "Q"): try pushStorage(try pop())
    case UInt8(ascii: "R"):
      let call = try pop(2)
      try reduce(call[0], call[1])
    case UInt8(ascii: "b"):
      // An ordered dictionary's attributes (torch keeps versions there); of anything else it would be a call.
      let state = try pop(2)
      guard case .dictionary = state[0] else { throw broken("it sets the state of an object; expected tensors alone") }
      stack.append(state[0])
    default:
      throw broken("opcode 0x\(String(opcode, radix: 16)) makes something else than tensors, dictionaries and numbers")
    }
  }

  // MARK: bytes

  private mutating func take(_ count: Int) throws(TamisError) -> Range<Int> {
    guard count <= bytes.count - at else { throw broken("it ends early") }
    at += count
    return (at - count)..<at
  }

  private mutating func take(count: UInt64) throws(TamisError) -> Range<Int> {
    guard count <= UInt64(bytes.count) else { throw broken("it ends early") }
    return try take(Int(count))
  }

  /// An unsigned little-endian number of 1 to 8 bytes.
  private mutating func number(_ size: Int) throws(TamisError) -> UInt64 {
    bytes[try take(size)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  private mutating func line() throws(TamisError) -> Range<Int> {
    let start = at
    while bytes[try take(1).lowerBound] != UInt8(ascii: "\n") {}
    return start..<(at - 1)
  }

  private mutating func pushNumber(_ opcode: UInt8) throws(TamisError) {
    switch opcode {
    case UInt8(ascii: "J"): stack.append(.integer(Int64(Int32(truncatingIfNeeded: try number(4)))))
    case UInt8(ascii: "K"): stack.append(.integer(Int64(try number(1))))
    case UInt8(ascii: "M"): stack.append(.integer(Int64(try number(2))))
    case UInt8(ascii: "G"):
      let bits = bytes[try take(8)].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      stack.append(.number(Double(bitPattern: bits)))
    default:
      let range = try take(count: try number(opcode == 0x8a ? 1 : 4))
      guard range.count <= 8 else { return stack.append(.wideInteger(range)) }
      let bits = bytes[range].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      let unused = UInt64(64 - 8 * range.count)
      stack.append(.integer(range.isEmpty ? 0 : Int64(bitPattern: bits << unused) >> Int64(unused)))
    }
  }

  // MARK: stack

  private func top() throws(TamisError) -> PickleValue {
    guard let value = stack.last, stack.count > marks.last ?? 0 else { throw broken("its stack is empty") }
    return value
  }

  private mutating func pop() throws(TamisError) -> PickleValue {
    let value = try top()
    stack.removeLast()
    return value
  }

  private mutating func pop(_ count: Int) throws(TamisError) -> [PickleValue] {
    guard stack.count - (marks.last ?? 0) >= count else { throw broken("its stack is empty") }
    let values = Array(stack.suffix(count))
    stack.removeLast(count)
    return values
  }

  private mutating func popToMark() throws(TamisError) -> [PickleValue] {
    guard let mark = marks.popLast() else { throw broken("there is no mark") }
    let values = Array(stack[mark...])
    stack.removeLast(values.count)
    return values
  }

  private mutating func node(_ values: [PickleValue]) -> Int {
    nodes.append(values)
    return nodes.count - 1
  }

  private func pairs(_ values: [PickleValue]) throws(TamisError) -> [PickleValue] {
    guard values.count % 2 == 0 else { throw broken("a name without a value") }
    return values
  }

  private mutating func extend(with values: [PickleValue], _ kind: PickleValue) throws(TamisError) {
    switch (try top(), kind) {
    case (.list(let i), .list), (.dictionary(let i), .dictionary): nodes[i].append(contentsOf: values)
    default: throw broken("it adds to what is no \(marks.isEmpty ? "container" : "container of this kind")")
    }
  }

  private mutating func recall(_ i: UInt32) throws(TamisError) {
    guard let value = memo[i] else { throw broken("memo \(i) was never set") }
    stack.append(value)
  }

  // MARK: objects

  private mutating func pushGlobal(module: Range<Int>, name: Range<Int>) throws(TamisError) {
    let (moduleBytes, nameBytes) = (bytes[module], bytes[name])
    guard let global = PickleGlobal(module: .init(rebasing: moduleBytes), name: .init(rebasing: nameBytes)) else {
      let full =
        String(decoding: moduleBytes.prefix(80), as: UTF8.self) + "." + String(decoding: nameBytes.prefix(80), as: UTF8.self)
      throw broken("it names \(Self.printable(full)); only tensors are read, and nothing is executed")
    }
    stack.append(.global(global))
  }

  private static func printable(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? "?" : $0 }))
  }

  private func tuple(_ value: PickleValue) -> [PickleValue]? {
    if case .tuple(let i) = value { nodes[i] } else { nil }
  }

  /// ("storage", type, key, location, elements) and, in old files, a view that must be none.
  private mutating func pushStorage(_ id: PickleValue) throws(TamisError) {
    guard let parts = tuple(id), parts.count == 5 || parts.count == 6, case .text(let what) = parts[0],
      bytes[what].elementsEqual("storage".utf8), case .global(.storage(let element)) = parts[1], case .text(let key) = parts[2],
      case .integer(let count) = parts[4], count >= 0
    else { throw broken("it refers to what is no storage") }
    if parts.count == 6 { guard case .none = parts[5] else { throw broken("a view of a storage is not supported") } }
    // No file holds more than 2^48 bytes, so sizes in bytes cannot overflow.
    guard count <= 1 << 48 else { throw broken("a storage of \(count) elements") }
    storages.append(PickledStorage(element: element, key: key, count: Int(count)))
    stack.append(.storage(storages.count - 1))
  }

  private mutating func reduce(_ callee: PickleValue, _ arguments: PickleValue) throws(TamisError) {
    guard case .global(let global) = callee, let arguments = tuple(arguments) else {
      throw broken("it calls what is no function")
    }
    switch global {
    case .orderedDictionary:
      guard arguments.isEmpty else { throw broken("an OrderedDict with arguments") }
      stack.append(.dictionary(node([])))
    case .rebuildParameter:
      guard case .tensor(let tensor)? = arguments.first else { throw broken("a parameter that is no tensor") }
      stack.append(.tensor(tensor))
    case .rebuildTensor:
      guard arguments.count >= 4, case .storage(let storage) = arguments[0], case .integer(let offset) = arguments[1],
        let shape = integers(arguments[2]), let stride = integers(arguments[3]),
        let tensor = PickledTensor(
          storage: storage, count: storages[storage].count, offset: offset, shape: shape, stride: stride)
      else { throw broken("a tensor that does not fit its storage") }
      tensors.append(tensor)
      stack.append(.tensor(tensors.count - 1))
    case .storage: throw broken("it makes a storage; expected a reference to one")
    }
  }

  private func integers(_ value: PickleValue) -> [Int64]? {
    guard let values = tuple(value), values.count <= PickledTensor.maxDims else { return nil }
    var numbers: [Int64] = []
    for value in values {
      guard case .integer(let n) = value else { return nil }
      numbers.append(n)
    }
    return numbers
  }
}
