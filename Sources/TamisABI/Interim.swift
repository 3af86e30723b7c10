// Deleted at merge: the classes of docs/interfaces.md that land from other branches.
import Tamis
private func missing() -> TamisError { TamisError(.unsupported, "not in this build") }
public typealias SequenceID = Int64
public struct KVCacheOptions { public var layers, kvHeads, headDim: Int; public var dtype: DType; public var pageTokens, maxTokens: Int; public var rope: RoPE; public var scoringCopy: DType? }
public struct KVMemory { public var sequences = 0, pagesTotal = 0, pagesUsed = 0, pagesShared = 0, pageBytes = 0, bytesUsed = 0, bytesScoringCopy = 0, tokens = 0 }
public final class KVCache {
  public let context: Context; public let options: KVCacheOptions
  public init(context: Context, options: KVCacheOptions) throws(TamisError) { self.context = context; self.options = options }
  public func makeSequence() throws(TamisError) -> SequenceID { throw missing() }
  public func fork(_ from: SequenceID, tokens: Int? = nil) throws(TamisError) -> SequenceID { throw missing() }
  public func destroy(_ s: SequenceID) throws(TamisError) { throw missing() }
  public func append(_ s: SequenceID, layer: Int, k: TensorView, v: TensorView) throws(TamisError) { throw missing() }
  public func length(of s: SequenceID, layer: Int) throws(TamisError) -> Int { throw missing() }
  public func truncate(_ s: SequenceID, to tokens: Int) throws(TamisError) { throw missing() }
  public func read(_ s: SequenceID, layer: Int, from start: Int, k: TensorView?, v: TensorView?) throws(TamisError) { throw missing() }
  public var memory: KVMemory { KVMemory() }
  public func save(_ sequences: [SequenceID]?, to path: String, level: Int, progress: Progress?) throws(TamisError) { throw missing() }
  public func restore(from path: String, capacity: Int?, progress: Progress?) throws(TamisError) -> [SequenceID] { throw missing() }
  public static func snapshotInfo(_ path: String) throws(TamisError) -> (options: KVCacheOptions, sequences: Int) { throw missing() }
}
public enum Method: Int32 { case dense = 0, streaming, tokenSelect }
public struct SelectorOptions { public var method: Method; public var qHeads, sinks, recent, topK, chunk: Int; public var similarity: Float; public var vote: VoteRule.Kind; public var headMap: VoteRule.HeadMap; public var pool: Int; public var positions: AttentionRule.Positions; public var scale, softcap: Float; public var window: Int; public var keyZeroBias: [Float]? }
public struct RetrievalStats { public var queries: Int64 = 0, tokensAttended: Int64 = 0, tokensScored: Int64 = 0, kvBytesRead: Int64 = 0, chunksDense: Int64 = 0, selections: Int64 = 0, cacheHits: Int64 = 0 }
public final class Selector {
  public let cache: KVCache
  public init(cache: KVCache, options: SelectorOptions) throws(TamisError) { self.cache = cache }
  public func attend(_ s: SequenceID, layer: Int, q: TensorView, out: TensorView, lse: TensorView?, stats: inout RetrievalStats) throws(TamisError) { throw missing() }
  public func retrieve(_ s: SequenceID, layer: Int, q: TensorView, indices: UnsafeMutableBufferPointer<Int32>?, votes: UnsafeMutableBufferPointer<Float>?) throws(TamisError) -> Int { throw missing() }
  public func attend(_ s: SequenceID, layer: Int, q: TensorView, tokens: UnsafeBufferPointer<Int32>, out: TensorView, lse: TensorView?, stats: inout RetrievalStats) throws(TamisError) { throw missing() }
  public func reset(_ s: SequenceID?) {}
}
public enum Dense {
  public static func attend(_ context: Context, q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?, progress: Progress?) throws(TamisError) { throw missing() }
  public static func merge(_ context: Context, parts: [TensorView], lse: [TensorView], out: TensorView, outLSE: TensorView) throws(TamisError) { throw missing() }
}
public enum TopK { public static func select(_ scores: UnsafePointer<Float>, count: Int, k: Int, into: UnsafeMutablePointer<Int32>) -> Int { 0 } }
public enum Convert { public static func copy(from: TensorView, to: TensorView) throws(TamisError) { throw missing() } }
extension RoPE { func apply(_ x: TensorView, positions: UnsafePointer<Int64>?, first: Int, out: TensorView) throws(TamisError) { throw missing() } }
public final class SafeTensors {
  public init(path: String) throws(TamisError) { throw missing() }
  public var names: [String] { [] }
  public func tensor(_ name: String) throws(TamisError) -> TensorView { throw missing() }
}
