// include/tamis/retrieval.h
import CTamis
import Tamis

extension tamis_selector_options: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, method: TAMIS_SELECT_TOKENSELECT, q_heads: 0, n_sink: 128, n_recent: 512, top_k: 2048,
      chunk: 512, similarity: 0.9, vote: TAMIS_VOTE_SOFT, head_map: TAMIS_HEADS_GROUP, pool: 0,
      positions: TAMIS_POSITIONS_COMPACT, scale: 0, softcap: 0, window: 0, key0_bias: nil)
  }
}

extension tamis_retrieval_stats: VersionedStruct {
  static var firstSize: Int { 64 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_selector_options_init(_ options: UnsafeMutablePointer<tamis_selector_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_selector_create(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_selector_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let cache = try cache(handle)
    let out = try need(out, "out")
    let options = try SelectorOptions(try read(options, "options"), kvHeads: cache.options.kvHeads)
    out.pointee = Handle.make(try Selector(cache: cache, options: options), .selector)
  }
}

@c @implementation public func tamis_selector_destroy(_ selector: OpaquePointer!) {
  Handle<Selector>.destroy(selector, .selector)
}

@c @implementation public func tamis_selector_reset(_ handle: OpaquePointer!, _ sequence: tamis_sequence) -> tamis_status {
  status { () throws(TamisError) in
    let selector = try selector(handle)
    try require(sequence >= -1, "sequence is \(sequence); expected a sequence, or -1 for all")
    selector.reset(sequence == -1 ? nil : sequence)
  }
}

@c @implementation public func tamis_attend(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ layer: Int32, _ q: UnsafePointer<tamis_tensor>!,
  _ out: UnsafePointer<tamis_tensor>!, _ lse: UnsafePointer<tamis_tensor>!,
  _ stats: UnsafeMutablePointer<tamis_retrieval_stats>!
) -> tamis_status {
  status { () throws(TamisError) in
    let selector = try selector(handle)
    let layer = try count(layer, "layer")
    let t = try QueryTensors(q: q, out: out, lse: lse)
    var done = try RetrievalStats.start(stats)
    try selector.attend(sequence, layer: layer, q: t.q.view, out: t.out.view, lse: t.lse?.view, stats: &done)
    done.add(to: stats)
  }
}

@c @implementation public func tamis_retrieve(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ layer: Int32, _ q: UnsafePointer<tamis_tensor>!,
  _ indices: UnsafeMutablePointer<Int32>!, _ capacity: Int64, _ n: UnsafeMutablePointer<Int64>!,
  _ votes: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let selector = try selector(handle)
    let layer = try count(layer, "layer")
    let q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...3))
    let n = try need(n, "n")
    let room = try roomForTokens(indices, capacity)
    let votes = try roomForVotes(votes, try selector.cache.length(of: sequence, layer: layer))
    let found = try selector.retrieve(sequence, layer: layer, q: q.view, indices: nil, votes: nil)  // the number alone
    guard found <= room?.count ?? 0 else {
      n.pointee = Int64(found)
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(found)")
    }
    n.pointee = Int64(try selector.retrieve(sequence, layer: layer, q: q.view, indices: room, votes: votes))
  }
}

@c @implementation public func tamis_attend_tokens(
  _ handle: OpaquePointer!, _ sequence: tamis_sequence, _ layer: Int32, _ q: UnsafePointer<tamis_tensor>!,
  _ tokens: UnsafePointer<Int32>!, _ n: Int64, _ out: UnsafePointer<tamis_tensor>!, _ lse: UnsafePointer<tamis_tensor>!,
  _ stats: UnsafeMutablePointer<tamis_retrieval_stats>!
) -> tamis_status {
  status { () throws(TamisError) in
    let selector = try selector(handle)
    let layer = try count(layer, "layer")
    let t = try QueryTensors(q: q, out: out, lse: lse)
    let list = UnsafeBufferPointer(start: try need(tokens, "tokens"), count: try count(n, "n", from: 1))
    try requireExtent(list.baseAddress!, list.count, "tokens")
    try requireAscending(list)
    var done = try RetrievalStats.start(stats)
    try selector.attend(sequence, layer: layer, q: t.q.view, tokens: list, out: t.out.view, lse: t.lse?.view, stats: &done)
    done.add(to: stats)
  }
}

/// The tensors of an attention call over a cache, checked singly and against each other.
private struct QueryTensors {
  let q, out: TensorArgument
  let lse: TensorArgument?

  init(q: UnsafePointer<tamis_tensor>?, out: UnsafePointer<tamis_tensor>?, lse: UnsafePointer<tamis_tensor>?)
    throws(TamisError)
  {
    self.q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...3))
    self.out = try tensor(out, "out", TensorRule(dtypes: .floats, ndim: 3...3, output: true))
    self.lse = try optionalTensor(lse, "lse", TensorRule(dtypes: .f32, ndim: 2...2, output: true))
    try requireShape(of: self.out, like: self.q)
    try requireApart(self.out, self.q)
    guard let lse = self.lse else { return }
    try requireShape(of: lse, like: self.q, dims: 2)
    try requireApart(lse, self.q)
    try requireApart(lse, self.out)
  }
}

private func roomForTokens(_ indices: UnsafeMutablePointer<Int32>?, _ capacity: Int64)
  throws(TamisError) -> UnsafeMutableBufferPointer<Int32>?
{
  let room = try count(capacity, "capacity")
  if room == 0 { return nil }
  let indices = try need(indices, "indices")
  try requireExtent(UnsafePointer(indices), room, "indices")
  return UnsafeMutableBufferPointer(start: indices, count: room)
}

private func roomForVotes(_ votes: UnsafeMutablePointer<Float>?, _ tokens: Int)
  throws(TamisError) -> UnsafeMutableBufferPointer<Float>?
{
  guard let votes = try allow(votes, "votes") else { return nil }
  try requireExtent(UnsafePointer(votes), tokens, "votes")
  return UnsafeMutableBufferPointer(start: votes, count: tokens)
}

private func requireAscending(_ tokens: UnsafeBufferPointer<Int32>) throws(TamisError) {
  var last: Int32 = -1
  for i in 0..<tokens.count {
    let token = tokens[i]
    guard token > last else {
      throw .invalid("tokens[\(i)] is \(token) after \(last); expected ascending indices from 0 on, each once")
    }
    last = token
  }
}
