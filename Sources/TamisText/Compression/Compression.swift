/// One word of a text and what became of it.
public struct CompressionWord: Sendable, Equatable {
  /// Native: bytes of the text. Compat: bytes of the context's `wordText`.
  public var start: Int64
  public var end: Int64
  /// NaN when the encoder did not run over it.
  public var probability: Float
  /// Counted tokens: the word's weight.
  public var tokens: Int32
  public var flags: Flags
  /// Tokens of the encoder.
  public var pieces: UInt32

  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let kept = Flags(rawValue: 1)
    public static let forced = Flags(rawValue: 2)
    /// A forced token stands here, so `dropConsecutive` may drop it.
    static let forceToken = Flags(rawValue: 1 << 16)
    /// A sentence or a line begins here: a good place for a chunk to begin.
    static let opensSentence = Flags(rawValue: 1 << 17)
    /// A chunk began here.
    static let opensChunk = Flags(rawValue: 1 << 18)
    /// Part of a speaker's label: kept by the rule of SpeakerLabels, not by its probability.
    static let label = Flags(rawValue: 1 << 19)
    /// A word of a transcript that has a letter or a digit and is no label.
    static let spoken = Flags(rawValue: 1 << 20)
    static let published: Flags = [.kept, .forced]
  }

  init(start: Int, end: Int, probability: Float = 0, tokens: Int32 = 0, flags: Flags = [], pieces: UInt32 = 0) {
    self.start = Int64(start)
    self.end = Int64(end)
    self.probability = probability
    self.tokens = tokens
    self.flags = flags
    self.pieces = pieces
  }

  public var isKept: Bool { flags.contains(.kept) }
  public var isForced: Bool { flags.contains(.forced) }
}

/// One text of a prompt, compressed.
public struct CompressedContext: Sendable {
  /// false: dropped whole by the context-level filter.
  public var kept = true
  public var text: [UInt8] = []
  /// Native: byte ranges of the original that were kept, ascending and apart.
  public var spans: [Range<Int>] = []
  public var words: [CompressionWord] = []
  /// Compat: the words' spellings one after another.
  public var wordText: [UInt8] = []
  public var originTokens = 0
  public var compressedTokens = 0
  /// Mean probability of the words; NaN when the encoder did not run.
  public var score = Double.nan
}

/// A compressed prompt.
public struct Compression: Sendable {
  public var contexts: [CompressedContext] = []
  /// Tokens the encoder ran over, special tokens included.
  public var encoderTokens = 0
  public var chunks = 0
  public var encoderSeconds = 0.0
  public var seconds = 0.0

  public var originTokens: Int { contexts.reduce(0) { $0 + $1.originTokens } }
  public var compressedTokens: Int { contexts.reduce(0) { $0 + ($1.kept ? $1.compressedTokens : 0) } }
  public var wordCount: Int { contexts.reduce(0) { $0 + $1.words.count } }
  public var keptWords: Int { contexts.reduce(0) { $0 + $1.words.reduce(0) { $0 + ($1.isKept ? 1 : 0) } } }

  /// The kept contexts with an empty line between them.
  public var text: [UInt8] {
    var joined: [UInt8] = []
    var first = true
    for context in contexts where context.kept {
      if !first { joined += [0x0a, 0x0a] }
      joined += context.text
      first = false
    }
    return joined
  }
}
