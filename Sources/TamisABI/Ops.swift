// include/tamis/ops.h
import CTamis
import Tamis

@c @implementation public func tamis_convert(
  _ handle: OpaquePointer!, _ from: UnsafePointer<tamis_tensor>!, _ to: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let from = try tensor(from, "from", TensorRule(dtypes: .storage, ndim: 1...6, otherDType: .unsupported))
    let to = try tensor(to, "to", TensorRule(dtypes: .storage, ndim: 1...6, output: true, otherDType: .unsupported))
    try requireShape(of: to, like: from)
    try requireApart(to, from)
    try require(to.view.dtype != .i8 || to.view.scale != nil, "to->scale is NULL; expected room for one f32 per row")
    try context.withLock { () throws(TamisError) in try Convert.copy(from: from.view, to: to.view) }
  }
}

@c @implementation public func tamis_rope_apply(
  _ handle: OpaquePointer!, _ rope: UnsafePointer<tamis_rope>!, _ x: UnsafePointer<tamis_tensor>!,
  _ positions: UnsafePointer<Int64>!, _ first: Int64, _ out: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let x = try tensor(x, "x", TensorRule(dtypes: .floats, ndim: 2...6, otherDType: .unsupported))
    let out = try tensor(out, "out", TensorRule(dtypes: .floats, ndim: 2...6, output: true, otherDType: .unsupported))
    try requireShape(of: out, like: x)
    try requireApartOrSame(out, x)
    let rule = try ropeRule(try need(rope, "rope").pointee, "rope->", headDim: x.view.shape[x.view.ndim - 1])
    let list = try ropePositions(positions, first, count: x.view.shape[x.view.ndim - 2])
    try context.withLock { () throws(TamisError) in
      try rule.apply(x.view, positions: list, first: list == nil ? Int(first) : 0, out: out.view)
    }
  }
}

@c @implementation public func tamis_top_k(
  _ handle: OpaquePointer!, _ scores: UnsafePointer<Float>!, _ n: Int64, _ k: Int64, _ indices: UnsafeMutablePointer<Int32>!,
  _ out: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let n = try count(n, "n")
    try require(k >= 0, "k is \(k); expected at least 0")
    let out = try need(out, "count")
    let take = min(n, Int(k))
    guard take > 0 else { return out.pointee = 0 }
    let scores = try need(scores, "scores")
    let indices = try need(indices, "indices")
    try requireExtent(scores, n, "scores")
    try requireExtent(UnsafePointer(indices), take, "indices")
    try context.withLock { () throws(TamisError) in
      out.pointee = Int64(TopK.select(scores, count: n, k: take, into: indices))
    }
  }
}

/// Positions stay where an angle in f64 still means something and sums cannot overflow.
private let positionLimit: Int64 = 1 << 47

private func ropePositions(_ positions: UnsafePointer<Int64>?, _ first: Int64, count: Int)
  throws(TamisError) -> UnsafePointer<Int64>?
{
  guard positions != nil else {
    try require(
      first.magnitude <= positionLimit.magnitude, "first is \(first); expected \(-positionLimit) to \(positionLimit)")
    return nil
  }
  let list = try need(positions, "positions")
  try requireExtent(list, count, "positions")
  for t in 0..<count where list[t].magnitude > positionLimit.magnitude {
    throw .invalid("positions[\(t)] is \(list[t]); expected \(-positionLimit) to \(positionLimit)")
  }
  return list
}

/// A rope rule that fits a head. `prefix` is how the caller wrote the struct: "rope->" or "options->rope.".
func ropeRule(_ rope: tamis_rope, _ prefix: StaticString, headDim: Int) throws(TamisError) -> RoPE {
  guard let style = RoPE.Style(rawValue: rope.style) else {
    throw .invalid("\(prefix)style is \(rope.style); expected TAMIS_ROPE_NONE, TAMIS_ROPE_HALF or TAMIS_ROPE_INTERLEAVED")
  }
  if style == .none { return .none }
  let dims = rope.rotary_dims == 0 ? headDim : Int(rope.rotary_dims)
  try require(
    dims >= 2 && dims <= headDim && dims % 2 == 0,
    "\(prefix)rotary_dims is \(rope.rotary_dims); expected 0 or an even number from 2 to the head_dim \(headDim)")
  try require(rope.base.isFinite && rope.base > 0, "\(prefix)base is \(rope.base); expected a finite number above 0")
  try require(rope.scale.isFinite, "\(prefix)scale is \(rope.scale); expected a finite number")
  return RoPE(style: style, rotaryDims: dims, base: rope.base, scale: rope.scale)
}
