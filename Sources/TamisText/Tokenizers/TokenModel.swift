import TamisCore

/// Turns pre-tokens into tokens.
protocol TokenModel: AnyObject, Sendable {
  var vocabulary: Vocabulary { get }
  var unknownId: Int32? { get }

  /// Appends the tokens of each slice of `text` (well-formed UTF-8, `count` bytes) and counts `tokens.word` up by one a slice.
  /// - Throws: `unsupported` when a word cannot be spelled and there is no unknown token.
  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError)
}

extension TokenModel {
  /// `tokenize` of a model that sees words one by one: `spell` appends the tokens of text[start, end), unless the cache knows
  /// them.
  @inline(__always)
  func eachWord(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ cache: PretokenCache, _ spell: (_ start: Int, _ end: Int) throws(TamisError) -> Void
  ) throws(TamisError) {
    for slice in slices {
      let start = Int(slice.start)
      let end = Int(slice.end)
      guard end > start else { continue }
      if !cache.emit(text, start, end, readable: count, into: tokens) {
        let first = tokens.count
        try spell(start, end)
        cache.store(text, start, end, readable: count, from: first, in: tokens)
      }
      tokens.word &+= 1
    }
  }
}

/// What models keep between calls: caches and work arrays. One call uses it at a time.
final class ModelScratch {
  let cache = PretokenCache()
  private var merge = MergeScratch(capacity: 256)
  private var lattice = LatticeScratch(capacity: 256)

  /// Longest pre-token that there is room for.
  var capacity: Int { max(merge.capacity, lattice.capacity) }

  /// No symbols, and room for so many.
  func merge(room symbols: Int) -> MergeScratch {
    if symbols > merge.capacity { merge = MergeScratch(capacity: max(symbols, 2 * merge.capacity)) }
    merge.clear()
    return merge
  }

  /// So many positions that no path has reached.
  func lattice(room positions: Int) -> LatticeScratch {
    if positions > lattice.capacity { lattice = LatticeScratch(capacity: max(positions, 2 * lattice.capacity)) }
    lattice.clear(positions)
    return lattice
  }
}

/// Tokens as they are made, with byte ranges of the normalised text; grows and stays.
final class TokenBuffer {
  private(set) var ids: UnsafeMutablePointer<Int32>
  private(set) var starts: UnsafeMutablePointer<Int32>
  private(set) var ends: UnsafeMutablePointer<Int32>
  private(set) var words: UnsafeMutablePointer<Int32>
  private(set) var count = 0
  private(set) var capacity = 1024
  /// Number of the pre-token that comes.
  var word: Int32 = 0

  init() {
    ids = .allocate(capacity: capacity)
    starts = .allocate(capacity: capacity)
    ends = .allocate(capacity: capacity)
    words = .allocate(capacity: capacity)
  }

  deinit {
    ids.deallocate()
    starts.deallocate()
    ends.deallocate()
    words.deallocate()
  }

  func clear() {
    count = 0
    word = 0
  }

  @inline(__always)
  func append(_ id: Int32, _ start: Int, _ end: Int) {
    if count == capacity { grow() }
    ids[count] = id
    starts[count] = Int32(truncatingIfNeeded: start)
    ends[count] = Int32(truncatingIfNeeded: end)
    words[count] = word
    count &+= 1
  }

  func truncate(to length: Int) { count = min(count, length) }

  func setRange(_ i: Int, _ start: Int, _ end: Int) {
    starts[i] = Int32(truncatingIfNeeded: start)
    ends[i] = Int32(truncatingIfNeeded: end)
  }

  @inline(never)
  private func grow() {
    let wider = 2 * capacity
    ids = widened(ids, to: wider)
    starts = widened(starts, to: wider)
    ends = widened(ends, to: wider)
    words = widened(words, to: wider)
    capacity = wider
  }

  private func widened(_ array: UnsafeMutablePointer<Int32>, to wider: Int) -> UnsafeMutablePointer<Int32> {
    let next = UnsafeMutablePointer<Int32>.allocate(capacity: wider)
    next.update(from: array, count: count)
    array.deallocate()
    return next
  }

  /// Numbers the tokens from `first` on by the U+2581 they begin with.
  func countWords(_ text: AlignedText, from first: Int) {
    guard first < count else { return }
    word = words[first]
    for i in first..<count {
      let start = Int(starts[i])
      let begins = start &+ 2 < text.bytes.count && text.bytes[start] == 0xe2 && text.bytes[start &+ 1] == 0x96
        && text.bytes[start &+ 2] == 0x81
      if begins, i > first { word &+= 1 }
      words[i] = word
    }
    word &+= 1
  }

  /// Turns the tokens from `first` on from bytes of the normalised text to bytes of the original.
  func mapToOriginal(_ text: AlignedText, from first: Int) {
    let n = text.bytes.count
    if text.isUnchanged {
      let origin = text.origin
      text.bytes.withUnsafeBufferPointer { bytes in
        for i in first..<count {
          var start = Int(starts[i])
          var end = Int(ends[i])
          // A byte of a scalar came from the whole of it.
          while start > 0, start < n, bytes[start] & 0xc0 == 0x80 { start &-= 1 }
          while end < n, bytes[end] & 0xc0 == 0x80 { end &+= 1 }
          starts[i] = origin &+ Int32(truncatingIfNeeded: start)
          ends[i] = origin &+ Int32(truncatingIfNeeded: end)
        }
      }
      return
    }
    text.starts.withUnsafeBufferPointer { from in
      text.ends.withUnsafeBufferPointer { to in
        for i in first..<count where ends[i] > starts[i] {
          starts[i] = from[Int(starts[i])]
          ends[i] = to[Int(ends[i]) &- 1]
        }
      }
    }
  }
}
