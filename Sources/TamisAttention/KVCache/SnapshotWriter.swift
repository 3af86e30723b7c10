public import TamisCore
public import TamisDevice

extension KVCache {
  /// Writes sequences (nil: all) to a file, format in docs/snapshot-format.md. `path` is either what it was or the whole new
  /// file, also after a power cut. Shared pages are written once.
  /// - Parameters:
  ///   - level: zstd level, 1 to 19; 0: 3.
  ///   - progress: called with the context's lock held.
  /// - Throws: `invalidArgument`, `notFound`, `io`, `outOfMemory`, `device`, `cancelled`.
  public func save(
    _ ids: [SequenceID]?, to path: String, level: Int = 0, progress: Progress? = nil
  ) throws(TamisError) {
    try require((0...19).contains(level), "level is \(level); expected 0 (the default, 3) to 19")
    try require(!path.isEmpty, "path is empty; expected the name of a file")
    try context.withLock { () throws(TamisError) in
      var plan = try SnapshotPlan(self, ids ?? sequences.keys.sorted())
      let file = try ReplacementFile(path)
      try file.write(SnapshotHeader.size, of: [UInt8](repeating: 0, count: SnapshotHeader.size))
      let end = try write(&plan, to: file, level: level == 0 ? 3 : level, progress)
      let catalogue = plan.catalogue.encoded()
      let header = SnapshotHeader(
        options: options, sequences: plan.catalogue.sequences.count, pages: plan.pages.count, catalogueOffset: end,
        catalogue: catalogue)
      let (head, trailer) = header.encoded()
      try file.write(catalogue.count, of: catalogue)
      try file.write(trailer.count, of: trailer)
      try file.overwriteStart(head)
      try file.commit()
    }
  }

  /// Where the last block ends.
  private func write(
    _ plan: inout SnapshotPlan, to file: ReplacementFile, level: Int, _ progress: Progress?
  ) throws(TamisError) -> Int {
    var end = SnapshotHeader.size
    let total = plan.used.count
    let blocks = try SnapshotBlocks(options.layout, blocks: total, threads: context.backend.threads, level: level)
    var first = 0
    while first < total {
      let count = min(blocks.capacity, total - first)
      for i in 0..<count {
        let (page, layer) = (first + i).quotientAndRemainder(dividingBy: options.layers)
        // A layer that lags behind has written nothing here.
        if plan.used[first + i] > 0 { try store.exportPage(layer: layer, page: plan.pages[page], to: blocks.content(i)) }
        blocks.clear(i, beyond: plan.used[first + i])
      }
      try blocks.compress(count)
      for i in 0..<count {
        let frame = blocks.frame(i)
        try file.write(frame)
        plan.catalogue.blocks.append(.init(offset: end, size: frame.count, checksum: XXH64.hash(frame)))
        end += frame.count
      }
      first += count
      if let progress, !progress(Double(first) / Double(total)) { throw TamisError(.cancelled, "progress asked to stop") }
    }
    return end
  }
}

/// What a snapshot will hold: pages numbered in the order in which sequences name them first.
private struct SnapshotPlan {
  var catalogue: SnapshotCatalogue
  /// Page of the store by page of the file.
  var pages: [Int32] = []
  /// Tokens written, by block.
  var used: [Int] = []

  init(_ cache: KVCache, _ ids: [SequenceID]) throws(TamisError) {
    let layers = cache.options.layers
    let pageTokens = cache.options.pageTokens
    var numbers: [Int32: Int] = [:]
    var seen: Set<SequenceID> = []
    catalogue = SnapshotCatalogue(sequences: [])
    for id in ids {
      try require(seen.insert(id).inserted, "sequences names \(id) twice")
      let sequence = try cache.sequence(id)
      let lengths = Array(UnsafeBufferPointer(start: sequence.lengths, count: layers))
      var named: [Int] = []
      for place in 0..<sequence.pageCount {
        let page = sequence.pages[place]
        let number = numbers[page] ?? pages.count
        if number == pages.count {
          numbers[page] = number
          pages.append(page)
          used.append(contentsOf: repeatElement(0, count: layers))
        }
        named.append(number)
        for layer in 0..<layers {
          let here = max(0, min(pageTokens, lengths[layer] - place * pageTokens))
          used[number * layers + layer] = max(used[number * layers + layer], here)
        }
      }
      catalogue.sequences.append(.init(lengths: lengths, pages: named))
    }
  }
}
