import CShims
public import TamisCore

/// Use: exact attention, over tensors and over the cache, by the same kernels. A tensor is a cache of one page.
extension OpenCLBackend {
  /// Where keys and values lie, and the list of them that is attended.
  private struct Source {
    var dtype: DType
    var headDim, kvHeads: Int
    var keys, values, keyScales, valueScales, frames: OpenCLBuffer
    var pageTokens, tokens: Int
    var selected: OpenCLBuffer
    var sinks, selectedCount, recent, places: Int
  }

  /// Which of them each query sees, and where both stand.
  private struct Placement {
    /// Query i sees tokens after + i < j <= through + i.
    var through, after: Int
    /// Position of query 0 for the rotation.
    var firstPosition: Int
    var compact: Bool
  }

  public func attend(
    q: TensorView, k: TensorView, v: TensorView, rule: AttentionRule, mask: DenseMask, out: TensorView, lse: TensorView?,
    progress: Progress?
  ) throws(TamisError) {
    if mask.blas { throw TamisError(.unsupported, "compute is TAMIS_COMPUTE_BLAS; only the CPU device has it") }
    let n = k.shape[1]
    let keys = try upload(k, from: 0, count: n, to: denseKeys), values = try upload(v, from: 0, count: n, to: denseValues)
    let isI8 = k.dtype == .i8
    let keyScales = isI8 ? try uploadScales(k, from: 0, count: n, to: denseKeyScales) : keys
    let valueScales = isI8 ? try uploadScales(v, from: 0, count: n, to: denseValueScales) : values
    let table = try frames.single()
    let source = Source(
      dtype: k.dtype, headDim: k.shape[2], kvHeads: k.shape[0], keys: keys, values: values, keyScales: keyScales,
      valueScales: valueScales, frames: table, pageTokens: max(n, 1), tokens: n, selected: table, sinks: 0, selectedCount: 0,
      recent: 0, places: n)
    // Beyond every key on either side one bound is as good as another, and these fit the kernels' 32 bits.
    let reach = n + q.shape[1] + 1
    func bound(_ token: Int) -> Int { min(max(token, -reach), reach) }
    let (after, overflow) = mask.queryOffset.subtractingReportingOverflow(rule.window)
    try run(
      q, source, rule,
      Placement(
        through: mask.causal ? bound(mask.queryOffset) : reach, after: rule.window <= 0 || overflow ? -reach : bound(after),
        firstPosition: mask.queryOffset, compact: false), out, lse, progress)
  }

  public func attend(
    q: TensorView, over keys: CachedKeys, tokens: AttendedTokens, rule: AttentionRule, out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    let store = try store(of: keys)
    var selected: OpenCLBuffer?
    if let selection = tokens.selected {
      guard let selection = selection as? OpenCLSelection else {
        throw TamisError(.internalError, "the selection belongs to another device")
      }
      selected = selection.buffer
    }
    let layout = store.layout
    let memory = try store.layer(keys.layer)
    let table = try frames.table(keys, of: store)
    let places = tokens.count
    let source = Source(
      dtype: layout.dtype, headDim: layout.headDim, kvHeads: layout.kvHeads, keys: memory.keys, values: memory.values,
      keyScales: memory.keyScales, valueScales: memory.valueScales, frames: table, pageTokens: layout.pageTokens,
      tokens: keys.count, selected: selected ?? table, sinks: tokens.sinks, selectedCount: tokens.selected?.count ?? 0,
      recent: tokens.recent.lowerBound, places: places)
    let compact = rule.positions == .compact
    let c = q.shape[1]
    let first = keys.count - c
    let placement = Placement(
      through: first, after: rule.window <= 0 || rule.window > keys.count ? -c - 1 : first - rule.window,
      firstPosition: (compact ? places : keys.count) - c, compact: compact)
    try run(q, source, rule, placement, out, lse, nil)
  }

  private func run(
    _ q: TensorView, _ source: Source, _ rule: AttentionRule, _ placement: Placement, _ out: TensorView, _ lse: TensorView?,
    _ progress: Progress?
  ) throws(TamisError) {
    let heads = q.shape[0], c = q.shape[1], d = source.headDim
    if heads == 0 || c == 0 { return }
    if heads * c > Int32.max || source.kvHeads * source.tokens > Int32.max {
      throw TamisError(.unsupported, "q, k: heads times tokens exceed 2^31 - 1, which the OpenCL kernels count in")
    }
    let query = try uploadFloats(q, to: queries)
    let result = try outputs.reserve(heads * c * d * 4), resultLSE = try outputLSE.reserve(heads * c * 4)
    let group = heads / source.kvHeads, rows = group * c

    var definitions = [
      "D": d, "DTYPE": Int(source.dtype.rawValue), "ROPE": Int(rule.rope.style.rawValue),
      "RHALF": max(rule.rope.rotaryDims / 2, 1),
    ]
    let angles = try ropeTable(rule.rope, placement, c, source)
    var bias = query
    if let biasValues = rule.keyZeroBias {
      bias = try biases.reserve(heads * 4)
      try bias.write(biasValues, bytes: heads * 4)
    }
    let common: [OpenCLArgument] = [
      .buffer(query), .buffer(source.keys), .buffer(source.values), .buffer(source.keyScales), .buffer(source.valueScales),
      .buffer(source.frames), .int(source.pageTokens), .int(source.kvHeads), .int(source.tokens), .buffer(source.selected),
      .int(source.sinks), .int(source.selectedCount), .int(source.recent), .int(source.places), .int(group), .int(c),
      .int(placement.through), .int(placement.after), .flag(placement.compact),
      .int(rule.rope.isNone ? 0 : placement.firstPosition),
      .float(rule.scale), .float(rule.softcap), .flag(rule.keyZeroBias != nil), .buffer(bias),
      .buffer(angles?.fine ?? query), .buffer(angles?.coarse ?? query),
    ]

    let block = DecodeBlock(rows: rows, headDim: d)
    if c == 1 || rows <= block.rows {
      definitions["R"] = block.rows
      definitions["TK"] = block.keys
      definitions["WG"] = 128
      try decode(source, common, definitions, rows: rows, group: group, queries: c, to: result, resultLSE)
    } else {
      try prefill(source, common, definitions, rows: rows, to: result, resultLSE, progress)
    }
    try download(result, resultLSE, to: out, lse)
  }

  /// Few rows: the keys are split over work-groups, and the parts merged.
  private func decode(
    _ source: Source, _ common: [OpenCLArgument], _ definitions: [String: Int], rows: Int, group: Int, queries: Int,
    to result: OpenCLBuffer, _ resultLSE: OpenCLBuffer
  ) throws(TamisError) {
    let block = definitions["R"]!, tile = definitions["TK"]!
    let blocks = (rows + block - 1) / block
    // Enough work-groups for every compute unit four times over, of at least four tiles each.
    let tiles = (source.places + tile - 1) / tile
    let wanted = (4 * queue.device.info.computeUnits + source.kvHeads * blocks - 1) / (source.kvHeads * blocks)
    let tilesEach = max(4, (tiles + wanted - 1) / wanted)
    let splits = max(1, (tiles + tilesEach - 1) / tilesEach)
    let total = source.kvHeads * rows
    let part = try parts.reserve(total * splits * source.headDim * 4), stats = try partStats.reserve(total * splits * 8)
    try queue.run(
      try programs.kernel(.attendDecode, "attend_decode", definitions), groups: (splits, source.kvHeads, blocks), items: 128,
      common + [.int(tilesEach * tile), .buffer(part), .buffer(stats)])
    try queue.run(
      try programs.kernel(.attendMerge, "attend_merge", ["D": source.headDim]), groups: (total, 1, 1), items: 64,
      [
        .buffer(part), .buffer(stats), .int(splits), .int(group), .int(queries), .buffer(result), .buffer(resultLSE),
      ])
  }

  /// Many rows: one work-group per tile of them.
  private func prefill(
    _ source: Source, _ common: [OpenCLArgument], _ definitions: [String: Int], rows: Int, to result: OpenCLBuffer,
    _ resultLSE: OpenCLBuffer, _ progress: Progress?
  ) throws(TamisError) {
    let d = source.headDim
    let tile = PrefillTile(headDim: d, localMemoryBytes: queue.device.localMemoryBytes)
    var definitions = definitions
    definitions["BM"] = tile.rows
    definitions["RM"] = tile.rowsEach
    definitions["TK"] = tile.keys
    let kernel = try programs.kernel(.attendPrefill, "attend_prefill", definitions)
    let tiles = (rows + tile.rows - 1) / tile.rows
    // Without somebody to tell, one launch.
    let slice = progress == nil ? tiles : max(1, (tiles + 31) / 32)
    var done = 0
    while done < tiles {
      let count = min(slice, tiles - done)
      try queue.run(
        kernel, groups: (count, source.kvHeads, 1), items: 8 * tile.rows / tile.rowsEach,
        common + [.int(tiles - 1 - done), .buffer(result), .buffer(resultLSE)])
      done += count
      if let progress {
        try queue.finish()
        if !progress(Double(done) / Double(tiles)) { throw TamisError(.cancelled, "progress: cancelled by the callback") }
      }
    }
  }

  func download(
    _ result: OpenCLBuffer, _ resultLSE: OpenCLBuffer, to out: TensorView, _ lse: TensorView?
  ) throws(TamisError) {
    let heads = out.shape[0], c = out.shape[1], d = out.shape[2]
    if out.dtype == .f32, HostRows.isPacked(out, count: c) {
      try result.read(out.data, bytes: heads * c * d * 4)
    } else {
      host.reset(reserving: Scratch.bytes(Float.self, heads * c * d))
      let floats = host.take(Float.self, heads * c * d)
      try result.read(floats, bytes: heads * c * d * 4)
      HostRows.unpack(floats, to: out, at: 0, count: c)
    }
    guard let lse else { return }
    host.reset(reserving: Scratch.bytes(Float.self, heads * c))
    let floats = host.take(Float.self, heads * c)
    try resultLSE.read(floats, bytes: heads * c * 4)
    let to = lse.data.assumingMemoryBound(to: Float.self)
    for h in 0..<heads {
      for t in 0..<c { to[h * lse.stride[0] + t * lse.stride[1]] = floats[h * c + t] }
    }
  }

  /// The table that covers every position of the call; nil without a rule.
  private func ropeTable(
    _ rule: RoPE, _ placement: Placement, _ queries: Int, _ source: Source
  ) throws(TamisError) -> RoPETable? {
    if rule.isNone { return nil }
    let reach = max(source.tokens, source.places, abs(placement.firstPosition) + queries)
    if let rope, rope.rule == rule, reach <= rope.limit { return rope }
    rope = nil
    let table = try RoPETable(queue, rule, covering: reach)
    rope = table
    return table
  }
}

/// What a work-group of attend_decode holds: rows of queries, and keys of a tile.
struct DecodeBlock {
  let rows, keys: Int

  init(rows: Int, headDim: Int) {
    let d = OpenCLBackend.powerOfTwo(atLeast: headDim)
    self.rows = OpenCLBackend.powerOfTwo(atLeast: min(rows, 16, max(1, 2048 / d)))
    keys = min(64, max(16, 4096 / d))
  }

  /// Local memory: queries, a tile of keys, weights, reductions.
  func bytes(headDim d: Int) -> Int { 4 * (rows * d + keys * (d + 4) + rows * (keys + 1) + rows * 11 + keys) }
}

/// What a work-group of attend_prefill holds: rows of queries, rows of one work-item, and keys of a tile.
struct PrefillTile {
  private(set) var rows = 64, keys: Int
  let rowsEach: Int

  init(headDim d: Int, localMemoryBytes: Int) {
    rowsEach = d <= 128 ? 4 : 2
    keys = d <= 128 ? 32 : 16
    // No more than lets two work-groups share a compute unit of 96 KiB, and than the device has.
    let most = min(localMemoryBytes, 44 << 10)
    while rows > 16 && (bytes(headDim: d) > most || rows * d > 4096) { rows /= 2 }
    while keys > 8 && bytes(headDim: d) > most { keys /= 2 }
  }

  /// Local memory: queries, a tile of keys or of values, weights, reductions.
  func bytes(headDim d: Int) -> Int { 4 * ((rows + keys) * (d + 4) + rows * (keys + 1) + rows * 10 + keys) }
}
