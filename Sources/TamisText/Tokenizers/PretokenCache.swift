/// Tokens of pre-tokens seen before, by their bytes. Two direct-mapped tables: most pre-tokens and their tokens fit one cache
/// line, the others up to 47 bytes fit two. Forgets by overwriting; a hit gives exactly what the model gave.
final class PretokenCache {
  private static let smallBits = 14
  private static let largeBits = 12
  static let longestKey = 47

  // small entry, 64 bytes: 15 bytes of key, its length; 8 ids; 8 ends; number of tokens
  private static let smallSize = 64
  private static let smallTokens = 8
  // large entry, 128 bytes: 47 bytes of key, its length; 13 ids; 13 ends; number of tokens
  private static let largeSize = 128
  private static let largeTokens = 13

  private let small: UnsafeMutableRawPointer
  private let large: UnsafeMutableRawPointer

  init() {
    small = .allocate(byteCount: Self.smallSize << Self.smallBits, alignment: 64)
    small.initializeMemory(as: UInt8.self, repeating: 0, count: Self.smallSize << Self.smallBits)
    large = .allocate(byteCount: Self.largeSize << Self.largeBits, alignment: 64)
    large.initializeMemory(as: UInt8.self, repeating: 0, count: Self.largeSize << Self.largeBits)
  }

  deinit {
    small.deallocate()
    large.deallocate()
  }

  /// A pre-token of 1 to 15 bytes with its length in the last byte: never all zeros, so an empty entry matches none.
  struct Key {
    var low: UInt64
    var high: UInt64

    /// `readable`: bytes that may be read from `bytes` on.
    @inline(__always)
    init(_ bytes: UnsafePointer<UInt8>, _ n: Int, readable: Int) {
      if readable >= 16 {
        let raw = UnsafeRawPointer(bytes)
        low = raw.loadUnaligned(as: UInt64.self)
        high = raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let bits = UInt64(truncatingIfNeeded: n) &* 8
        if n < 8 {
          low &= (1 &<< bits) &- 1
          high = 0
        } else {
          high &= (1 &<< (bits &- 64)) &- 1
        }
      } else {
        low = 0
        high = 0
        for i in 0..<n {
          let byte = UInt64(bytes[i])
          if i < 8 { low |= byte &<< UInt64(8 &* i) } else { high |= byte &<< UInt64(8 &* (i &- 8)) }
        }
      }
      high |= UInt64(truncatingIfNeeded: n) &<< 56
    }

    @inline(__always)
    var hash: UInt64 { Vocabulary.fold(low ^ high &* 0x9e37_79b9_7f4a_7c15) }
  }

  /// Appends the tokens of text[start, end) if they are known.
  @inline(__always)
  func emit(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, readable: Int, into tokens: TokenBuffer) -> Bool {
    let n = end &- start
    if n > 15 { return n <= Self.longestKey && emitLarge(text, start, n, into: tokens) }
    let key = Key(text + start, n, readable: readable &- start)
    let entry = small + (Int(truncatingIfNeeded: key.hash) & ((1 << Self.smallBits) - 1)) &* Self.smallSize
    let found = entry.assumingMemoryBound(to: UInt64.self)
    guard found[0] == key.low, found[1] == key.high else { return false }
    let ids = (entry + 16).assumingMemoryBound(to: Int32.self)
    let ends = (entry + 48).assumingMemoryBound(to: UInt8.self)
    let count = Int(ends[8])
    var from = start
    for i in 0..<count {
      let to = start &+ Int(ends[i])
      tokens.append(ids[i], from, to)
      from = to
    }
    return true
  }

  @inline(never)
  @_optimize(speed)
  private func emitLarge(_ text: UnsafePointer<UInt8>, _ start: Int, _ n: Int, into tokens: TokenBuffer) -> Bool {
    let entry = largeEntry(text + start, n)
    let key = entry.assumingMemoryBound(to: UInt8.self)
    guard key[47] == UInt8(n) else { return false }
    for i in 0..<n where key[i] != text[start &+ i] { return false }
    let ids = (entry + 48).assumingMemoryBound(to: Int32.self)
    let ends = (entry + 100).assumingMemoryBound(to: UInt8.self)
    var from = start
    for i in 0..<Int(ends[13]) {
      let to = start &+ Int(ends[i])
      tokens.append(ids[i], from, to)
      from = to
    }
    return true
  }

  private func largeEntry(_ bytes: UnsafePointer<UInt8>, _ n: Int) -> UnsafeMutableRawPointer {
    large + (Int(truncatingIfNeeded: Vocabulary.hash(bytes, n)) & ((1 << Self.largeBits) - 1)) &* Self.largeSize
  }

  /// Keeps the tokens from `first` on as those of text[start, end), if they cover it one after another and are few.
  @_optimize(speed)
  func store(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, readable: Int, from first: Int, in tokens: TokenBuffer) {
    let n = end &- start
    let count = tokens.count &- first
    let isSmall = n <= 15 && count <= Self.smallTokens
    guard n > 0, isSmall || (n > 15 && n <= Self.longestKey && count <= Self.largeTokens) else { return }
    var from = start
    for i in first..<tokens.count {
      guard Int(tokens.starts[i]) == from else { return }
      from = Int(tokens.ends[i])
    }
    guard from == end || count == 0 else { return }
    let entry: UnsafeMutableRawPointer
    let ids: UnsafeMutablePointer<Int32>
    let ends: UnsafeMutablePointer<UInt8>
    if isSmall {
      let key = Key(text + start, n, readable: readable &- start)
      entry = small + (Int(truncatingIfNeeded: key.hash) & ((1 << Self.smallBits) - 1)) &* Self.smallSize
      entry.assumingMemoryBound(to: UInt64.self)[0] = key.low
      entry.assumingMemoryBound(to: UInt64.self)[1] = key.high
      ids = (entry + 16).assumingMemoryBound(to: Int32.self)
      ends = (entry + 48).assumingMemoryBound(to: UInt8.self)
      ends[8] = UInt8(count)
    } else {
      entry = largeEntry(text + start, n)
      let key = entry.assumingMemoryBound(to: UInt8.self)
      for i in 0..<n { key[i] = text[start &+ i] }
      key[47] = UInt8(n)
      ids = (entry + 48).assumingMemoryBound(to: Int32.self)
      ends = (entry + 100).assumingMemoryBound(to: UInt8.self)
      ends[13] = UInt8(count)
    }
    for i in 0..<count {
      ids[i] = tokens.ids[first &+ i]
      ends[i] = UInt8(Int(tokens.ends[first &+ i]) &- start)
    }
  }
}
