public import TamisCore

/// What a `Split` or `Replace` of a tokenizer.json looks for: a regular expression in Oniguruma's syntax, or a literal text.
///
/// The patterns of the GPT family run as hand-written scanners, recognised by their exact text; others on a bounded engine.
public struct Pattern: Sendable {
  enum Form: Sendable {
    case scanner(WordScanner)
    case literal([UInt8])
    case program(RegexCode)
  }

  let form: Form

  /// - Throws: `format` for what is no regular expression, `unsupported` for syntax the engine does not have.
  public init(_ pattern: some Collection<UInt8>) throws(TamisError) {
    let text = Array(pattern)
    if let known = Self.known.first(where: { Array($0.text.utf8) == text }) {
      form = .scanner(known.scanner)
    } else {
      guard let string = String(validating: text, as: UTF8.self) else { throw TamisError(.format, "pattern: not UTF-8") }
      form = .program(RegexCode(try RegexProgram(string)))
    }
  }

  /// A text that stands for itself. An empty one matches nothing.
  public init(literal: some Collection<UInt8>) { form = .literal(Array(literal)) }

  /// Calls `each` with the byte range of every match in [from, to), left to right, without overlap; what lies outside is not
  /// looked at. An empty match directly behind the one before is skipped.
  /// - Throws: `unsupported` when a regular expression takes too many steps.
  @inline(__always)
  public func matches(
    in bytes: UnsafeBufferPointer<UInt8>, from: Int, to: Int, _ each: (Int, Int) -> Void
  ) throws(TamisError) {
    guard let base = bytes.baseAddress, from < to else { return }
    switch form {
    case .scanner(let scanner): scanner.each(base, from: from, to: to, each)
    case .literal(let literal): Self.search(literal, base, from, to, each)
    case .program(let program): try Self.run(program, base, from, to, each)
    }
  }

  private static func run(
    _ program: RegexCode, _ base: UnsafePointer<UInt8>, _ from: Int, _ to: Int, _ each: (Int, Int) -> Void
  ) throws(TamisError) {
    var machine = RegexMachine(program, base, from: from, to: to)
    var at = from
    var lastEnd = -1
    while at <= to, let (start, end) = try machine.search(from: at) {
      if start == end, end == lastEnd {
        // Not twice at one place.
        if at == to { break }
        at &+= UTF8Text.length(lead: base[at])
        continue
      }
      each(start, end)
      at = end
      lastEnd = end
    }
  }

  @inline(__always)
  private static func search(
    _ literal: [UInt8], _ base: UnsafePointer<UInt8>, _ from: Int, _ to: Int, _ each: (Int, Int) -> Void
  ) {
    guard let first = literal.first else { return }
    literal.withUnsafeBufferPointer { literal in
      var at = from
      while at &+ literal.count <= to {
        if base[at] == first {
          var length = 1
          while length < literal.count, base[at &+ length] == literal[length] { length &+= 1 }
          if length == literal.count {
            each(at, at &+ length)
            at &+= length
            continue
          }
        }
        at &+= 1
      }
    }
  }

  private static let contractions = "'s|'t|'re|'ve|'m|'ll|'d"
  /// Behind the words of the published forms.
  private static let rest = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  private static let upper = #"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#
  private static let lower = #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#

  /// The patterns as OpenAI published them.
  static let gpt2 = contractions + #"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  static let cl100k = "(?i:\(contractions))" + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + rest
  static let o200k =
    #"[^\r\n\p{L}\p{N}]?"# + "\(upper)*\(lower)+(?i:\(contractions))?|"
    + #"[^\r\n\p{L}\p{N}]?"# + "\(upper)+\(lower)*(?i:\(contractions))?|"
    + #"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  static let known: [(text: String, scanner: WordScanner)] = [
    // GPT-2, as published and as tiktoken writes it.
    (gpt2, WordScanner(family: .gpt2)),
    (#"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"#, WordScanner(family: .gpt2)),
    // cl100k (Llama 3), the same with single digits (Qwen 2), and tiktoken's.
    (cl100k, WordScanner(family: .cl100k, digits: 3)),
    ("(?i:\(contractions))" + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + rest, WordScanner(family: .cl100k, digits: 1)),
    (
      #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"#,
      WordScanner(family: .cl100k, digits: 3, takesTrailingSpace: true)
    ),
    (o200k, WordScanner(family: .o200k, digits: 3)),
  ]
}
