// include/tamis/dhsa.h
import CTamis
import Tamis

extension tamis_boundary_options: VersionedStruct {
  static var firstSize: Int { 32 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, threshold: 1.1, min_gap: 8, max_per_block: 8, query_block: 128, window: 4,
      instruction_tokens: 64)
  }
}

extension tamis_chunk_index_options: VersionedStruct {
  static var firstSize: Int { 28 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, kv_heads: 1, head_dim: 64, open_tokens: 64, pooling: TAMIS_CHUNK_SQRT, sinks: 128, local: 128)
  }
}

// MARK: boundary predictor

@c @implementation public func tamis_boundary_predictor_load(
  _ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ heads: Int32, _ precision: tamis_precision,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let path = try string(path, "path")
    let heads = try count(heads, "heads")
    let precision = try choice(
      precision, "precision", LinearPrecision.self, "TAMIS_PRECISION_F32, TAMIS_PRECISION_BF16 or TAMIS_PRECISION_I8")
    let out = try need(out, "out")
    let predictor = try BoundaryPredictor(context: context, path: path, heads: heads, precision: precision)
    out.pointee = Handle.make(predictor, .boundary_predictor)
  }
}

@c @implementation public func tamis_boundary_predictor_destroy(_ predictor: OpaquePointer!) {
  Handle<BoundaryPredictor>.destroy(predictor, .boundary_predictor)
}

@c @implementation public func tamis_boundary_predictor_info(
  _ handle: OpaquePointer!, _ width: UnsafeMutablePointer<Int32>!, _ window: UnsafeMutablePointer<Int32>!,
  _ heads: UnsafeMutablePointer<Int32>!
) -> tamis_status {
  status { () throws(TamisError) in
    let predictor = try boundaryPredictor(handle)
    let width = try allow(width, "width")
    let window = try allow(window, "window")
    let heads = try allow(heads, "heads")
    width?.pointee = Int32(clamping: predictor.width)
    window?.pointee = Int32(clamping: predictor.window)
    heads?.pointee = Int32(clamping: predictor.heads)
  }
}

@c @implementation public func tamis_boundary_predictor_run(
  _ handle: OpaquePointer!, _ k: UnsafePointer<tamis_tensor>!, _ logits: UnsafePointer<tamis_tensor>!,
  _ callback: tamis_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let predictor = try boundaryPredictor(handle)
    let k = try tensor(k, "k", TensorRule(dtypes: .storage, ndim: 3...3))
    let logits = try tensor(logits, "logits", TensorRule(dtypes: .f32, ndim: 1...1, output: true))
    let n = k.view.shape[1]
    try require(logits.view.shape[0] == n, "logits is \(logits.view.dims); expected [\(n)], one for each key")
    try requireApart(logits, k)
    let found = try predictor.logits(k.view, progress: progress(callback, user))
    let home = logits.view.data.assumingMemoryBound(to: Float.self)
    for i in 0..<n { home[i * logits.view.stride[0]] = found[i] }
  }
}

func boundaryPredictor(_ pointer: OpaquePointer?) throws(TamisError) -> BoundaryPredictor {
  try Handle<BoundaryPredictor>.object(pointer, .boundary_predictor, "predictor")
}

// MARK: boundaries

@c @implementation public func tamis_boundary_options_init(_ options: UnsafeMutablePointer<tamis_boundary_options>!) {
  options?.initialize(to: .defaults)
}

/// nil for NULL.
func boundaryOptions(_ pointer: UnsafePointer<tamis_boundary_options>?) throws(TamisError) -> BoundaryOptions? {
  if pointer == nil { return nil }
  return try BoundaryOptions(try read(pointer, "boundary_options"))
}

extension BoundaryOptions {
  init(_ raw: tamis_boundary_options) throws(TamisError) {
    try require(!raw.threshold.isNaN, "options->threshold is \(raw.threshold); expected a number")
    self.init(
      threshold: raw.threshold, minGap: try count(raw.min_gap, "options->min_gap"),
      maxPerBlock: try count(raw.max_per_block, "options->max_per_block"),
      queryBlock: try count(raw.query_block, "options->query_block", from: 1),
      window: try count(raw.window, "options->window", from: 1),
      instructionTokens: try count(raw.instruction_tokens, "options->instruction_tokens"))
  }
}

@c @implementation public func tamis_boundaries_from_logits(
  _ options: UnsafePointer<tamis_boundary_options>!, _ logits: UnsafePointer<Float>!, _ n: Int64,
  _ boundaries: UnsafeMutablePointer<Int64>!, _ capacity: Int64, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let options = try BoundaryOptions(try read(options, "options"))
    let n = try TamisABI.count(n, "n", from: 1)
    let logits = try array(logits, n, "logits")
    let count = try need(count, "count")
    let room = try room(boundaries, try TamisABI.count(capacity, "capacity"), "boundaries")
    let found = try options.boundaries(Array(logits))
    count.pointee = Int64(found.count)
    guard found.count <= room.count else {
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(found.count)")
    }
    fill(room, found)
  }
}

// MARK: chunks at decode

@c @implementation public func tamis_chunk_index_options_init(_ options: UnsafeMutablePointer<tamis_chunk_index_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_chunk_index_create(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_chunk_index_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let raw = try read(options, "options")
    let out = try need(out, "out")
    let index = try ChunkIndex(
      context: context, kvHeads: try count(raw.kv_heads, "options->kv_heads", from: 1),
      headDim: try count(raw.head_dim, "options->head_dim", from: 1),
      openTokens: try count(raw.open_tokens, "options->open_tokens", from: 1),
      pooling: try choice(raw.pooling, "options->pooling", ChunkPooling.self, "TAMIS_CHUNK_SQRT or TAMIS_CHUNK_MEAN"),
      sinks: try count(raw.sinks, "options->sinks"), local: try count(raw.local, "options->local"))
    out.pointee = Handle.make(index, .chunk_index)
  }
}

@c @implementation public func tamis_chunk_index_destroy(_ index: OpaquePointer!) {
  Handle<ChunkIndex>.destroy(index, .chunk_index)
}

@c @implementation public func tamis_chunk_index_append(
  _ handle: OpaquePointer!, _ k: UnsafePointer<tamis_tensor>!, _ boundaries: UnsafePointer<Int64>!, _ n: Int64
) -> tamis_status {
  status { () throws(TamisError) in
    let index = try chunkIndex(handle)
    let k = try tensor(k, "k", TensorRule(dtypes: .storage, ndim: 3...3))
    let n = try count(n, "n_boundaries")
    var given: [Int64]?
    if boundaries != nil || n > 0 {
      given = Array(try array(boundaries, n, "boundaries"))
    }
    try index.append(k.view, boundaries: given)
  }
}

@c @implementation public func tamis_chunk_index_truncate(_ handle: OpaquePointer!, _ n: Int64) -> tamis_status {
  status { () throws(TamisError) in try chunkIndex(handle).truncate(to: try count(n, "n_tokens")) }
}

@c @implementation public func tamis_chunk_index_select(
  _ handle: OpaquePointer!, _ q: UnsafePointer<tamis_tensor>!, _ budget: Int64, _ tokens: UnsafeMutablePointer<Int32>!,
  _ capacity: Int64, _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let index = try chunkIndex(handle)
    let q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...3))
    let n = try need(n, "n")
    let room = try room(tokens, try count(capacity, "capacity"), "tokens")
    try require(budget >= -1, "budget is \(budget); expected -1 (all) or at least 1")
    let needed = try index.count(budget: Int(budget))
    guard needed <= room.count else {
      n.pointee = Int64(needed)
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(needed)")
    }
    guard let room = room.baseAddress else {
      n.pointee = 0
      return
    }
    n.pointee = Int64(try index.select(q.view, budget: Int(budget), into: room))
  }
}

private func chunkIndex(_ pointer: OpaquePointer?) throws(TamisError) -> ChunkIndex {
  try Handle<ChunkIndex>.object(pointer, .chunk_index, "index")
}
