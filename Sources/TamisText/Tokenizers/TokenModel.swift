import TamisCore

/// Turns pre-tokens into tokens.
protocol TokenModel: AnyObject, Sendable {
  var vocabulary: Vocabulary { get }
  var unknownId: Int32? { get }

  /// Appends the tokens of each slice of `text` (well-formed UTF-8, `count` bytes) and counts `tokens.word` up by one per
  /// slice.
  /// - Throws: `unsupported` when a word cannot be spelled and there is no unknown token.
  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError)
}

/// What models keep between calls: caches and work arrays. One call uses it at a time.
final class ModelScratch {
  let cache = PretokenCache()
  var merge = MergeScratch()
  var lattice = LatticeScratch()
}

/// Tokens as they are made, with byte ranges of the normalised text; grows and stays.
final class TokenBuffer {
  private(set) var ids: UnsafeMutablePointer<Int32>
  private(set) var starts: UnsafeMutablePointer<Int32>
  private(set) var ends: UnsafeMutablePointer<Int32>
  private(set) var words: UnsafeMutablePointer<Int32>
  private(set) var count = 0
  private var capacity = 1024
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
    if count == capacity { grow(count + 1) }
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

  /// Gives back the memory of an unusually long text.
  func shrink() {
    count = 0
    guard capacity > 1 << 20 else { return }
    for array in [ids, starts, ends, words] { array.deallocate() }
    capacity = 1024
    ids = .allocate(capacity: capacity)
    starts = .allocate(capacity: capacity)
    ends = .allocate(capacity: capacity)
    words = .allocate(capacity: capacity)
  }

  @inline(never)
  private func grow(_ least: Int) {
    let wider = max(2 * capacity, least)
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
