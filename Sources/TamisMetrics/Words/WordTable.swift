/// Numbers for words, in the order of their first appearance. A word is some bytes of UTF-8, compared whole. Memory of its own, which
/// the one owner gives back with `deallocate`: a struct, so that a loop may hold it in a variable.
struct WordTable {
  private struct Word {
    /// The first and the last bytes, with which a word of up to 8 is told from others of its length.
    var key: UInt64
    var start: Int
    var length: Int
  }

  /// hash << 32 | number + 1; 0: free.
  private var slots: UnsafeMutablePointer<UInt64>
  private var bits = 10
  private var words: UnsafeMutablePointer<Word>
  private var room = 512
  private(set) var count = 0
  private var bytes: UnsafeMutablePointer<UInt8>
  private var bytesRoom = 4096
  private var used = 0

  init() {
    slots = .allocate(capacity: 1 << 10)
    slots.initialize(repeating: 0, count: 1 << 10)
    words = .allocate(capacity: 512)
    bytes = .allocate(capacity: 4096)
  }

  func deallocate() {
    slots.deallocate()
    words.deallocate()
    bytes.deallocate()
  }

  subscript(number: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: bytes + words[number].start, count: words[number].length)
  }

  @inline(__always)
  private static func load<T: FixedWidthInteger>(_ p: UnsafePointer<UInt8>, _ type: T.Type) -> UInt64 {
    UInt64(truncatingIfNeeded: UnsafeRawPointer(p).loadUnaligned(as: T.self))
  }

  @inline(__always)
  private static func key(_ p: UnsafePointer<UInt8>, _ n: Int) -> UInt64 {
    if n >= 8 { return load(p, UInt64.self) ^ (load(p + (n &- 8), UInt64.self) &* 3) }
    if n >= 4 { return load(p, UInt32.self) << 32 | load(p + (n &- 4), UInt32.self) }
    if n == 0 { return 0 }
    return UInt64(p[0]) << 16 | UInt64(p[n / 2]) << 8 | UInt64(p[n &- 1])
  }

  @inline(__always)
  private static func hash(_ key: UInt64, _ p: UnsafePointer<UInt8>, _ n: Int) -> UInt64 {
    var hash = (key ^ UInt64(truncatingIfNeeded: n)) &* 0x9e37_79b9_7f4a_7c15
    if n > 16 {
      var at = 8
      while at < n &- 8 {
        hash = (hash ^ (hash >> 32) ^ load(p + at, UInt64.self)) &* 0x9e37_79b9_7f4a_7c15
        at = at &+ 8
      }
    }
    return hash ^ hash >> 32
  }

  @inline(__always)
  mutating func id(_ p: UnsafePointer<UInt8>, _ n: Int) -> Int32 {
    let key = Self.key(p, n)
    let hash = Self.hash(key, p, n)
    let mask = 1 &<< bits &- 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while true {
      let entry = slots[slot]
      if entry == 0 { return add(p, n, key, hash, slot) }
      if entry >> 32 == hash >> 32 {
        let number = Int(truncatingIfNeeded: entry & 0xffff_ffff) &- 1
        let word = words[number]
        if word.key == key && word.length == n && (n < 8 || Self.areEqual(bytes + word.start, p, n)) {
          return Int32(truncatingIfNeeded: number)
        }
      }
      slot = (slot &+ 1) & mask
    }
  }

  @inline(__always)
  private static func areEqual(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ n: Int) -> Bool {
    var at = 0
    while at &+ 8 <= n {
      if load(a + at, UInt64.self) != load(b + at, UInt64.self) { return false }
      at = at &+ 8
    }
    while at < n {
      if a[at] != b[at] { return false }
      at = at &+ 1
    }
    return true
  }

  @inline(never)
  private mutating func add(_ p: UnsafePointer<UInt8>, _ n: Int, _ key: UInt64, _ hash: UInt64, _ slot: Int) -> Int32 {
    if count == room { Self.grow(&words, count, &room, room * 2) }
    if used + n > bytesRoom { Self.grow(&bytes, used, &bytesRoom, max(bytesRoom * 2, used + n)) }
    (bytes + used).update(from: p, count: n)
    words[count] = Word(key: key, start: used, length: n)
    used += n
    count += 1
    slots[slot] = (hash & 0xffff_ffff_0000_0000) | UInt64(count)
    if 2 * count > 1 << bits { rehash() }
    return Int32(truncatingIfNeeded: count - 1)
  }

  private static func grow<T: BitwiseCopyable>(_ base: inout UnsafeMutablePointer<T>, _ used: Int, _ room: inout Int, _ wanted: Int) {
    let larger = UnsafeMutablePointer<T>.allocate(capacity: wanted)
    larger.update(from: base, count: used)
    base.deallocate()
    base = larger
    room = wanted
  }

  private mutating func rehash() {
    slots.deallocate()
    bits += 2
    slots = .allocate(capacity: 1 << bits)
    slots.initialize(repeating: 0, count: 1 << bits)
    let mask = 1 << bits - 1
    for number in 0..<count {
      let word = words[number]
      let hash = Self.hash(word.key, bytes + word.start, word.length)
      var slot = Int(truncatingIfNeeded: hash) & mask
      while slots[slot] != 0 { slot = (slot + 1) & mask }
      slots[slot] = (hash & 0xffff_ffff_0000_0000) | UInt64(number + 1)
    }
  }
}
