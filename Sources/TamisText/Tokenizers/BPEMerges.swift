import TamisCore

extension MergeTable {
  /// The merges of a tokenizer.json or merges.txt, given one after another.
  struct Builder {
    let vocabulary: Vocabulary
    let prefixLength: Int
    let table: MergeTable
    private var rank: UInt32 = 0
    private var whole: [UInt8] = []
    private var symbols = [Int32](repeating: unasked, count: 0x10000)
    private static let unasked: Int32 = -2

    init(_ vocabulary: Vocabulary, prefixLength: Int, expecting merges: Int) {
      self.vocabulary = vocabulary
      self.prefixLength = prefixLength
      table = MergeTable(expecting: merges)
    }

    /// The next merge; its result is the two pieces joined, the right one without its continuation prefix.
    mutating func add(_ left: UnsafeBufferPointer<UInt8>, _ right: UnsafeBufferPointer<UInt8>) throws(TamisError) {
      guard let leftId = vocabulary.id(left), let rightId = vocabulary.id(right), right.count >= prefixLength else {
        throw unknown(vocabulary.id(left) == nil ? left : right)
      }
      whole.removeAll(keepingCapacity: true)
      whole.append(contentsOf: left)
      whole.append(contentsOf: UnsafeBufferPointer(rebasing: right[prefixLength...]))
      let result = whole.withUnsafeBufferPointer { vocabulary.id($0) }
      guard let result else { throw whole.withUnsafeBufferPointer { unknown($0) } }
      table.insert(leftId, rightId, rank: rank, result: result)
      noteCrossing(left, right)
      rank += 1
    }

    /// A merge as "left right", the separator at `cut`.
    mutating func add(_ pair: [UInt8], _ cut: Int) throws(TamisError) {
      try pair.withUnsafeBufferPointer { (pair) throws(TamisError) in
        try add(UnsafeBufferPointer(rebasing: pair[..<cut]), UnsafeBufferPointer(rebasing: pair[(cut + 1)...]))
      }
    }

    private func unknown(_ piece: UnsafeBufferPointer<UInt8>) -> TamisError {
      TamisError(.format, "merges[\(rank)]: \"\(String(decoding: piece.prefix(80), as: UTF8.self))\" is not in the vocabulary")
    }

    private mutating func noteCrossing(_ left: UnsafeBufferPointer<UInt8>, _ right: UnsafeBufferPointer<UInt8>) {
      guard prefixLength == 0, let from = left.baseAddress, let to = right.baseAddress else { return }
      let last = UTF8Text.start(from, before: left.count)
      let a = symbol(from + last, left.count - last)
      let b = symbol(to, min(UTF8Text.length(lead: to[0]), right.count))
      if a >= 0, b >= 0 { table.noteCrossing(a, b) }
    }

    /// Id of a scalar, remembered for those of the basic plane.
    private mutating func symbol(_ bytes: UnsafePointer<UInt8>, _ n: Int) -> Int32 {
      guard n <= 3 else { return vocabulary.id(bytes, n) ?? -1 }
      let scalar = Int(UTF8Text.scalar(bytes, at: 0).value)
      if symbols[scalar] == Self.unasked { symbols[scalar] = vocabulary.id(bytes, n) ?? -1 }
      return symbols[scalar]
    }
  }

  /// The merges that a list of pieces with ranks implies: neighbours merge when their joined bytes are a piece, the lowest rank
  /// first (tiktoken, and SentencePiece with ranks by falling score). `rank` of an id nil: no merge makes it.
  /// Pieces are raw bytes in `raw`; ids are the same in both.
  static func implied(by raw: Vocabulary, byScalar: Bool, rank: (Int) -> UInt32?) -> MergeTable {
    let table = MergeTable(expecting: 4 * raw.count)
    for id in 0..<raw.size {
      guard let rank = rank(id) else { continue }
      _ = raw.withPiece(id) { piece in
        guard let base = piece.baseAddress, piece.count > 1 else { return }
        for cut in 1..<piece.count where !byScalar || base[cut] & 0xc0 != 0x80 {
          guard let left = raw.id(base, cut), let right = raw.id(base + cut, piece.count - cut) else { continue }
          table.insert(left, right, rank: rank, result: Int32(id))
          var first = cut - 1
          while byScalar, first > 0, base[first] & 0xc0 == 0x80 { first -= 1 }
          let width = byScalar ? UTF8Text.length(lead: base[cut]) : 1
          guard let a = raw.id(base + first, cut - first), let b = raw.id(base + cut, width) else { continue }
          table.noteCrossing(a, b)
        }
      }
    }
    return table
  }
}
