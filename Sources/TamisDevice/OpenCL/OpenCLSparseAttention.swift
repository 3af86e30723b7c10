import CShims
public import TamisCore

/// Exact attention over lists of key tiles: keys, values and lists go up, one kernel walks the lists.
extension OpenCLBackend {
  public func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, tiles: TileLists, out: TensorView,
    lse: TensorView?, progress: Progress?
  ) throws(TamisError) {
    if !rule.rope.isNone { throw TamisError(.unsupported, "rope: attention over tensors takes keys and queries as given") }
    if mask.blas { throw TamisError(.unsupported, "compute is TAMIS_COMPUTE_BLAS; expected a tiled form for lists of tiles") }
    let heads = q.shape[0], c = q.shape[1], d = q.shape[2], n = k.shape[1], kvHeads = k.shape[0]
    if heads == 0 || c == 0 { return }
    if tiles.leaveNothingOut(mask, window: rule.window, queries: c, keys: n) {
      try attend(q: q, k: k, v: v, rule: rule, mask: mask, out: out, lse: lse, progress: progress)
      return
    }
    if heads * c > Int32.max || kvHeads * n > Int32.max {
      throw TamisError(.unsupported, "q, k: heads times tokens exceed 2^31 - 1, which the OpenCL kernels count in")
    }
    let keys = try upload(k, from: 0, count: n, to: denseKeys), values = try upload(v, from: 0, count: n, to: denseValues)
    let isI8 = k.dtype == .i8
    let keyScales = isI8 ? try uploadScales(k, from: 0, count: n, to: denseKeyScales) : keys
    let valueScales = isI8 ? try uploadScales(v, from: 0, count: n, to: denseValueScales) : values
    let (starts, index) = try upload(tiles)
    let query = try uploadFloats(q, to: queries)
    let result = try outputs.reserve(heads * c * d * 4), resultLSE = try outputLSE.reserve(heads * c * 4)
    var bias = query
    if let biasValues = rule.keyZeroBias {
      bias = try biases.reserve(heads * 4)
      try bias.write(biasValues, bytes: heads * 4)
    }

    // Beyond every key on either side one bound is as good as another, and these fit the kernel's 32 bits.
    let reach = n + c + 1
    func bound(_ token: Int) -> Int { min(max(token, -reach), reach) }
    let (after, overflow) = mask.queryOffset.subtractingReportingOverflow(rule.window)
    let group = heads / kvHeads, sharing = tiles.heads == heads ? 1 : group
    // A block longer than the queries, or a tile than the keys, ends with them.
    let queryBlock = min(tiles.queryBlock, c), keyBlock = min(tiles.keyBlock, n)
    let tile = PrefillTile(headDim: d, localMemoryBytes: queue.device.localMemoryBytes)
    let kernel = try programs.kernel(
      .attendTiles, "attend_tiles",
      ["D": d, "DTYPE": Int(k.dtype.rawValue), "BM": tile.rows, "RM": tile.rowsEach, "TK": tile.keys])
    let tilesOfBlock = (queryBlock * sharing + tile.rows - 1) / tile.rows
    let total = tilesOfBlock * tiles.blocks
    let common: [OpenCLArgument] = [
      .buffer(query), .buffer(keys), .buffer(values), .buffer(keyScales), .buffer(valueScales), .int(n), .buffer(starts),
      .buffer(index), .int(tiles.blocks), .int(queryBlock), .int(keyBlock), .flag(tiles.heads == 1), .int(sharing), .int(group),
      .int(c), .int(mask.causal ? bound(mask.queryOffset) : reach),
      .int(rule.window <= 0 || overflow ? -reach : bound(after)), .float(rule.scale), .float(rule.softcap),
      .flag(rule.keyZeroBias != nil), .buffer(bias),
    ]
    // Without somebody to tell, one launch.
    let slice = progress == nil ? total : max(1, (total + 31) / 32)
    var done = 0
    while done < total {
      let count = min(slice, total - done)
      try queue.run(
        kernel, groups: (count, heads / sharing, 1), items: 8 * tile.rows / tile.rowsEach,
        common + [.int(total - 1 - done), .int(tilesOfBlock), .buffer(result), .buffer(resultLSE)])
      done += count
      if let progress {
        try queue.finish()
        if !progress(Double(done) / Double(total)) { throw TamisError(.cancelled, "progress: cancelled by the callback") }
      }
    }
    try download(result, resultLSE, to: out, lse)
  }

  /// Row starts from 0 on, and the tiles.
  private func upload(_ tiles: TileLists) throws(TamisError) -> (starts: OpenCLBuffer, index: OpenCLBuffer) {
    let rows = tiles.heads * tiles.blocks
    let base = tiles.rowStart[0]
    let starts = try tileStarts.reserve((rows + 1) * 8)
    host.reset(reserving: Scratch.bytes(Int64.self, rows + 1))
    let offsets = host.take(Int64.self, rows + 1)
    for r in 0...rows { offsets[r] = tiles.rowStart[r] - base }
    try starts.write(offsets, bytes: (rows + 1) * 8)
    let count = Int(tiles.rowStart[rows] - base)
    let index = try tileIndex.reserve(max(count, 1) * 4)
    if count > 0 { try index.write(tiles.index + Int(base), bytes: count * 4) }
    return (starts, index)
  }
}
