import TamisCore

/// What calls did; every call adds to it. `tamis_retrieval_stats`.
public struct RetrievalStats: Sendable, Equatable {
  public var queries: Int64 = 0
  /// Sum over query tokens of the legal keys in their list.
  public var tokensAttended: Int64 = 0
  /// Keys scored, once per chunk.
  public var tokensScored: Int64 = 0
  /// Bytes of keys and values read, scoring included, each row once per chunk.
  public var kvBytesRead: Int64 = 0
  /// Chunks that took the dense path.
  public var chunksDense: Int64 = 0
  /// Chunks that scored and selected.
  public var selections: Int64 = 0
  /// Decode steps that reused a cached selection.
  public var cacheHits: Int64 = 0

  public init() {}

  mutating func add(_ other: RetrievalStats) {
    queries += other.queries
    tokensAttended += other.tokensAttended
    tokensScored += other.tokensScored
    kvBytesRead += other.kvBytesRead
    chunksDense += other.chunksDense
    selections += other.selections
    cacheHits += other.cacheHits
  }

  /// c queries, the last ones of n tokens, over a list of `listed` that ends with them.
  mutating func attended(_ listed: Int, by c: Int, window: Int, of n: Int, _ options: KVCacheOptions) {
    if window > 0 {
      for position in n - c..<n { tokensAttended += Int64(min(window, position + 1)) }
    } else {
      tokensAttended += Int64(c * (listed - c) + c * (c + 1) / 2)
    }
    kvBytesRead += Int64(listed) * attentionRowBytes(options)
  }

  mutating func scored(_ count: Int, _ options: KVCacheOptions) {
    selections += 1
    tokensScored += Int64(count)
    kvBytesRead += Int64(count) * rowBytes(options.scoringCopy ?? options.dtype, options)
  }
}

/// Bytes of the key of one token over all heads, its scales included.
private func rowBytes(_ dtype: DType, _ options: KVCacheOptions) -> Int64 {
  Int64(options.kvHeads * (options.headDim * dtype.size + (dtype == .i8 ? 4 : 0)))
}

/// Bytes of key and value of one token, as attention reads them.
func attentionRowBytes(_ options: KVCacheOptions) -> Int64 { 2 * rowBytes(options.dtype, options) }
