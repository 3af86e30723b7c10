/// Numbers for words, in the order of their first appearance. A word is some bytes of UTF-8, compared whole. Memory
/// of its own, which the one owner gives back with `deallocate`: a struct, so that a loop may hold it in a variable.
struct WordTable {
  private struct Slot {
    /// The first and the last bytes, with which a word of up to 8 is told from others of its length.
    var key: UInt64
    var length: UInt32
    /// 0: free.
    var numberAndOne: UInt32
  }

  private var slots: UnsafeMutablePointer<Slot>
  private var bits = 10
  /// By number, [count + 1]: where each word begins in `bytes`.
  private var starts: UnsafeMutablePointer<Int>
  private var room = 512
  private(set) var count = 0
  private var bytes: UnsafeMutablePointer<UInt8>
  private var bytesRoom = 4096

  init() {
    slots = .allocate(capacity: 1 << 10)
    slots.initialize(repeating: Slot(key: 0, length: 0, numberAndOne: 0), count: 1 << 10)
    starts = .allocate(capacity: 512)
    starts[0] = 0
    bytes = .allocate(capacity: 4096)
  }

  func deallocate() {
    slots.deallocate()
    starts.deallocate()
    bytes.deallocate()
  }

  subscript(number: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: bytes + starts[number], count: starts[number + 1] - starts[number])
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
      if entry.numberAndOne == 0 { return add(p, n, key, slot) }
      let number = Int(entry.numberAndOne) &- 1
      if entry.key == key && Int(entry.length) == n && (n < 8 || Self.areEqual(bytes + starts[number], p, n)) {
        return Int32(truncatingIfNeeded: number)
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
  private mutating func add(_ p: UnsafePointer<UInt8>, _ n: Int, _ key: UInt64, _ slot: Int) -> Int32 {
    let used = starts[count]
    if count + 1 == room { Self.grow(&starts, count + 1, &room, room * 2) }
    if used + n > bytesRoom { Self.grow(&bytes, used, &bytesRoom, max(bytesRoom * 2, used + n)) }
    (bytes + used).update(from: p, count: n)
    count += 1
    starts[count] = used + n
    slots[slot] = Slot(key: key, length: UInt32(truncatingIfNeeded: n), numberAndOne: UInt32(truncatingIfNeeded: count))
    if 3 * count > 2 << bits { rehash() }
    return Int32(truncatingIfNeeded: count - 1)
  }

  private static func grow<T: BitwiseCopyable>(
    _ base: inout UnsafeMutablePointer<T>, _ used: Int, _ room: inout Int, _ wanted: Int
  ) {
    let larger = UnsafeMutablePointer<T>.allocate(capacity: wanted)
    larger.update(from: base, count: used)
    base.deallocate()
    base = larger
    room = wanted
  }

  private mutating func rehash() {
    let old = UnsafeMutableBufferPointer(start: slots, count: 1 << bits)
    bits += 1
    slots = .allocate(capacity: 1 << bits)
    slots.initialize(repeating: Slot(key: 0, length: 0, numberAndOne: 0), count: 1 << bits)
    let mask = 1 << bits - 1
    for entry in old where entry.numberAndOne != 0 {
      let number = Int(entry.numberAndOne) - 1
      var slot = Int(truncatingIfNeeded: Self.hash(entry.key, bytes + starts[number], Int(entry.length))) & mask
      while slots[slot].numberAndOne != 0 { slot = (slot + 1) & mask }
      slots[slot] = entry
    }
    old.deallocate()
  }
}
