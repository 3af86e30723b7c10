public import TamisCore

public enum NeedleKind: Int32, Sendable, CaseIterable {
  case single = 0
  case multiple, conditional, threading, multiThreading
}

public enum NeedlePlacement: Int32, Sendable { case random = 0, clustered }

public enum ThreadDirection: Int32, Sendable { case forward = 0, backward, random }

public struct NeedleOptions: Sendable {
  public var kind = NeedleKind.single
  public var pairs = 25
  public var seed: UInt64 = 0
  /// Per cent; single.
  public var depth = 50.0
  /// Keys; multiple and conditional.
  public var needles = 1
  public var placement = NeedlePlacement.random
  public var conditionalCharacter = UInt8(ascii: "*")
  /// Pairs of a chain.
  public var threadLength = 2
  public var direction = ThreadDirection.forward
  public var threads = 1
  public init() {}

  /// Characters of a pair with its separator.
  public static let pairCharacters = 80
  public static let maxPairs = 1 << 20

  /// - Throws: `invalidArgument`, in the words of the C header.
  public func validate() throws(TamisError) {
    try require((1...Self.maxPairs).contains(pairs), "options->pairs is \(pairs); expected 1 to \(Self.maxPairs)")
    try require(depth >= 0 && depth <= 100, "options->depth is \(depth); expected 0 to 100 per cent")
    let count = Int(Int32.max)
    try require((1...count).contains(needles), "options->needles is \(needles); expected at least 1")
    try require((1...count).contains(threadLength), "options->thread_length is \(threadLength); expected at least 1")
    try require((1...count).contains(threads), "options->threads is \(threads); expected at least 1")
    let c = conditionalCharacter
    let isHex = (c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x46) || (c >= 0x61 && c <= 0x66)
    try require(
      c > 0x20 && c < 0x7f && !isHex && c != 0x2d && c != 0x22 && c != 0x5c,
      "options->conditional_character is \(c); expected a visible ASCII character that is no hex digit, hyphen, quote or "
        + "backslash")
    switch kind {
    case .single: break
    case .multiple, .conditional:
      try require(needles <= pairs, "options->needles is \(needles); expected at most pairs, \(pairs)")
    case .threading:
      try require(threadLength <= pairs, "options->thread_length is \(threadLength); expected at most pairs, \(pairs)")
    case .multiThreading:
      try require(
        threads * threadLength <= pairs,
        "options->threads is \(threads) with thread_length \(threadLength); expected a product of at most pairs, \(pairs)")
    }
  }
}

/// A text of UUID pairs, a question about some of them and its answers (arXiv 2411.05000; the page says what is PROPOSED).
public struct NeedleTask: Sendable {
  public let options: NeedleOptions
  /// ASCII, 80 bytes a pair.
  public let haystack: [UInt8]
  /// Keys asked for, in order; conditional: those that hold the character.
  public let keys: [[UInt8]]
  public let answers: [[UInt8]]
  /// Pairs that are needles; multi-threading: chain after chain.
  public let positions: [Int]

  public init(_ options: NeedleOptions) throws(TamisError) {
    try options.validate()
    self.options = options
    var random = MersenneTwister(seed: options.seed)
    // Two UUIDs a pair, the hyphens in place.
    let n = options.pairs
    var text = UUIDPairs(n, &random)
    let chains: [[Int]]
    switch options.kind {
    case .single: chains = [[Int((options.depth * Double(n - 1) / 100).rounded(.down))]]
    case .multiple: chains = [Self.places(options, &random)]
    case .conditional: chains = [Self.places(options, &random).sorted()]
    case .threading, .multiThreading:
      let count = options.kind == .threading ? 1 : options.threads
      let drawn = random.sample(n, count * options.threadLength)
      chains = stride(from: 0, to: drawn.count, by: options.threadLength).map { start in
        let chain = drawn[start..<start + options.threadLength]
        switch options.direction {
        case .forward: return chain.sorted()
        case .backward: return chain.sorted(by: >)
        case .random: return Array(chain)
        }
      }
    }
    positions = chains.flatMap { $0 }
    switch options.kind {
    case .threading, .multiThreading:
      for chain in chains { for (before, after) in zip(chain, chain.dropFirst()) { text.link(before, after) } }
      keys = chains.map { text.key($0[0]) }
      answers = chains.map { text.value($0[$0.count - 1]) }
    case .conditional:
      for place in positions { text.mark(place, digit: random.below(32), options.conditionalCharacter) }
      fallthrough
    case .single, .multiple:
      keys = positions.map { text.key($0) }
      answers = positions.map { text.value($0) }
    }
    haystack = text.bytes
  }

  private static func places(_ options: NeedleOptions, _ random: inout MersenneTwister) -> [Int] {
    switch options.placement {
    case .random: return random.sample(options.pairs, options.needles)
    case .clustered:
      let first = random.below(options.pairs - options.needles + 1)
      return random.sample(options.needles, options.needles).map { first + $0 }
    }
  }
}

/// `{"key": "value",\n"key": "value"}` of UUIDs drawn one after another.
private struct UUIDPairs {
  static let length = 36
  private(set) var bytes: [UInt8]

  init(_ pairs: Int, _ random: inout MersenneTwister) {
    bytes = []
    bytes.reserveCapacity(pairs * NeedleOptions.pairCharacters)
    bytes.append(UInt8(ascii: "{"))
    for i in 0..<pairs {
      if i > 0 { bytes += [UInt8(ascii: ","), UInt8(ascii: "\n")] }
      for value in [false, true] {
        if value { bytes += [UInt8(ascii: ":"), UInt8(ascii: " ")] }
        bytes.append(UInt8(ascii: "\""))
        let (high, low) = random.bits128()
        for digit in 0..<32 {
          if digit == 8 || digit == 12 || digit == 16 || digit == 20 { bytes.append(UInt8(ascii: "-")) }
          let nibble = UInt8(truncatingIfNeeded: (digit < 16 ? high : low) >> UInt64(60 - 4 * (digit % 16))) & 15
          bytes.append(nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10)
        }
        bytes.append(UInt8(ascii: "\""))
      }
    }
    bytes.append(UInt8(ascii: "}"))
  }

  private func keyStart(_ pair: Int) -> Int { 2 + pair * NeedleOptions.pairCharacters }
  private func valueStart(_ pair: Int) -> Int { keyStart(pair) + Self.length + 4 }

  func key(_ pair: Int) -> [UInt8] { Array(bytes[keyStart(pair)..<keyStart(pair) + Self.length]) }
  func value(_ pair: Int) -> [UInt8] { Array(bytes[valueStart(pair)..<valueStart(pair) + Self.length]) }

  /// The value of one pair becomes the key of another.
  mutating func link(_ before: Int, _ after: Int) {
    let (from, to) = (valueStart(before), keyStart(after))
    for i in 0..<Self.length { bytes[to + i] = bytes[from + i] }
  }

  mutating func mark(_ pair: Int, digit: Int, _ character: UInt8) {
    let hyphens = (digit >= 8 ? 1 : 0) + (digit >= 12 ? 1 : 0) + (digit >= 16 ? 1 : 0) + (digit >= 20 ? 1 : 0)
    bytes[keyStart(pair) + digit + hyphens] = character
  }
}
