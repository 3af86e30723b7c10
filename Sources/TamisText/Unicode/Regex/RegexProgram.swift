import TamisCore

/// A regular expression as instructions of a backtracking machine.
struct RegexProgram: Sendable {
  enum Instruction: Sendable, Equatable {
    case scalar(UInt32)
    case set(Int)
    /// One set many times: no frame per scalar.
    case run(set: Int, minimum: Int, maximum: Int, RegexNode.Greed)
    case jump(Int)
    /// Goes on at `first`, and at `second` if that fails. `filter`: index of the bytes that `first` can begin with; -1: any.
    case split(first: Int, second: Int, filter: Int)
    /// Remembers the place in a slot at the start of a turn of a loop; fails the turn if it matched nothing.
    case mark(slot: Int)
    case progress(slot: Int, exit: Int)
    /// Runs what follows on its own, up to `seal`; goes on at `after`.
    case isolate(Isolation, after: Int)
    case seal
    /// Steps back so many scalars.
    case back(Int)
    case assert(RegexNode.Assertion)
    case match
  }

  enum Isolation: Sendable, Equatable {
    case atomic, look, negativeLook
  }

  private(set) var instructions: [Instruction] = []
  private(set) var sets: [ScalarSet] = []
  private(set) var slots = 0
  /// Bytes that the first branch of a split can begin with; the entry of a match as a whole is the first, if there is one.
  private(set) var filters: [[Bool]] = []
  /// Whether `filters[0]` says what a match can begin with; otherwise it can be empty.
  private(set) var isFiltered = false
  let pattern: String

  /// Longer programs are refused: a few braces can ask for millions of instructions.
  private static let longest = 20_000

  init(_ pattern: String) throws(TamisError) {
    self.pattern = pattern
    try compile(try RegexParser.parse(pattern))
    instructions.append(.match)
    if let bytes = startingBytes(0) {
      filters.append(bytes)
      isFiltered = true
    }
    // Each filter walks the program, so a long one does without.
    if instructions.count > 2000 { return }
    for (i, instruction) in instructions.enumerated() {
      guard case .split(let first, let second, _) = instruction, let bytes = startingBytes(first) else { continue }
      let known = filters.firstIndex(of: bytes)
      if known == nil { filters.append(bytes) }
      instructions[i] = .split(first: first, second: second, filter: known ?? filters.count - 1)
    }
  }

  private mutating func emit(_ instruction: Instruction) throws(TamisError) {
    if instructions.count >= Self.longest {
      throw TamisError(.unsupported, "pattern \(pattern): longer than \(Self.longest) instructions")
    }
    instructions.append(instruction)
  }

  private mutating func index(of set: ScalarSet) -> Int {
    if let i = sets.firstIndex(of: set) { return i }
    sets.append(set)
    return sets.count - 1
  }

  private mutating func compile(_ node: RegexNode) throws(TamisError) {
    switch node {
    case .set(let set):
      if case .ranges(let ranges) = set.term, ranges.count == 1, ranges[0].count == 1 {
        try emit(.scalar(ranges[0].lowerBound))
      } else {
        try emit(.set(index(of: set)))
      }
    case .sequence(let nodes):
      for node in nodes { try compile(node) }
    case .alternation(let branches):
      var exits: [Int] = []
      for (i, branch) in branches.enumerated() {
        if i == branches.count - 1 {
          try compile(branch)
        } else {
          let split = instructions.count
          try emit(.match)
          try compile(branch)
          exits.append(instructions.count)
          try emit(.match)
          instructions[split] = .split(first: split + 1, second: instructions.count, filter: -1)
        }
      }
      for exit in exits { instructions[exit] = .jump(instructions.count) }
    case .repetition(let body, let minimum, let maximum, let greed):
      try compileRepetition(body, minimum, maximum, greed)
    case .look(let body, let behind, let negative):
      try isolate(negative ? .negativeLook : .look) { (program) throws(TamisError) in
        if behind { try program.compileBehind(body) } else { try program.compile(body) }
      }
    case .atomic(let body):
      try isolate(.atomic) { (program) throws(TamisError) in try program.compile(body) }
    case .assertion(let assertion):
      try emit(.assert(assertion))
    }
  }

  private mutating func isolate(
    _ kind: Isolation, _ body: (inout RegexProgram) throws(TamisError) -> Void
  ) throws(TamisError) {
    let start = instructions.count
    try emit(.match)
    try body(&self)
    try emit(.seal)
    instructions[start] = .isolate(kind, after: instructions.count)
  }

  /// Each alternative steps back by its own length and must then end where it began.
  private mutating func compileBehind(_ node: RegexNode) throws(TamisError) {
    let branches: [RegexNode]
    if case .alternation(let nodes) = node { branches = nodes } else { branches = [node] }
    var lengths: [Int] = []
    for branch in branches {
      guard let length = branch.fixedLength else {
        throw TamisError(.unsupported, "pattern \(pattern): a look-behind of no fixed length is not supported")
      }
      lengths.append(length)
    }
    var exits: [Int] = []
    for (i, branch) in branches.enumerated() {
      let split = instructions.count
      if i < branches.count - 1 { try emit(.match) }
      try emit(.back(lengths[i]))
      try compile(branch)
      if i < branches.count - 1 {
        exits.append(instructions.count)
        try emit(.match)
        instructions[split] = .split(first: split + 1, second: instructions.count, filter: -1)
      }
    }
    for exit in exits { instructions[exit] = .jump(instructions.count) }
  }

  private mutating func compileRepetition(
    _ body: RegexNode, _ minimum: Int, _ maximum: Int?, _ greed: RegexNode.Greed
  ) throws(TamisError) {
    if case .set(let set) = body {
      return try emit(.run(set: index(of: set), minimum: minimum, maximum: maximum ?? .max, greed))
    }
    if greed == .possessive {
      return try compile(.atomic(.repetition(body, minimum: minimum, maximum: maximum, .greedy)))
    }
    for _ in 0..<minimum {
      let start = instructions.count
      try compile(body)
      // An empty body is the same any number of times, and no limit on instructions would stop the counting.
      if instructions.count == start { break }
    }
    if let maximum {
      var exits: [Int] = []
      for _ in minimum..<max(maximum, minimum) {
        exits.append(instructions.count)
        try emit(.match)
        try compile(body)
      }
      for exit in exits { instructions[exit] = choice(exit + 1, instructions.count, greed) }
      return
    }
    let slot = slots
    slots += 1
    let start = instructions.count
    try emit(.match)
    try emit(.mark(slot: slot))
    try compile(body)
    try emit(.progress(slot: slot, exit: instructions.count + 2))
    try emit(.jump(start))
    instructions[start] = choice(start + 1, instructions.count, greed)
  }

  private func choice(_ body: Int, _ exit: Int, _ greed: RegexNode.Greed) -> Instruction {
    greed == .lazy ? .split(first: exit, second: body, filter: -1) : .split(first: body, second: exit, filter: -1)
  }

  // MARK: where a match can begin

  /// Lead bytes of what the program can take first from an instruction on; nil: it may take nothing. What lies beyond ASCII is
  /// one question: any set may hold some of it.
  private func startingBytes(_ from: Int) -> [Bool]? {
    var bytes = [Bool](repeating: false, count: 256)
    var seen = Set<Int>()
    var open = [from]
    func add(_ contains: (UInt32) -> Bool) {
      for c in 0..<128 where contains(UInt32(c)) { bytes[c] = true }
      for lead in 0xc2..<0xf5 { bytes[lead] = true }
    }
    while let at = open.popLast() {
      if !seen.insert(at).inserted { continue }
      switch instructions[at] {
      case .scalar(let c):
        if c < 0x80 { bytes[Int(c)] = true } else { add { _ in false } }
      case .set(let set): add(sets[set].contains)
      case .run(let set, let minimum, let maximum, _):
        if maximum > 0 { add(sets[set].contains) }
        if minimum == 0 { open.append(at + 1) }
      case .jump(let to): open.append(to)
      case .split(let first, let second, _): open += [first, second]
      case .mark, .assert: open.append(at + 1)
      case .progress(_, let exit): open += [at + 1, exit]
      // What an assertion needs is not looked at; what an atomic group takes is.
      case .isolate(.atomic, _): open.append(at + 1)
      case .isolate(_, let after): open.append(after)
      // The end of a group that was entered from within: what comes behind it is not known here.
      case .seal: return nil
      case .back: return nil
      case .match: return nil
      }
    }
    return bytes
  }
}

/// The program as the machine reads it: flat memory, nothing counted.
final class RegexCode: @unchecked Sendable {
  let program: RegexProgram
  let instructions: UnsafeMutablePointer<RegexProgram.Instruction>
  /// [sets, 128]: whether a set has an ASCII character.
  let ascii: UnsafeMutablePointer<Bool>
  /// [filters, 256]
  let filters: UnsafeMutablePointer<Bool>

  init(_ program: RegexProgram) {
    self.program = program
    instructions = .allocate(capacity: program.instructions.count)
    instructions.initialize(from: program.instructions, count: program.instructions.count)
    ascii = .allocate(capacity: max(128 * program.sets.count, 1))
    for (i, set) in program.sets.enumerated() {
      for c in 0..<128 { (ascii + 128 * i + c).initialize(to: set.contains(UInt32(c))) }
    }
    filters = .allocate(capacity: max(256 * program.filters.count, 1))
    for (i, bytes) in program.filters.enumerated() { (filters + 256 * i).initialize(from: bytes, count: 256) }
  }

  deinit {
    instructions.deallocate()
    ascii.deallocate()
    filters.deallocate()
  }

  /// Whether a set holds the scalar that starts at `at`; 0: no, otherwise its length.
  @inline(__always)
  func taken(_ set: Int, _ base: UnsafePointer<UInt8>, _ at: Int) -> Int {
    let lead = base[at]
    if lead < 0x80 { return ascii[128 &* set &+ Int(lead)] ? 1 : 0 }
    let (c, length) = UTF8Text.scalar(base, at: at)
    return program.sets[set].term.contains(c) ? length : 0
  }
}
