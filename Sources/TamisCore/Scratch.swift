/// Memory that lives between calls so that a steady step allocates nothing: grows to the largest request and stays.
/// Not thread-safe: one per worker, or used before a parallel region opens.
public final class Scratch: @unchecked Sendable {
  public private(set) var base: UnsafeMutableRawPointer
  public private(set) var capacity: Int
  private var used = 0

  public init(capacity: Int = 4096) {
    self.capacity = capacity
    base = .allocate(byteCount: capacity, alignment: 64)
  }

  deinit { base.deallocate() }

  /// Makes room for `bytes` and forgets what was handed out. Addresses handed out before become invalid.
  public func reset(reserving bytes: Int) {
    used = 0
    if bytes > capacity {
      base.deallocate()
      capacity = (bytes + 4095) & ~4095
      base = .allocate(byteCount: capacity, alignment: 64)
    }
  }

  /// The next `count` elements, 64-byte aligned, not initialised. Only within what `reset` reserved
  /// (`Scratch.bytes` of each request).
  @inlinable public func take<T>(_ type: T.Type, _ count: Int) -> UnsafeMutablePointer<T> {
    UnsafeMutableRawPointer(takeRaw(Scratch.bytes(type, count))).assumingMemoryBound(to: type)
  }

  /// What `take` uses up.
  @inlinable public static func bytes<T>(_ type: T.Type, _ count: Int) -> Int {
    (count &* MemoryLayout<T>.stride &+ 63) & ~63
  }

  public func takeRaw(_ bytes: Int) -> UnsafeMutableRawPointer {
    precondition(used + bytes <= capacity, "scratch overrun")
    let address = base + used
    used += bytes
    return address
  }
}
