public import TamisCore

public enum CharBenchTask: Int32, Sendable, CaseIterable {
  case countUnique = 0
  case countCharacter, findFirst, findLast
}

/// A question about the characters of a word (arXiv 2508.02591).
public struct CharBenchRow: Sendable, Equatable {
  public let task: CharBenchTask
  /// ASCII letters.
  public let word: [UInt8]
  /// The character asked for; 0 with `countUnique`.
  public let character: UInt8
  public let gold: Int
  public let uniqueCharacters: Int

  /// - Parameter place: of the word, its character is asked for.
  init(_ task: CharBenchTask, _ word: [UInt8], place: Int) {
    let character = word[place]
    self.task = task
    self.word = word
    self.character = task == .countUnique ? 0 : character
    uniqueCharacters = Set(word).count
    switch task {
    case .countUnique: gold = uniqueCharacters
    case .countCharacter: gold = word.reduce(0) { $0 + ($1 == character ? 1 : 0) }
    case .findFirst: gold = word.firstIndex(of: character) ?? place
    case .findLast: gold = word.lastIndex(of: character) ?? place
    }
  }

  /// Our wording; it ends where the answer begins.
  public var prompt: String {
    let word = String(decoding: self.word, as: UTF8.self)
    let letter = String(UnicodeScalar(character))
    let question =
      switch task {
      case .countUnique: "How many different characters does the word \"\(word)\" have?"
      case .countCharacter: "How many times does the character \"\(letter)\" occur in the word \"\(word)\"?"
      case .findFirst: "At which index, from 0 on, does the character \"\(letter)\" first occur in the word \"\(word)\"?"
      case .findLast: "At which index, from 0 on, does the character \"\(letter)\" last occur in the word \"\(word)\"?"
      }
    return question + " Upper and lower case differ. Reply with one integer.\nAnswer:"
  }
}

public struct CharBenchOptions: Sendable {
  public static let longestWord = 64
  public var lengths = 4...10
  /// Of each task and length.
  public var rows = 6250
  public var seed: UInt64 = 42
  public init() {}
}

/// Rows by length, then task.
public struct CharBench: Sendable {
  public let rows: [CharBenchRow]

  /// Words of texts, sorted (PROPOSED), shuffled, dealt to the tasks, no word to two.
  /// - Throws: `invalidArgument`: an option out of its range, too few words for any row.
  public init(_ words: CharBenchWords, _ options: CharBenchOptions = .init()) throws(TamisError) {
    try require(
      options.lengths.lowerBound >= 1 && options.lengths.upperBound <= CharBenchOptions.longestWord,
      "options->min_length is \(options.lengths.lowerBound) and max_length \(options.lengths.upperBound); expected 1 to "
        + "\(CharBenchOptions.longestWord)")
    try require(options.rows >= 1, "options->rows is \(options.rows); expected at least 1")
    var rows: [CharBenchRow] = []
    var random = MersenneTwister(seed: options.seed)
    for length in options.lengths {
      var words = words.sorted(ofLength: length)
      random.shuffle(&words)
      let each = min(options.rows, words.count / CharBenchTask.allCases.count)
      for (number, task) in CharBenchTask.allCases.enumerated() {
        for word in words[number * each..<(number + 1) * each] {
          rows.append(CharBenchRow(task, word, place: random.below(length)))
        }
      }
    }
    try require(
      !rows.isEmpty,
      "text has fewer than \(CharBenchTask.allCases.count) words of each length \(options.lengths.lowerBound) to "
        + "\(options.lengths.upperBound); expected as many of some length")
    self.rows = rows
  }
}

/// The different words of texts that `\b[a-zA-Z]+\b` of Python's re finds: ASCII letters with no word character of any script
/// beside them.
public struct CharBenchWords: Sendable {
  private var byLength: [Int: Set<[UInt8]>] = [:]
  private let lengths: ClosedRange<Int>

  public init(lengths: ClosedRange<Int>) { self.lengths = lengths }

  public mutating func add(_ text: UnsafeBufferPointer<UInt8>) {
    var i = 0
    var start: Int?
    // Whether the run of word characters that goes on is of ASCII letters alone.
    var isLetters = true
    while i <= text.count {
      let (c, width, _) = i < text.count ? PythonText.scalar(text, i) : (0x20, 1, true)
      if PythonText.isWord(c) {
        if start == nil { (start, isLetters) = (i, true) }
        isLetters = isLetters && ((c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a))
      } else if let first = start {
        if isLetters && lengths.contains(i - first) { byLength[i - first, default: []].insert(Array(text[first..<i])) }
        start = nil
      }
      i += width
    }
  }

  func sorted(ofLength length: Int) -> [[UInt8]] {
    (byLength[length] ?? []).sorted { $0.lexicographicallyPrecedes($1) }
  }
}

/// What a row is to a tokenizer.
public struct CharBenchFeatures: Sendable, Equatable {
  public let tokens: Int
  /// Length of the token that holds the gold place; 0 with the counting tasks.
  public let targetTokenLength: Int
  public let compressionRate: Double
  public let goldShare: Double

  /// - Parameter tokenLengths: characters of each token of the word; their sum is the word's length.
  public init(_ row: CharBenchRow, tokenLengths: some Collection<Int32>) throws(TamisError) {
    var (end, target) = (0, 0)
    for (i, length) in tokenLengths.enumerated() {
      try require(length >= 1, "token_lengths[\(i)] is \(length); expected at least 1")
      end += Int(length)
      if target == 0 && end > row.gold { target = Int(length) }
    }
    try require(
      end == row.word.count, "token_lengths add up to \(end); expected \(row.word.count), the length of the word")
    let finds = row.task == .findFirst || row.task == .findLast
    tokens = tokenLengths.count
    targetTokenLength = finds ? target : 0
    compressionRate = Double(row.word.count) / Double(tokens)
    goldShare = Double(row.gold) / Double(row.word.count)
  }
}
