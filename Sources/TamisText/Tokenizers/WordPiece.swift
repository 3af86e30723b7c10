import TamisCore

/// WordPiece (Schuster and Nakajima, 2012): the longest piece that starts a word, then the longest continuation, and so on; a
/// word that cannot be spelled so is one unknown token.
///
/// Candidates are found by polynomial hashes of prefixes: the hash of any part of a word is one multiplication, so trying all
/// lengths costs a probe each, and bytes are compared only where a hash agrees.
final class WordPiece: TokenModel, @unchecked Sendable {
  struct Options {
    var unknown: [UInt8] = Array("[UNK]".utf8)
    var prefix: [UInt8] = Array("##".utf8)
    var maxScalarsPerWord = 100
  }

  let vocabulary: Vocabulary
  let options: Options
  let unknownId: Int32?
  private let first: PieceTable
  private let continuing: PieceTable

  init(_ vocabulary: Vocabulary, _ options: Options) {
    self.vocabulary = vocabulary
    self.options = options
    unknownId = vocabulary.id(options.unknown)
    first = PieceTable(vocabulary, after: [])
    continuing = options.prefix.isEmpty ? first : PieceTable(vocabulary, after: options.prefix)
  }

  @_optimize(speed)
  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError) {
    try eachWord(text, count: count, slices, into: tokens, scratch.cache) { (start, end) throws(TamisError) in
      let before = tokens.count
      if spell(text, start, end, into: tokens) { return }
      guard let unknownId else {
        throw TamisError(.unsupported, "text: a word cannot be spelled, and the vocabulary has no unknown token")
      }
      tokens.truncate(to: before)
      tokens.append(unknownId, start, end)
    }
  }

  @inline(never)
  @_optimize(speed)
  private func spell(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, into tokens: TokenBuffer) -> Bool {
    let n = end - start
    guard n <= 4 * options.maxScalarsPerWord else { return false }
    let bytes = text + start
    var scalars = 0
    for i in 0..<n where bytes[i] & 0xc0 != 0x80 { scalars &+= 1 }
    guard scalars <= options.maxScalarsPerWord else { return false }
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: n + 1) { prefix in
      prefix[0] = 0
      for i in 0..<n { prefix[i &+ 1] = prefix[i] &* PieceTable.base &+ UInt64(bytes[i]) &+ 1 }
      var from = 0
      while from < n {
        let table = from == 0 ? first : continuing
        var to = min(n, from &+ table.longest)
        var found: Int32 = -1
        while to > from {
          if to == n || bytes[to] & 0xc0 != 0x80 {
            let hash = prefix[to] &- prefix[from] &* table.power(to &- from)
            found = table.find(hash, bytes + from, to &- from)
            if found >= 0 { break }
          }
          to &-= 1
        }
        guard found >= 0 else { return false }
        tokens.append(found, start &+ from, start &+ to)
        from = to
      }
      return true
    }
  }
}

/// Pieces by the polynomial hash of what follows a prefix.
private final class PieceTable: @unchecked Sendable {
  static let base: UInt64 = 0x9e37_79b9_7f4a_7c15 | 1
  let longest: Int
  private let vocabulary: Vocabulary
  private let skipped: Int
  private let hashes: UnsafeMutablePointer<UInt64>
  private let ids: UnsafeMutablePointer<Int32>
  private let powers: UnsafeMutablePointer<UInt64>
  private let mask: Int

  init(_ vocabulary: Vocabulary, after prefix: [UInt8]) {
    self.vocabulary = vocabulary
    skipped = prefix.count
    var entries: [(hash: UInt64, id: Int32)] = []
    var longest = 0
    for id in 0..<vocabulary.size {
      _ = vocabulary.withPiece(id) { piece in
        guard piece.count > prefix.count, piece.starts(with: prefix), vocabulary.id(piece) == Int32(id) else { return }
        var hash: UInt64 = 0
        for byte in piece[prefix.count...] { hash = hash &* Self.base &+ UInt64(byte) &+ 1 }
        entries.append((hash, Int32(id)))
        longest = max(longest, piece.count - prefix.count)
      }
    }
    self.longest = longest
    var capacity = 16
    while capacity < 2 * entries.count { capacity *= 2 }
    mask = capacity - 1
    hashes = .allocate(capacity: capacity)
    ids = .allocate(capacity: capacity)
    hashes.initialize(repeating: 0, count: capacity)
    ids.initialize(repeating: -1, count: capacity)
    powers = .allocate(capacity: longest + 1)
    powers[0] = 1
    for i in 0..<longest { powers[i + 1] = powers[i] &* Self.base }
    for (hash, id) in entries {
      var slot = Int(truncatingIfNeeded: hash &>> 20) & mask
      while ids[slot] >= 0 { slot = (slot + 1) & mask }
      hashes[slot] = hash
      ids[slot] = id
    }
  }

  deinit {
    hashes.deallocate()
    ids.deallocate()
    powers.deallocate()
  }

  @inline(__always)
  func power(_ i: Int) -> UInt64 { powers[i] }

  @inline(__always)
  func find(_ hash: UInt64, _ bytes: UnsafePointer<UInt8>, _ n: Int) -> Int32 {
    var slot = Int(truncatingIfNeeded: hash &>> 20) & mask
    while ids[slot] >= 0 {
      if hashes[slot] == hash, matches(ids[slot], bytes, n) { return ids[slot] }
      slot = (slot &+ 1) & mask
    }
    return -1
  }

  private func matches(_ id: Int32, _ bytes: UnsafePointer<UInt8>, _ n: Int) -> Bool {
    vocabulary.withPiece(Int(id)) { piece in
      guard piece.count == n &+ skipped else { return false }
      for i in 0..<n where piece[skipped &+ i] != bytes[i] { return false }
      return true
    } ?? false
  }
}
