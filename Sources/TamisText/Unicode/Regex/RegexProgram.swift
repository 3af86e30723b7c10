import TamisCore

/// A regular expression as instructions of a backtracking machine.
struct RegexProgram: Sendable {
  enum Instruction: Sendable, Equatable {
    case scalar(UInt32)
    case set(Int)
    /// One set many times: no frame per scalar.
    case run(set: Int, minimum: Int, maximum: Int, RegexNode.Greed)
    case jump(Int)
    /// Goes on at `first`, and at `second` if that fails.
    case split(first: Int, second: Int)
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
  /// Bytes that a match can begin with, bit by bit; nil: it can be empty or begin anywhere.
  private(set) var firstBytes: [Bool]?
  let pattern: String

  /// Longer programs are refused: a few braces can ask for millions of instructions.
  private static let longest = 20_000

  init(_ pattern: String) throws(TamisError) {
    self.pattern = pattern
    try compile(try RegexParser.parse(pattern))
    instructions.append(.match)
    firstBytes = startingBytes()
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
          instructions[split] = .split(first: split + 1, second: instructions.count)
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
    var stepped: [RegexNode] = []
    var lengths: [Int] = []
    for branch in branches {
      guard let length = branch.fixedLength else {
        throw TamisError(.unsupported, "pattern \(pattern): a look-behind of no fixed length is not supported")
      }
      lengths.append(length)
      stepped.append(branch)
    }
    var exits: [Int] = []
    for (i, branch) in stepped.enumerated() {
      let split = instructions.count
      if i < stepped.count - 1 { try emit(.match) }
      try emit(.back(lengths[i]))
      try compile(branch)
      if i < stepped.count - 1 {
        exits.append(instructions.count)
        try emit(.match)
        instructions[split] = .split(first: split + 1, second: instructions.count)
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
    for _ in 0..<minimum { try compile(body) }
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
    greed == .lazy ? .split(first: exit, second: body) : .split(first: body, second: exit)
  }

  // MARK: where a match can begin

  /// Lead bytes of what the program can take first. What lies beyond ASCII is one question: any set may hold some of it.
  private func startingBytes() -> [Bool]? {
    var bytes = [Bool](repeating: false, count: 256)
    var seen = Set<Int>()
    var open = [0]
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
      case .split(let first, let second): open += [first, second]
      case .mark, .assert: open.append(at + 1)
      case .progress(_, let exit): open += [at + 1, exit]
      // What an assertion needs is not looked at; what an atomic group takes is.
      case .isolate(.atomic, _): open.append(at + 1)
      case .isolate(_, let after): open.append(after)
      case .seal: open.append(at + 1)
      case .back: return nil
      case .match: return nil
      }
    }
    return bytes
  }
}
