import TamisCore

/// Runs a program over a text by backtracking, on a stack of its own and with a limit on its steps: no pattern and no text can
/// make it recurse deeply, run for ever or fill the memory.
struct RegexMachine {
  private enum Frame {
    /// Go on at an instruction and a place.
    case resume(pc: Int, at: Int)
    /// A greedy run that can give back down to `least`.
    case shorten(pc: Int, least: Int, at: Int)
    /// A lazy run that can take up to `left` more.
    case lengthen(pc: Int, at: Int, left: Int)
    case restore(slot: Int, to: Int)
    case wall(RegexProgram.Isolation, after: Int, at: Int)
  }

  private let code: RegexCode
  private let base: UnsafePointer<UInt8>
  private let start: Int
  private let end: Int
  private var stack: [Frame] = []
  private var slots: [Int]
  /// Indices of the walls on the stack.
  private var walls: [Int] = []
  private var steps = 0
  private let limit: Int

  /// Frames: 4 M, so that a text of any length needs bounded memory.
  private static let deepest = 1 << 22

  init(_ code: RegexCode, _ base: UnsafePointer<UInt8>, from: Int, to: Int) {
    self.code = code
    self.base = base
    start = from
    end = to
    slots = Array(repeating: -1, count: code.program.slots)
    limit = 10_000_000 &+ 1_000 &* (to &- from)
  }

  /// The first match at or behind `from`.
  mutating func search(from: Int) throws(TamisError) -> (Int, Int)? {
    var at = from
    while true {
      if code.program.isFiltered {
        while at < end, !code.filters[Int(base[at])] { at &+= 1 }
        if at == end { return nil }
      }
      if let stop = try match(at) { return (at, stop) }
      if at >= end { return nil }
      at &+= UTF8Text.length(lead: base[at])
    }
  }

  private func tooLong() -> TamisError {
    TamisError(.unsupported, "pattern \(code.program.pattern): took more than \(limit) steps on a text of \(end - start) bytes")
  }

  /// Where a match that starts at `first` ends.
  private mutating func match(_ first: Int) throws(TamisError) -> Int? {
    stack.removeAll(keepingCapacity: true)
    walls.removeAll(keepingCapacity: true)
    var pc = 0
    var at = first
    while true {
      steps &+= 1
      if steps > limit || stack.count > Self.deepest { throw tooLong() }
      var fails = false
      switch code.instructions[pc] {
      case .match: return at
      case .scalar(let wanted):
        if at < end {
          let (c, length) = UTF8Text.scalar(base, at: at)
          if c == wanted {
            at &+= length
            pc &+= 1
            continue
          }
        }
        fails = true
      case .set(let set):
        if at < end {
          let length = code.taken(set, base, at)
          if length > 0 {
            at &+= length
            pc &+= 1
            continue
          }
        }
        fails = true
      case .run(let set, let minimum, let maximum, let greed):
        if let stop = run(set, at, minimum, maximum, greed, pc) {
          at = stop
          pc &+= 1
        } else {
          fails = true
        }
      case .jump(let to): pc = to
      case .split(let first, let second, let filter):
        if filter >= 0, at == end || !code.filters[256 &* filter &+ Int(base[at])] {
          pc = second
        } else {
          stack.append(.resume(pc: second, at: at))
          pc = first
        }
      case .mark(let slot):
        stack.append(.restore(slot: slot, to: slots[slot]))
        slots[slot] = at
        pc &+= 1
      case .progress(let slot, let exit): pc = slots[slot] == at ? exit : pc &+ 1
      case .isolate(let kind, let after):
        walls.append(stack.count)
        stack.append(.wall(kind, after: after, at: at))
        pc &+= 1
      case .seal:
        guard let wall = walls.popLast(), case .wall(let kind, let after, let place) = stack[wall] else { return nil }
        stack.removeSubrange(wall...)
        switch kind {
        case .atomic: pc = after
        case .look: (pc, at) = (after, place)
        case .negativeLook: fails = true
        }
      case .back(let scalars):
        if let place = back(scalars, at) {
          at = place
          pc &+= 1
        } else {
          fails = true
        }
      case .assert(let assertion):
        if holds(assertion, at) { pc &+= 1 } else { fails = true }
      }
      if fails {
        guard let next = backtrack() else { return nil }
        (pc, at) = next
      }
    }
  }

  private mutating func backtrack() -> (pc: Int, at: Int)? {
    while let frame = stack.popLast() {
      switch frame {
      case .resume(let pc, let at): return (pc, at)
      case .shorten(let pc, let least, let at):
        let shorter = UTF8Text.start(base, before: at)
        if shorter > least { stack.append(.shorten(pc: pc, least: least, at: shorter)) }
        return (pc, shorter)
      case .lengthen(let pc, let at, let left):
        guard at < end, case .run(let set, _, _, _) = code.instructions[pc] else { continue }
        let length = code.taken(set, base, at)
        if length == 0 { continue }
        if left > 1 { stack.append(.lengthen(pc: pc, at: at &+ length, left: left &- 1)) }
        return (pc &+ 1, at &+ length)
      case .restore(let slot, let place): slots[slot] = place
      case .wall(let kind, let after, let at):
        walls.removeLast()
        if kind == .negativeLook { return (after, at) }
      }
    }
    return nil
  }

  private mutating func run(
    _ index: Int, _ from: Int, _ minimum: Int, _ maximum: Int, _ greed: RegexNode.Greed, _ pc: Int
  ) -> Int? {
    var at = from
    var count = 0
    var least = from
    let wanted = greed == .lazy ? minimum : maximum
    while count < wanted, at < end {
      let length = code.taken(index, base, at)
      if length == 0 { break }
      at &+= length
      count &+= 1
      if count == minimum { least = at }
    }
    steps &+= count / 16
    if count < minimum { return nil }
    switch greed {
    case .greedy: if at > least { stack.append(.shorten(pc: pc &+ 1, least: least, at: at)) }
    case .lazy: if maximum > minimum { stack.append(.lengthen(pc: pc, at: at, left: maximum &- minimum)) }
    case .possessive: break
    }
    return at
  }

  private func back(_ scalars: Int, _ from: Int) -> Int? {
    var at = from
    for _ in 0..<scalars {
      if at <= start { return nil }
      at = UTF8Text.start(base, before: at)
    }
    return at
  }

  private func holds(_ assertion: RegexNode.Assertion, _ at: Int) -> Bool {
    switch assertion {
    case .textStart: return at == start
    case .textEnd: return at == end
    case .textEndOrLastBreak: return at == end || (at &+ 1 == end && base[at] == 0x0a)
    case .lineStart: return at == start || (base[at &- 1] == 0x0a && at < end)
    case .lineEnd: return at == end || base[at] == 0x0a
    case .wordBorder: return isWord(before: at) != isWord(at)
    case .notWordBorder: return isWord(before: at) == isWord(at)
    }
  }

  private func isWord(_ at: Int) -> Bool { at < end && ScalarSet.isBareWord(UTF8Text.scalar(base, at: at).value) }
  private func isWord(before at: Int) -> Bool { at > start && isWord(UTF8Text.start(base, before: at)) }
}
