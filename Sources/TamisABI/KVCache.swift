// include/tamis/kv_cache.h
import CTamis
import Tamis

extension tamis_kv_options: VersionedStruct {
  static var firstSize: Int { 64 }
  static var defaults: Self {
    let rope = tamis_rope(style: TAMIS_ROPE_NONE, rotary_dims: 0, base: 10000, scale: 1)
    return Self(
      struct_size: currentSize, layers: 1, kv_heads: 1, head_dim: 64, dtype: TAMIS_F32, page_tokens: 64, max_tokens: 4096,
      rope: rope, scoring_copy: -1)
  }
}

extension tamis_kv_memory: VersionedStruct {
  static var firstSize: Int { 64 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_kv_options_init(_ options: UnsafeMutablePointer<tamis_kv_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_kv_create(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_kv_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let out = try need(out, "out")
    let cache = try KVCache(context: context, options: try KVCacheOptions(try read(options, "options")))
    out.pointee = Handle.make(cache, .kv_cache)
  }
}

@c @implementation public func tamis_kv_destroy(_ cache: OpaquePointer!) { Handle<KVCache>.destroy(cache, .kv_cache) }

@c @implementation public func tamis_kv_get_options(
  _ handle: OpaquePointer!, _ options: UnsafeMutablePointer<tamis_kv_options>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    try checkOutput(options, "options")
    write(tamis_kv_options(cache.options), to: options)
  }
}

// MARK: sequences

@c @implementation public func tamis_kv_sequence_create(
  _ handle: OpaquePointer!, _ out: UnsafeMutablePointer<tamis_sequence>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let out = try need(out, "out")
    out.pointee = try cache.makeSequence()
  }
}

@c @implementation public func tamis_kv_sequence_fork(
  _ handle: OpaquePointer!, _ from: tamis_sequence, _ n_tokens: Int64, _ out: UnsafeMutablePointer<tamis_sequence>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let out = try need(out, "out")
    let tokens = n_tokens == -1 ? nil : try count(n_tokens, "n_tokens")
    out.pointee = try cache.fork(from, tokens: tokens)
  }
}

@c @implementation public func tamis_kv_sequence_destroy(_ handle: OpaquePointer!, _ sequence: tamis_sequence) -> tamis_status {
  status { () throws(TamisError) in try cache(handle).destroy(sequence) }
}

@c @implementation public func tamis_kv_append(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ layer: Int32, _ k: UnsafePointer<tamis_tensor>!,
  _ v: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let layer = try count(layer, "layer")
    let rule = TensorRule(dtypes: .storage, ndim: 3...3, contiguousRows: true)
    let k = try tensor(k, "k", rule)
    let v = try tensor(v, "v", rule)
    try requireShape(of: v, like: k)
    try cache.append(sequence, layer: layer, k: k.view, v: v.view)
  }
}

@c @implementation public func tamis_kv_length(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ layer: Int32, _ out: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let out = try need(out, "out")
    out.pointee = Int64(try cache.length(of: sequence, layer: try count(layer, "layer")))
  }
}

@c @implementation public func tamis_kv_truncate(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ n_tokens: Int64
) -> tamis_status {
  status { () throws(TamisError) in
    try cache(handle).truncate(sequence, to: try count(n_tokens, "n_tokens"))
  }
}

@c @implementation public func tamis_kv_read(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ layer: Int32, _ start: Int64, _ k: UnsafePointer<tamis_tensor>!,
  _ v: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let layer = try count(layer, "layer")
    let start = try count(start, "start")
    let rule = TensorRule(dtypes: .floats, ndim: 3...3, output: true)
    let k = try optionalTensor(k, "k", rule)
    let v = try optionalTensor(v, "v", rule)
    try require(k != nil || v != nil, "k and v are NULL; expected at least one tensor")
    if let k, let v {
      try requireShape(of: v, like: k)
      try requireApart(v, k)
    }
    try cache.read(sequence, layer: layer, from: start, k: k?.view, v: v?.view)
  }
}

@c @implementation public func tamis_kv_memory_report(
  _ handle: OpaquePointer!, _ report: UnsafeMutablePointer<tamis_kv_memory>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    try checkOutput(report, "report")
    write(tamis_kv_memory(cache.memory), to: report)
  }
}

// MARK: snapshots

@c @implementation public func tamis_kv_save(
  _ handle: OpaquePointer!, _ sequences: UnsafePointer<tamis_sequence>!, _ n: Int32, _ path: UnsafePointer<CChar>!,
  _ level: Int32, _ callback: tamis_progress_fn!, _ progress_user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let names = try sequenceList(sequences, try count(n, "n"))
    let path = try string(path, "path")
    try require((0...19).contains(level), "level is \(level); expected 0 (the default, 3) to 19")
    try cache.save(names, to: path, level: level == 0 ? 3 : Int(level), progress: progress(callback, progress_user))
  }
}

@c @implementation public func tamis_kv_restore(
  _ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ sequences: UnsafeMutablePointer<tamis_sequence>!,
  _ capacity: Int32, _ n: UnsafeMutablePointer<Int32>!, _ callback: tamis_progress_fn!,
  _ progress_user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let path = try string(path, "path")
    let room = try count(capacity, "capacity")
    let n = try need(n, "n")
    let list = room == 0 ? nil : try need(sequences, "sequences")
    if let list { try requireExtent(UnsafePointer(list), room, "sequences") }
    let saved = try KVCache.snapshotInfo(path).sequences
    guard saved <= room else {
      n.pointee = Int32(clamping: saved)
      throw TamisError(.bufferTooSmall, "capacity is \(room); expected at least \(saved), the sequences of the snapshot")
    }
    let names = try cache.restore(from: path, capacity: room, progress: progress(callback, progress_user))
    for (i, name) in names.enumerated() { list?[i] = name }
    n.pointee = Int32(clamping: names.count)
  }
}

@c @implementation public func tamis_kv_snapshot_info(
  _ path: UnsafePointer<CChar>!, _ options: UnsafeMutablePointer<tamis_kv_options>!, _ n_sequences: UnsafeMutablePointer<Int32>!
) -> tamis_status {
  status { () throws(TamisError) in
    let path = try string(path, "path")
    try checkOutput(options, "options")
    let count = try need(n_sequences, "n_sequences")
    let info = try KVCache.snapshotInfo(path)
    write(tamis_kv_options(info.options), to: options)
    count.pointee = Int32(clamping: info.sequences)
  }
}

/// NULL with 0 is nil: every sequence.
private func sequenceList(_ sequences: UnsafePointer<tamis_sequence>?, _ n: Int) throws(TamisError) -> [SequenceID]? {
  if sequences == nil && n == 0 { return nil }
  let list = try need(sequences, "sequences")
  try require(n > 0, "n is 0 with sequences; expected at least 1, or NULL for all sequences")
  try requireExtent(list, n, "sequences")
  return Array(UnsafeBufferPointer(start: list, count: n))
}
