import TamisCore

/// Byte-pair encoding (arXiv 1508.07909), over the bytes of a pre-token (byte-level vocabularies, GPT-2) or over its scalars.
final class BPE: TokenModel, @unchecked Sendable {
  struct Options {
    var unknown: [UInt8]?
    /// One unknown token for a run of unknown scalars.
    var fuseUnknown = false
    /// Spells an unknown scalar by its bytes, <0xNN>, where the vocabulary has them all.
    var byteFallback = false
    /// Takes a pre-token that is in the vocabulary as it is.
    var ignoreMerges = false
    /// Before every symbol but a pre-token's first ("##"), and after its last ("</w>").
    var prefix: [UInt8] = []
    var suffix: [UInt8] = []
    /// Pieces are written in the printable alphabet of GPT-2, and symbols are bytes.
    var byteLevel = false
  }

  let vocabulary: Vocabulary
  let options: Options
  let merges: MergeTable
  let unknownId: Int32?
  /// Id of each byte's symbol (byte-level), or of each <0xNN>; -1: none.
  private let byteIds: [Int32]
  private let hasAllBytes: Bool
  /// Id of each scalar of the basic plane that is a piece; -1: none.
  private let scalarIds: [Int32]
  private let decorates: Bool

  /// `merges` is filled already.
  init(_ vocabulary: Vocabulary, _ merges: MergeTable, _ options: Options) {
    self.vocabulary = vocabulary
    self.options = options
    self.merges = merges
    decorates = !options.prefix.isEmpty || !options.suffix.isEmpty
    unknownId = options.unknown.flatMap { vocabulary.id($0) }
    var scalars = [Int32](repeating: -1, count: options.byteLevel || decorates ? 0 : 0x10000)
    for id in 0..<vocabulary.size where !scalars.isEmpty {
      _ = vocabulary.withPiece(id) { piece in
        guard let base = piece.baseAddress, piece.count <= 3, piece.count == UTF8Text.length(lead: base[0]) else { return }
        scalars[Int(UTF8Text.scalar(base, at: 0).value)] = Int32(id)
      }
    }
    byteIds = options.byteLevel ? ByteAlphabet.ids(in: vocabulary) : ByteFallback.ids(in: vocabulary)
    scalarIds = scalars
    hasAllBytes = !byteIds.contains(-1)
  }

  @_optimize(speed)
  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError) {
    try eachWord(text, count: count, slices, into: tokens, scratch.cache) { (start, end) throws(TamisError) in
      spell(text, start, end, readable: count, into: tokens, scratch)
    }
  }

  @inline(never)
  @_optimize(speed)
  private func spell(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, readable: Int, into tokens: TokenBuffer, _ scratch: ModelScratch
  ) {
    if options.ignoreMerges, end - start <= vocabulary.longest, let id = whole(text, start, end) {
      tokens.append(id, start, end)
    } else if end - start > 32, !options.ignoreMerges, !decorates {
      // Text without pre-tokens (Gemma) is cut where no merge can reach across; the parts are words and cached as such.
      spellParts(text, start, end, readable: readable, into: tokens, scratch)
    } else {
      merge(text, start, end, into: tokens, scratch)
    }
  }

  /// The id of a pre-token that is a piece.
  private func whole(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Int32? {
    let n = end - start
    if !options.byteLevel { return vocabulary.id(text + start, n) }
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2 * n) { printed in
      var length = 0
      for i in start..<end {
        let scalar = ByteAlphabet.scalars[Int(text[i])]
        length &+= UTF8Text.write(scalar, to: printed.baseAddress! + length)
      }
      return vocabulary.id(printed.baseAddress!, length)
    }
  }

  @_optimize(speed)
  private func spellParts(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, readable: Int, into tokens: TokenBuffer, _ scratch: ModelScratch
  ) {
    var partStart = start
    var at = start
    var last: Int32 = -1
    while at < end {
      let width = options.byteLevel ? 1 : UTF8Text.length(lead: text[at])
      let id = symbol(text + at, width)
      if at > partStart, last >= 0, id >= 0, !merges.mayCross(last, id) {
        spellPart(text, partStart, at, readable: readable, into: tokens, scratch)
        partStart = at
      }
      last = id
      at &+= width
    }
    spellPart(text, partStart, end, readable: readable, into: tokens, scratch)
  }

  @inline(__always)
  private func spellPart(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, readable: Int, into tokens: TokenBuffer, _ scratch: ModelScratch
  ) {
    if scratch.cache.emit(text, start, end, readable: readable, into: tokens) { return }
    let first = tokens.count
    merge(text, start, end, into: tokens, scratch)
    scratch.cache.store(text, start, end, readable: readable, from: first, in: tokens)
  }

  /// Id of an undecorated symbol; -1: unknown.
  @inline(__always)
  private func symbol(_ bytes: UnsafePointer<UInt8>, _ width: Int) -> Int32 {
    if options.byteLevel { return byteIds.withUnsafeBufferPointer { $0[Int(bytes[0])] } }
    if width <= 3 { return scalarIds.withUnsafeBufferPointer { $0[Int(UTF8Text.scalar(bytes, at: 0).value)] } }
    return vocabulary.id(bytes, width) ?? -1
  }

  @_optimize(speed)
  private func merge(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, into tokens: TokenBuffer, _ scratch: ModelScratch
  ) {
    let work = scratch.merge(room: end - start)
    var unknownStart = -1  // a run of unknown scalars that is not yet added
    var unknownEnd = -1
    var at = start
    while at < end {
      let width = options.byteLevel ? 1 : UTF8Text.length(lead: text[at])
      let id = decorates
        ? decorated(text, at, width, isFirst: at == start, isLast: at + width >= end) : symbol(text + at, width)
      if id >= 0 {
        if unknownStart >= 0, let unknownId { work.add(unknownId, unknownStart, unknownEnd) }
        unknownStart = -1
        work.add(id, at, at &+ width)
      } else if options.byteFallback, !options.byteLevel, hasBytes(text + at, width) {
        for i in at..<at &+ width { work.add(byteIds[Int(text[i])], i, i &+ 1) }
      } else if let unknownId {
        if unknownStart >= 0, !options.fuseUnknown {
          work.add(unknownId, unknownStart, unknownEnd)
          unknownStart = -1
        }
        if unknownStart < 0 { unknownStart = at }
        unknownEnd = at &+ width
      }
      at &+= width
    }
    if unknownStart >= 0, let unknownId { work.add(unknownId, unknownStart, unknownEnd) }
    work.merge(merges)
    for i in 0..<work.count { tokens.append(work.ids[i], Int(work.starts[i]), Int(work.ends[i])) }
  }

  private func hasBytes(_ bytes: UnsafePointer<UInt8>, _ width: Int) -> Bool {
    if hasAllBytes { return true }
    for i in 0..<width where byteIds[Int(bytes[i])] < 0 { return false }
    return true
  }

  private func decorated(_ text: UnsafePointer<UInt8>, _ at: Int, _ width: Int, isFirst: Bool, isLast: Bool) -> Int32 {
    var key: [UInt8] = isFirst ? [] : options.prefix
    if options.byteLevel {
      ByteAlphabet.encode(CollectionOfOne(text[at]), into: &key)
    } else {
      key.append(contentsOf: UnsafeBufferPointer(start: text + at, count: width))
    }
    if isLast { key.append(contentsOf: options.suffix) }
    return vocabulary.id(key) ?? -1
  }
}
