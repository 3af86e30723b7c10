public import TamisCore
public import TamisDevice

/// Texts as numbers of their words, the same number for the same word in all of them.
public final class WordIDs: @unchecked Sendable {
  public private(set) var ids: [Int32] = []
  /// [texts + 1]
  public private(set) var starts: [Int64] = [0]
  private let options: ScoringTokenizerOptions
  private var words = WordTable()
  private let bytes = ByteWords()
  private var text: [UInt32] = []
  private var spare: [UInt32] = []
  private var encoded: [UInt8] = []
  private var stemmer = PorterStemmer()
  /// Words that were stemmed before, and by their number the id of the stem.
  private var unstemmed = WordTable()
  private var stems: [Int32] = []

  public init(_ options: ScoringTokenizerOptions) { self.options = options }

  deinit {
    words.deallocate()
    unstemmed.deallocate()
  }

  /// Texts [starts[i], starts[i + 1]) of `bytes`, on the threads of a context.
  /// - Parameter twiceFrom: TER, above 0: texts from this one on are normalised twice.
  public convenience init(
    _ options: ScoringTokenizerOptions, _ bytes: UnsafeBufferPointer<UInt8>, _ starts: UnsafeBufferPointer<Int64>,
    twiceFrom: Int = 0, context: Context? = nil
  ) throws(TamisError) {
    self.init(options)
    let texts = starts.count - 1
    func add(_ range: Range<Int>, to words: WordIDs) {
      for i in range {
        words.add(
          UnsafeBufferPointer(rebasing: bytes[Int(starts[i])..<Int(starts[i + 1])]), twice: twiceFrom > 0 && i >= twiceFrom)
      }
    }
    let parts = min(context?.backend.threads ?? 1, bytes.count / Self.partBytes, texts)
    guard let context, parts > 1 else {
      // Untouched pages of what is too much cost nothing.
      ids.reserveCapacity(bytes.count / 2)
      self.starts.reserveCapacity(texts + 1)
      add(0..<texts, to: self)
      return
    }
    // Each part has numbers of its own by first appearance, so one part after another gives the numbers of a single one.
    var bounds = [0]
    for part in 1..<parts {
      bounds.append((bounds[part - 1]..<texts).first { Int(starts[$0]) >= bytes.count / parts * part } ?? texts)
    }
    bounds.append(texts)
    let found = (0..<parts).map { _ in WordIDs(options) }
    try context.withLock { () throws(TamisError) in
      context.backend.parallel(parts) { [bounds] part in
        if bounds[part] < bounds[part + 1] { add(bounds[part]..<bounds[part + 1], to: found[part]) }
      }
    }
    for part in found { append(part) }
  }

  /// Less text than this is not worth a thread.
  private static let partBytes = 1 << 16

  private func append(_ other: WordIDs) {
    let offset = Int64(ids.count)
    if other.words.count == 0 {
      ids.append(contentsOf: other.ids)
    } else {
      let numbers = (0..<other.words.count).map { words.id(other.words[$0].baseAddress!, other.words[$0].count) }
      ids.append(contentsOf: other.ids.lazy.map { numbers[Int($0)] })
    }
    starts.append(contentsOf: other.starts.dropFirst().lazy.map { $0 + offset })
  }

  public var count: Int { starts.count - 1 }
  /// Different words so far.
  public var vocabulary: Int { words.count }

  /// Adds a text. Bytes that are no UTF-8 count as U+FFFD.
  /// - Parameter twice: TER's normalisation once more, of the words with spaces between: sacreBLEU does so to references.
  public func add(_ bytes: UnsafeBufferPointer<UInt8>, twice: Bool = false) {
    if !addBytes(bytes) { addAny(bytes, twice: twice) }
    starts.append(Int64(ids.count))
  }

  /// A text whose bytes tell where its words end; false for others.
  private func addBytes(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    let isASCII = ByteWords.isASCII(bytes)
    let isLowered = options.lowercase || options.tokenizer == .rouge || options.tokenizer == .rougeStemmed
    func isPlain() -> Bool { isASCII || (!options.lowercase && ByteWords.isPlain(bytes)) }
    let isShort =
      switch options.tokenizer {
      case .none, .chrF: isPlain()
      case .ter: !options.normalised && !options.noPunctuation && isPlain()
      case .v13a: isPlain() && !ByteWords.needsCleaning(bytes)
      case .rouge, .rougeStemmed: isASCII || !ByteWords.hasHiddenLetters(bytes)
      case .characters: isASCII
      case .codePoints, .visibleCodePoints: isASCII || !options.lowercase
      case .international, .chinese, .squad: false
      }
    if !isShort { return false }
    if !isLowered {
      cut(bytes)
      return true
    }
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: bytes.count) { lower in
      guard let base = lower.baseAddress else { return }
      ByteWords.lowercase(bytes, into: base)
      cut(UnsafeBufferPointer(lower))
    }
    return true
  }

  @_optimize(speed)
  private func cut(_ text: UnsafeBufferPointer<UInt8>) {
    guard let base = text.baseAddress else { return }
    if options.tokenizer == .rougeStemmed {
      bytes.splitLetters(text) { start, end in
        ids.append(stemmed(UnsafeBufferPointer(start: base + start, count: end &- start)))
      }
      return
    }
    var words = words
    defer { self.words = words }
    // Never more than there are bytes; taken back below.
    let before = ids.count
    var used = before
    ids.append(contentsOf: repeatElement(0, count: text.count))
    ids.withUnsafeMutableBufferPointer { ids in
      let out = ids.baseAddress!
      @inline(__always) func word(_ start: Int, _ end: Int) {
        out[used] = words.id(base + start, end &- start)
        used = used &+ 1
      }
      switch options.tokenizer {
      case .codePoints:
        PythonText.scan(text) { c, _ in
          out[used] = Int32(truncatingIfNeeded: c)
          used = used &+ 1
        }
      case .visibleCodePoints:
        PythonText.scan(text) { c, _ in
          out[used] = Int32(truncatingIfNeeded: c)
          used = used &+ (PythonText.isSpace(c) ? 0 : 1)
        }
      case .characters:
        for i in 0..<text.count where !PythonText.isSpace(UInt32(text[i])) { word(i, i &+ 1) }
      case .v13a: bytes.split13a(text, word)
      case .chrF: bytes.splitPunctuation(text, word)
      case .rouge: bytes.splitLetters(text, word)
      default: bytes.split(text, word)
      }
    }
    ids.removeLast(before + text.count - used)
  }

  private func stemmed(_ word: UnsafeBufferPointer<UInt8>) -> Int32 {
    let number = Int(unstemmed.id(word.baseAddress!, word.count))
    if number == stems.count {
      let stem = word.count > 3 ? stemmer.stem(Array(word)) : Array(word)
      stems.append(stem.withUnsafeBufferPointer { words.id($0.baseAddress!, $0.count) })
    }
    return stems[number]
  }

  private func addAny(_ bytes: UnsafeBufferPointer<UInt8>, twice: Bool) {
    PythonText.decode(bytes, into: &text)
    if options.lowercase { PythonText.lowercase(&text) }
    switch options.tokenizer {
    case .codePoints: for c in text { ids.append(Int32(truncatingIfNeeded: c)) }
    case .visibleCodePoints: for c in text where !PythonText.isSpace(c) { ids.append(Int32(truncatingIfNeeded: c)) }
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
  }

  /// zh strips both ends and the others the right one; white space at the left changes nothing there.
  private func strip() {
    while let last = text.last, PythonText.isSpace(last) { text.removeLast() }
    if options.tokenizer == .chinese, let first = text.firstIndex(where: { !PythonText.isSpace($0) }) {
      text.removeFirst(first)
    }
  }

  private func addWord(_ range: Range<Int>) {
    encoded.removeAll(keepingCapacity: true)
    for i in range { PythonText.encode(text[i], into: &encoded) }
    ids.append(encoded.withUnsafeBufferPointer { words.id($0.baseAddress!, $0.count) })
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
      if options.tokenizer == .rougeStemmed {
        encoded.removeAll(keepingCapacity: true)
        for k in start..<i { encoded.append(UInt8(truncatingIfNeeded: text[k])) }
        ids.append(encoded.withUnsafeBufferPointer { stemmed($0) })
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
