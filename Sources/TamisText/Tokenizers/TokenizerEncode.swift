public import TamisCore

extension Tokenizer {
  /// Tokens of one text.
  /// - Throws: `invalidArgument` (over 2^31 - 1 bytes, `maxTokens` below the template's tokens); `unsupported` when a word
  ///   cannot be spelled and there is no unknown token.
  public func encode(_ text: UnsafeBufferPointer<UInt8>, _ options: EncodeOptions = .init()) throws(TamisError) -> Encoding {
    let room = try room(parts.postProcessor.single, options)
    let scratch = pool.take()
    defer { pool.give(scratch) }
    try run(text, options, scratch)
    if let room { scratch.tokens.truncate(to: room) }
    if options.countsCharacters { scratch.tokens.countCharacters(of: text) }
    return assemble(parts.postProcessor.single, options, [scratch.tokens])
  }

  /// Tokens of a pair of texts, by the template's pair form.
  /// - Throws: as `encode`; `unsupported` when the template has no pair form.
  public func encode(
    _ text: UnsafeBufferPointer<UInt8>, pair: UnsafeBufferPointer<UInt8>, _ options: EncodeOptions = .init()
  ) throws(TamisError) -> Encoding {
    guard let template = parts.postProcessor.pair else {
      throw TamisError(.unsupported, "pair: the template of this tokenizer has no form for two texts")
    }
    let room = try room(template, options)
    let first = pool.take()
    let second = pool.take()
    defer {
      pool.give(first)
      pool.give(second)
    }
    try run(text, options, first)
    try run(pair, options, second)
    if let room, first.tokens.count + second.tokens.count > room {
      let (a, b) = Self.longestFirst(first.tokens.count, second.tokens.count, room)
      first.tokens.truncate(to: a)
      second.tokens.truncate(to: b)
    }
    if options.countsCharacters {
      first.tokens.countCharacters(of: text)
      second.tokens.countCharacters(of: pair)
    }
    return assemble(template, options, [first.tokens, second.tokens])
  }

  /// The number of tokens that `encode` would give.
  public func count(_ text: UnsafeBufferPointer<UInt8>, _ options: EncodeOptions) throws(TamisError) -> Int {
    let room = try room(parts.postProcessor.single, options)
    let scratch = pool.take()
    defer { pool.give(scratch) }
    try run(text, options, scratch)
    let added = options.addSpecialTokens ? PostProcessor.added(parts.postProcessor.single) : 0
    return min(scratch.tokens.count, room ?? .max) + added
  }

  /// Tokens of the text alone.
  public func count(_ text: UnsafeBufferPointer<UInt8>, parseSpecialTokens: Bool) throws(TamisError) -> Int {
    try count(text, EncodeOptions(addSpecialTokens: false, parseSpecialTokens: parseSpecialTokens))
  }

  /// Tokens that the texts may have beside the template's.
  private func room(_ template: [PostProcessor.Part], _ options: EncodeOptions) throws(TamisError) -> Int? {
    guard let most = options.maxTokens else { return nil }
    let added = options.addSpecialTokens ? PostProcessor.added(template) : 0
    try require(most >= added, "max_tokens is \(most); expected at least \(added), the tokens of the template")
    return most - added
  }

  /// The longer of two is cut first, then both: `longest_first` of the `tokenizers` package.
  static func longestFirst(_ first: Int, _ second: Int, _ room: Int) -> (Int, Int) {
    let short = min(first, second)
    var cutShort = short
    var cutLong = short > room ? short : max(short, room - short)
    if cutShort + cutLong > room {
      cutShort = room / 2
      cutLong = cutShort + room % 2
    }
    return first > second ? (cutLong, cutShort) : (cutShort, cutLong)
  }

  // MARK: the stages

  /// Added tokens, normaliser, added tokens again, pre-tokenizer, model; byte offsets of the given text in the end.
  private func run(
    _ given: UnsafeBufferPointer<UInt8>, _ options: EncodeOptions, _ scratch: TokenizerScratch
  ) throws(TamisError) {
    let tokens = scratch.tokens
    tokens.clear()
    try require(given.count <= Int(Int32.max), "text has \(given.count) bytes; expected at most \(Int32.max)")
    guard let base = given.baseAddress, given.count > 0 else { return }
    let skipSpecial = !options.parseSpecialTokens
    if UTF8Input.validPrefix(base, given.count) == given.count {
      try split(given, skipSpecial) { (match) throws(TamisError) in
        if let token = match.token {
          emit(token, match.start, match.end, scratch)
        } else {
          let text = AlignedText(
            bytes: Array(UnsafeBufferPointer(rebasing: given[match.start..<match.end])), origin: Int32(match.start))
          try encodePiece(text, skipSpecial, scratch)
        }
      }
    } else {
      let whole = AlignedText(repairing: given)
      var failure: TamisError?
      whole.bytes.withUnsafeBufferPointer { bytes in
        do throws(TamisError) {
          try split(bytes, skipSpecial) { (match) throws(TamisError) in
            if let token = match.token {
              emit(token, Int(whole.starts[match.start]), Int(whole.ends[match.end - 1]), scratch)
            } else {
              try encodePiece(whole.slice(match.start, match.end), skipSpecial, scratch)
            }
          }
        } catch { failure = error }
      }
      if let failure { throw failure }
    }
    trimming?.trim(tokens, in: given)
  }

  private func split(
    _ text: UnsafeBufferPointer<UInt8>, _ skipSpecial: Bool, _ each: (AddedTokens.Match) throws(TamisError) -> Void
  ) throws(TamisError) {
    guard let raw = addedTokens.raw else {
      try each(AddedTokens.Match(token: nil, start: 0, end: text.count))
      return
    }
    try raw.split(text, skipSpecial: skipSpecial, each)
  }

  private func emit(_ token: Int32, _ start: Int, _ end: Int, _ scratch: TokenizerScratch) {
    scratch.tokens.append(token, start, end)
    scratch.tokens.word &+= 1
  }

  /// A piece between added tokens.
  private func encodePiece(_ piece: AlignedText, _ skipSpecial: Bool, _ scratch: TokenizerScratch) throws(TamisError) {
    var text = piece
    try parts.normalizer?.apply(&text)
    guard let matcher = addedTokens.normalized else {
      try model(&text, scratch)
      return
    }
    var failure: TamisError?
    let normalized = text
    normalized.bytes.withUnsafeBufferPointer { bytes in
      do throws(TamisError) {
        try matcher.split(bytes, skipSpecial: skipSpecial) { (match) throws(TamisError) in
          if let token = match.token {
            let first = scratch.tokens.count
            emit(token, match.start, match.end, scratch)
            scratch.tokens.mapToOriginal(normalized, from: first)
          } else if match.start == 0, match.end == bytes.count {
            try model(&text, scratch)
          } else {
            var part = normalized.slice(match.start, match.end)
            try model(&part, scratch)
          }
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
  }

  private func model(_ text: inout AlignedText, _ scratch: TokenizerScratch) throws(TamisError) {
    guard !text.bytes.isEmpty else { return }
    try AlignedText.require(room: text.bytes.count)
    scratch.slices.removeAll(keepingCapacity: true)
    scratch.slices.append(TextSlice(start: 0, end: Int32(truncatingIfNeeded: text.bytes.count)))
    try parts.preTokenizer?.split(&text, &scratch.slices)
    try AlignedText.require(room: text.bytes.count)
    let tokens = scratch.tokens
    let first = tokens.count
    let model = parts.model
    let work = scratch.model
    var failure: TamisError?
    text.bytes.withUnsafeBufferPointer { bytes in
      scratch.slices.withUnsafeBufferPointer { slices in
        guard let base = bytes.baseAddress else { return }
        do throws(TamisError) {
          try model.tokenize(base, count: bytes.count, slices, into: tokens, work)
        } catch { failure = error }
      }
    }
    if let failure { throw failure }
    if parts.countsWordsByMetaspace { tokens.countWords(text, from: first) }
    tokens.mapToOriginal(text, from: first)
  }

  private func assemble(_ template: [PostProcessor.Part], _ options: EncodeOptions, _ texts: [TokenBuffer]) -> Encoding {
    let count = texts.reduce(0) { $0 + $1.count } + (options.addSpecialTokens ? PostProcessor.added(template) : 0)
    var encoding = Encoding()
    encoding.ids.reserveCapacity(count)
    encoding.starts.reserveCapacity(count)
    encoding.ends.reserveCapacity(count)
    encoding.words.reserveCapacity(count)
    encoding.types.reserveCapacity(count)
    for part in template {
      switch part {
      case .text(let which, let type):
        let tokens = texts[which]
        let n = tokens.count
        encoding.ids.append(contentsOf: UnsafeBufferPointer(start: tokens.ids, count: n))
        encoding.starts.append(contentsOf: UnsafeBufferPointer(start: tokens.starts, count: n))
        encoding.ends.append(contentsOf: UnsafeBufferPointer(start: tokens.ends, count: n))
        encoding.words.append(contentsOf: UnsafeBufferPointer(start: tokens.words, count: n))
        encoding.types.append(contentsOf: repeatElement(type, count: n))
      case .special(let ids, let type):
        guard options.addSpecialTokens else { continue }
        encoding.ids.append(contentsOf: ids)
        encoding.starts.append(contentsOf: repeatElement(0, count: ids.count))
        encoding.ends.append(contentsOf: repeatElement(0, count: ids.count))
        encoding.words.append(contentsOf: repeatElement(-1, count: ids.count))
        encoding.types.append(contentsOf: repeatElement(type, count: ids.count))
      }
    }
    return encoding
  }
}

extension AlignedText {
  /// Bytes that may not be UTF-8: U+FFFD for each maximal ill-formed part, with the offsets of its bytes.
  init(repairing given: UnsafeBufferPointer<UInt8>) {
    self.init(bytes: [])
    guard let base = given.baseAddress else { return }
    bytes.reserveCapacity(given.count + 16)
    starts.reserveCapacity(given.count + 16)
    ends.reserveCapacity(given.count + 16)
    var at = 0
    while at < given.count {
      let (width, valid) = UTF8Input.sequence(base + at, given.count - at)
      let scalar = valid ? UnsafeBufferPointer(start: base + at, count: width) : nil
      let length = scalar?.count ?? UTF8Input.replacement.count
      if let scalar { bytes.append(contentsOf: scalar) } else { bytes.append(contentsOf: UTF8Input.replacement) }
      starts.append(contentsOf: repeatElement(Int32(truncatingIfNeeded: at), count: length))
      ends.append(contentsOf: repeatElement(Int32(truncatingIfNeeded: at + width), count: length))
      at += width
    }
  }

  /// Bytes [from, to), both at scalar borders.
  func slice(_ from: Int, _ to: Int) -> AlignedText {
    var part = AlignedText(bytes: Array(bytes[from..<to]), origin: origin + Int32(truncatingIfNeeded: from))
    if !isUnchanged {
      part.starts = Array(starts[from..<to])
      part.ends = Array(ends[from..<to])
      part.origin = part.starts.first ?? origin
    }
    return part
  }
}
