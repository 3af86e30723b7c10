public import TamisCore

/// Votes of candidate tokens in host memory.
public final class CPUScores: TokenScores {
  public private(set) var candidates: Range<Int> = 0..<0
  private(set) var votes: UnsafeMutablePointer<Float> = .allocate(capacity: 1)
  private var capacity = 1

  public init() {}
  deinit { votes.deallocate() }

  /// Makes room for the votes of `candidates`; grows by halves so that a growing sequence seldom allocates.
  func reset(_ candidates: Range<Int>) {
    if candidates.count > capacity {
      votes.deallocate()
      capacity = candidates.count + candidates.count / 2
      votes = .allocate(capacity: capacity)
    }
    self.candidates = candidates
  }

  public func read(into host: UnsafeMutablePointer<Float>) throws(TamisError) {
    host.update(from: votes, count: candidates.count)
  }
}

/// Token indices in host memory.
public final class CPUSelection: TokenSelection {
  public private(set) var count = 0
  private(set) var tokens: UnsafeMutablePointer<Int32> = .allocate(capacity: 1)
  private var capacity = 1

  public init() {}
  deinit { tokens.deallocate() }

  /// Room for `count` tokens, not filled.
  func reset(_ count: Int) {
    if count > capacity {
      tokens.deallocate()
      capacity = count + count / 2
      tokens = .allocate(capacity: capacity)
    }
    self.count = count
  }

  public func read(into host: UnsafeMutablePointer<Int32>) throws(TamisError) { host.update(from: tokens, count: count) }

  public func assign(_ tokens: UnsafePointer<Int32>, count: Int) throws(TamisError) {
    reset(count)
    self.tokens.update(from: tokens, count: count)
  }
}
