
/// How a scorer cuts a text into what it counts.
public enum ScoringTokenizer: Int32, Sendable {
  /// At white space.
  case none = 0
  /// sacreBLEU's.
  case v13a, international, characters, chinese
  /// TER's: lower case apart, white space, and what its options say.
  case ter
  /// rouge-score's: runs of a to z and 0 to 9 of the lower-cased text; stemmed: Porter's stems of those longer than 3.
  case rouge, rougeStemmed
  /// SQuAD's: lower case, no ASCII punctuation, no articles.
  case squad
  /// chrF++'s words: punctuation at one end apart.
  case chrF
  /// Every code point, its own number.
  case codePoints
  /// The same without white space: chrF's characters.
  case visibleCodePoints
}

public struct ScoringTokenizerOptions: Sendable {
  public var tokenizer = ScoringTokenizer.none
  public var lowercase = false
  /// TER: normalisation of mteval, and no punctuation.
  public var normalised = false
  public var noPunctuation = false
  public init() {}
}

/// Texts as numbers of their words, the same number for the same word in all of them.
public final class WordIDs: @unchecked Sendable {
  public private(set) var ids: [Int32] = []
  /// [texts + 1]
  public private(set) var starts: [Int64] = [0]
  private let options: ScoringTokenizerOptions
  private var words = WordTable()
  private var text: [UInt32] = []
  private var spare: [UInt32] = []
  private var stemmer = PorterStemmer()

  public init(_ options: ScoringTokenizerOptions) { self.options = options }

  public var count: Int { starts.count - 1 }
  /// Different words so far.
  public var vocabulary: Int { words.count }

  /// Adds a text. Bytes that are no UTF-8 count as U+FFFD.
  /// - Parameter twice: TER's normalisation once more, of the words with spaces between: sacreBLEU does so to references.
  public func add(_ bytes: UnsafeBufferPointer<UInt8>, twice: Bool = false) {
    PythonText.decode(bytes, into: &text)
    if options.lowercase { PythonText.lowercase(&text) }
    switch options.tokenizer {
    case .codePoints: ids.append(contentsOf: text.lazy.map { Int32($0) })
    case .visibleCodePoints: ids.append(contentsOf: text.lazy.filter { !PythonText.isSpace($0) }.map { Int32($0) })
    case .characters:
      for i in text.indices where !PythonText.isSpace(text[i]) { addWord(i..<i + 1) }
    case .v13a:
      strip()
      MTEvalRules.clean(&text)
      MTEvalRules.substitute(&text, &spare)
      split()
    case .international:
      strip()
      MTEvalRules.international(&text, &spare)
      split()
    case .chinese:
      strip()
      MTEvalRules.pad(&text, &spare, where: MTEvalRules.isChinese)
      MTEvalRules.substitute(&text, &spare)
      split()
    case .ter:
      normaliseTER()
      if twice {
        joinWords()
        normaliseTER()
      }
      split()
    case .rouge, .rougeStemmed: addRouge()
    case .squad:
      PythonText.lowercase(&text)
      text.removeAll(where: PythonText.isASCIIPunctuation)
      removeArticles()
      split()
    case .chrF: split(apart: true)
    case .none: split()
    }
    starts.append(Int64(ids.count))
  }

  /// zh strips both ends and the others the right one; white space at the left changes nothing there.
  private func strip() {
    while let last = text.last, PythonText.isSpace(last) { text.removeLast() }
    if options.tokenizer == .chinese, let first = text.firstIndex(where: { !PythonText.isSpace($0) }) {
      text.removeFirst(first)
    }
  }

  private func addWord(_ range: Range<Int>) {
    ids.append(text.withUnsafeBufferPointer { words.id(UnsafeBufferPointer(rebasing: $0[range])) })
  }

  private func split(apart: Bool = false) {
    var i = 0
    while i < text.count {
      while i < text.count, PythonText.isSpace(text[i]) { i += 1 }
      let start = i
      while i < text.count, !PythonText.isSpace(text[i]) { i += 1 }
      if start == i { break }
      if apart && i - start > 1 && PythonText.isASCIIPunctuation(text[i - 1]) {
        addWord(start..<i - 1)
        addWord(i - 1..<i)
      } else if apart && i - start > 1 && PythonText.isASCIIPunctuation(text[start]) {
        addWord(start..<start + 1)
        addWord(start + 1..<i)
      } else {
        addWord(start..<i)
      }
    }
  }

  private func normaliseTER() {
    if options.normalised {
      MTEvalRules.remove("\n-", from: &text)
      for i in text.indices where text[i] == 0x0a { text[i] = 0x20 }
      MTEvalRules.decodeEntities(&text)
      text = [0x20] + text + [0x20]
      MTEvalRules.substitute(&text, &spare, possessive: true)
    }
    if options.noPunctuation { text.removeAll { Self.terMarks.contains($0) } }
  }

  /// . , ? : ; ! " ( )
  private static let terMarks: [UInt32] = [0x2e, 0x2c, 0x3f, 0x3a, 0x3b, 0x21, 0x22, 0x28, 0x29]

  /// One space between words, none at the ends.
  private func joinWords() {
    spare.removeAll(keepingCapacity: true)
    for c in text {
      if !PythonText.isSpace(c) {
        spare.append(c)
      } else if let last = spare.last, last != 0x20 {
        spare.append(0x20)
      }
    }
    if spare.last == 0x20 { spare.removeLast() }
    swap(&text, &spare)
  }

  private func addRouge() {
    PythonText.lowercase(&text)
    func isKept(_ c: UInt32) -> Bool { (c >= 0x61 && c <= 0x7a) || (c >= 0x30 && c <= 0x39) }
    var i = 0
    while i < text.count {
      while i < text.count, !isKept(text[i]) { i += 1 }
      let start = i
      while i < text.count, isKept(text[i]) { i += 1 }
      if start == i { break }
      if options.tokenizer == .rougeStemmed && i - start > 3 {
        let stem = stemmer.stem(text[start..<i].map { UInt8(truncatingIfNeeded: $0) }).map { UInt32($0) }
        ids.append(stem.withUnsafeBufferPointer { words.id($0) })
      } else {
        addWord(start..<i)
      }
    }
  }

  /// A space for every a, an and the that is a whole word.
  private func removeArticles() {
    spare.removeAll(keepingCapacity: true)
    var i = 0
    while i < text.count {
      let isStart = PythonText.isWord(text[i]) && (i == 0 || !PythonText.isWord(text[i - 1]))
      if isStart {
        var end = i
        while end < text.count, PythonText.isWord(text[end]) { end += 1 }
        let word = text[i..<end]
        if word.elementsEqual([0x61]) || word.elementsEqual([0x61, 0x6e]) || word.elementsEqual([0x74, 0x68, 0x65]) {
          spare.append(0x20)
        } else {
          spare.append(contentsOf: word)
        }
        i = end
      } else {
        spare.append(text[i])
        i += 1
      }
    }
    swap(&text, &spare)
  }
}
