public import TamisCore
public import TamisDevice

extension KVCache {
  /// Adds the sequences of a snapshot; their new names, in the order in which they were saved. All or nothing: a truncated,
  /// corrupt, foreign or mismatched file adds nothing. Pages that were shared are shared again.
  /// - Parameters:
  ///   - capacity: how many sequences the caller has room for; nil: any number.
  ///   - progress: called with the context's lock held.
  /// - Throws: `notFound` (no such file), `io`, `format`, `invalidArgument` (a cache of another shape), `cacheFull`,
  ///   `bufferTooSmall`, `outOfMemory`, `device`, `cancelled`.
  public func restore(
    from path: String, capacity: Int? = nil, progress: Progress? = nil
  ) throws(TamisError) -> [SequenceID] {
    let file = try MappedFile(path: path)
    let header = try SnapshotHeader(file.bytes, path)
    try check(header.options, path)
    let catalogue = try SnapshotCatalogue(file.bytes, header, path)
    if let capacity, capacity < header.sequences {
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); \(path) holds \(header.sequences) sequences")
    }
    return try context.withLock { () throws(TamisError) in
      guard header.pages <= pages.available else {
        throw TamisError(
          .cacheFull, "path: \(path) needs \(header.pages) pages; \(pages.available) of \(pages.total) are free")
      }
      let taken = (0..<header.pages).map { _ in pages.take() }
      do throws(TamisError) {
        try read(catalogue, of: file, path, into: taken, progress)
      } catch {
        for page in taken { release(page) }
        throw error
      }
      return adopt(catalogue.sequences, on: taken)
    }
  }

  /// The options a cache needs to restore a snapshot (maxTokens: what its pages take), and how many sequences it holds.
  /// - Throws: `notFound`, `io`, `format`.
  public static func snapshotInfo(_ path: String) throws(TamisError) -> (options: KVCacheOptions, sequences: Int) {
    let file = try MappedFile(path: path)
    let header = try withExtendedLifetime(file) { () throws(TamisError) in try SnapshotHeader(file.bytes, path) }
    return (header.options, header.sequences)
  }

  private func check(_ saved: KVCacheOptions, _ path: String) throws(TamisError) {
    func same(_ name: String, _ theirs: String, _ ours: String) throws(TamisError) {
      try require(theirs == ours, "path: \(path) has \(name) \(theirs); this cache has \(ours)")
    }
    try same("layers", "\(saved.layers)", "\(options.layers)")
    try same("kv_heads", "\(saved.kvHeads)", "\(options.kvHeads)")
    try same("head_dim", "\(saved.headDim)", "\(options.headDim)")
    try same("dtype", saved.dtype.name, options.dtype.name)
    try same("page_tokens", "\(saved.pageTokens)", "\(options.pageTokens)")
    try require(
      saved.rope == options.rope,
      "path: \(path) has another RoPE rule (\(saved.rope)) than this cache (\(options.rope))")
  }

  private func read(
    _ catalogue: SnapshotCatalogue, of file: MappedFile, _ path: String, into taken: [Int32], _ progress: Progress?
  ) throws(TamisError) {
    let total = catalogue.blocks.count
    let blocks = try SnapshotBlocks(options.layout, blocks: total, threads: context.backend.threads, level: nil)
    var first = 0
    while first < total {
      let turn = catalogue.blocks[first..<min(first + blocks.capacity, total)]
      if let bad = blocks.decompress(turn, of: file.bytes) {
        throw TamisError(
          .format,
          "path: \(path) is corrupt: page \(bad / options.layers) of layer \(bad % options.layers) is not what its checksum says"
        )
      }
      for i in 0..<turn.count {
        let (page, layer) = (first + i).quotientAndRemainder(dividingBy: options.layers)
        try store.importPage(layer: layer, page: taken[page], from: blocks.content(i))
      }
      first += turn.count
      if let progress, !progress(Double(first) / Double(total)) { throw TamisError(.cancelled, "progress asked to stop") }
    }
  }

  /// Every page comes with one reference: the first sequence that names it takes that one.
  private func adopt(_ saved: [SnapshotCatalogue.Sequence], on taken: [Int32]) -> [SequenceID] {
    var isNamed = [Bool](repeating: false, count: taken.count)
    return saved.map { from in
      // No more than the file's own size speaks for: it may name very many sequences.
      let sequence = emptySequence(reserving: 2 * from.pages.count)
      for page in from.pages {
        if isNamed[page] { pages.retain(taken[page]) }
        isNamed[page] = true
        sequence.push(taken[page])
      }
      for (layer, length) in from.lengths.enumerated() { sequence.lengths[layer] = length }
      return adopt(sequence)
    }
  }
}
