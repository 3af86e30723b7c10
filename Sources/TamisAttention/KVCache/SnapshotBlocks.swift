import CShims
import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Blocks of a snapshot on their way through zstd: a few at a time, one per worker thread and turn, so that memory stays
/// bounded whatever the size of the cache.
final class SnapshotBlocks {
  let layout: KVLayout
  /// Blocks that fit at a time.
  let capacity: Int
  private let pool: ThreadPool
  private let frameCapacity: Int
  private let memory: UnsafeMutableRawPointer
  private let results: UnsafeMutablePointer<Int>
  private var coders: [UnsafeMutableRawPointer] = []
  private let level: Int?

  /// - Parameter level: zstd level to write with; nil: to read.
  init(_ layout: KVLayout, blocks: Int, threads: Int, level: Int?) throws(TamisError) {
    self.layout = layout
    self.level = level
    pool = try ThreadPool(count: max(1, min(threads, blocks)))
    capacity = max(1, min(2 * pool.count, blocks))
    frameCapacity = level == nil ? 0 : ts_zstd_bound(layout.layerPageBytes)
    guard let memory = malloc(capacity * (layout.layerPageBytes + frameCapacity)) else {
      throw TamisError(.outOfMemory, "no memory for \(capacity) blocks of \(layout.layerPageBytes) bytes")
    }
    self.memory = memory
    results = .allocate(capacity: capacity)
    for _ in 0..<pool.count {
      guard let coder = level.map({ ts_zstd_compressor(Int32($0)) }) ?? ts_zstd_decompressor() else {
        throw TamisError(.outOfMemory, "no memory for a zstd context")
      }
      coders.append(coder)
    }
  }

  deinit {
    for coder in coders { level == nil ? ts_zstd_decompressor_free(coder) : ts_zstd_compressor_free(coder) }
    results.deallocate()
    free(memory)
  }

  /// Canonical bytes of block i of this turn.
  func content(_ i: Int) -> UnsafeMutableRawPointer { memory + i * layout.layerPageBytes }

  private func frameStart(_ i: Int) -> UnsafeMutableRawPointer {
    memory + capacity * layout.layerPageBytes + i * frameCapacity
  }

  /// The frame of block i, after `compress`.
  func frame(_ i: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: frameStart(i), count: results[i]) }

  func compress(_ count: Int) throws(TamisError) {
    pool.run(count) { i, worker in
      results[i] = ts_zstd_compress(coders[worker], frameStart(i), frameCapacity, content(i), layout.layerPageBytes)
    }
    for i in 0..<count where results[i] < 0 { throw TamisError(.outOfMemory, "zstd could not compress a block") }
  }

  /// The first block that is not what its checksums say; nil: all are well.
  func decompress(_ blocks: ArraySlice<SnapshotCatalogue.Block>, of file: UnsafeRawBufferPointer) -> Int? {
    let first = blocks.startIndex
    pool.run(blocks.count) { i, worker in
      let block = blocks[first + i]
      let frame = UnsafeRawBufferPointer(rebasing: file[block.offset..<block.offset + block.size])
      let isWell =
        block.size > 0 && XXH64.hash(frame) == block.checksum
        && ts_zstd_decompress(coders[worker], content(i), layout.layerPageBytes, frame.baseAddress!, frame.count) == 0
      results[i] = isWell ? 0 : -1
    }
    for i in 0..<blocks.count where results[i] < 0 { return first + i }
    return nil
  }

  /// Zeroes what lies beyond the first `tokens` tokens of block i, so that a file says nothing about memory nobody wrote and
  /// the same cache gives the same bytes.
  func clear(_ i: Int, beyond tokens: Int) {
    let rest = layout.pageTokens - tokens
    if rest == 0 { return }
    let row = layout.headDim * layout.dtype.size
    for part in 0..<2 {
      for h in 0..<layout.kvHeads {
        let place = (part * layout.kvHeads + h) * layout.pageTokens + tokens
        memset(content(i) + place * row, 0, rest * row)
        if layout.dtype == .i8 { memset(content(i) + 2 * layout.pageElements + place * 4, 0, rest * 4) }
      }
    }
  }
}
