// include/tamis/attention.h
import CTamis
import Tamis

extension tamis_attention_options: VersionedStruct {
  static var firstSize: Int { 64 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, causal: 1, q_offset: Int64.min, window: 0, scale: 0, softcap: 0, key0_bias: nil,
      compute: TAMIS_COMPUTE_AUTO, progress: nil, progress_user: nil)
  }
}

@c @implementation public func tamis_attention_options_init(_ options: UnsafeMutablePointer<tamis_attention_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_attention(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_attention_options>!, _ q: UnsafePointer<tamis_tensor>!,
  _ k: UnsafePointer<tamis_tensor>!, _ v: UnsafePointer<tamis_tensor>!, _ out: UnsafePointer<tamis_tensor>!,
  _ lse: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try read(options, "options")
    let t = try AttentionTensors(q: q, k: k, v: v, out: out, lse: lse)
    let (rule, mask) = try attentionRule(options, t)
    try Dense.attend(
      context, q: t.q.view, k: t.k.view, v: t.v.view, rule: rule, mask: mask, out: t.out.view, lse: t.lse?.view,
      progress: progress(options.progress, options.progress_user))
  }
}

@c @implementation public func tamis_attention_merge(
  _ handle: OpaquePointer!, _ n: Int32, _ parts: UnsafePointer<tamis_tensor>!, _ part_lse: UnsafePointer<tamis_tensor>!,
  _ out: UnsafePointer<tamis_tensor>!, _ lse: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let out = try tensor(out, "out", TensorRule(dtypes: .f32, ndim: 2...6, output: true))
    let lse = try tensor(lse, "lse", TensorRule(dtypes: .f32, ndim: 1...5, output: true))
    try requireShape(of: lse, like: out, dims: out.view.ndim - 1)
    try requireApart(out, lse)
    let views = try mergeParts(try count(n, "n", from: 1), parts, part_lse, out, lse)
    try Dense.merge(context, parts: views.parts, lse: views.lse, out: out.view, outLSE: lse.view)
  }
}

/// The tensors of one attention call, checked singly and against each other.
struct AttentionTensors {
  let q, k, v, out: TensorArgument
  let lse: TensorArgument?

  init(
    q: UnsafePointer<tamis_tensor>?, k: UnsafePointer<tamis_tensor>?, v: UnsafePointer<tamis_tensor>?,
    out: UnsafePointer<tamis_tensor>?, lse: UnsafePointer<tamis_tensor>?
  ) throws(TamisError) {
    let keys = TensorRule(dtypes: .storage, ndim: 3...4, contiguousRows: true, otherDType: .unsupported)
    self.q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...4, otherDType: .unsupported))
    self.k = try tensor(k, "k", keys)
    self.v = try tensor(v, "v", keys)
    self.out = try tensor(out, "out", TensorRule(dtypes: .floats, ndim: 3...4, output: true, otherDType: .unsupported))
    self.lse = try optionalTensor(lse, "lse", TensorRule(dtypes: .f32, ndim: 2...3, output: true))
    try requireNDim(of: self.k, like: self.q)
    try requireShape(of: self.v, like: self.k)
    try requireShape(of: self.out, like: self.q)
    try checkHeads(self.q, self.k)
    guard self.v.view.dtype == self.k.view.dtype else {
      throw TamisError(.unsupported, "v->dtype is \(self.v.view.dtype.name); expected \(self.k.view.dtype.name), the dtype of k")
    }
    try requireApart(self.out, self.q, self.k, self.v)
    if let lse = self.lse {
      try requireShape(of: lse, like: self.q, dims: self.q.view.ndim - 1)
      try requireApart(lse, self.q, self.k, self.v)
      try requireApart(lse, self.out)
    }
  }

  /// The dimension of heads: 0, or 1 behind that of the batch.
  var heads: Int { q.view.ndim - 3 }
}

func attentionRule(_ options: tamis_attention_options, _ t: AttentionTensors)
  throws(TamisError) -> (AttentionRule, DenseMask)
{
  try attentionRule(options, q: t.q.view, k: t.k.view)
}

/// The softmax and the mask of a call with queries and keys [(batch,) heads, n, head_dim].
func attentionRule(_ options: tamis_attention_options, q: TensorView, k: TensorView)
  throws(TamisError) -> (AttentionRule, DenseMask)
{
  let n = q.ndim
  let mask = try placement(options, queries: q.shape[n - 2], keys: k.shape[n - 2])
  let rule = try softmaxRule(
    scale: options.scale, softcap: options.softcap, window: options.window, headDim: q.shape[n - 1], bias: options.key0_bias,
    heads: q.shape[n - 3])
  return (rule, mask)
}

/// Where queries stand among the keys, and by which products they meet.
func placement(_ options: tamis_attention_options, queries: Int, keys: Int) throws(TamisError) -> DenseMask {
  let causal = try flag(options.causal, "options->causal")
  let atEnd = options.q_offset == Int64.min
  let limit = Int64(1) << 47
  try require(
    atEnd || options.q_offset.magnitude <= limit.magnitude,
    "options->q_offset is \(options.q_offset); expected TAMIS_AT_END or \(-limit) to \(limit)")
  try require((0...2).contains(options.compute), "options->compute is \(options.compute); expected TAMIS_COMPUTE_AUTO to TAMIS_COMPUTE_BLAS")
  return DenseMask(
    causal: causal, queryOffset: atEnd ? keys - queries : Int(options.q_offset),
    blas: options.compute == TAMIS_COMPUTE_BLAS, f32Products: options.compute == TAMIS_COMPUTE_F32)
}

func softmaxRule(
  scale: Float, softcap: Float, window: Int64, headDim: Int, bias: UnsafePointer<Float>?, heads: Int
) throws(TamisError) -> AttentionRule {
  var rule = AttentionRule(scale: try resolvedScale(scale, headDim: headDim))
  rule.softcap = try finite(softcap, "options->softcap")
  rule.window = try windowLength(window)
  if bias != nil {
    rule.keyZeroBias = try need(bias, "options->key0_bias")
    try requireExtent(rule.keyZeroBias!, heads, "options->key0_bias")
  }
  return rule
}

/// 0 is 1 / sqrt(head_dim).
private func resolvedScale(_ scale: Float, headDim: Int) throws(TamisError) -> Float {
  let scale = try finite(scale, "options->scale", from: -.greatestFiniteMagnitude)
  return scale == 0 ? 1 / Float(headDim).squareRoot() : scale
}

/// A window beyond any sequence is as good as none, and must not overflow a sum of positions.
func windowLength(_ window: Int64) throws(TamisError) -> Int {
  try require(window >= 0, "options->window is \(window); expected at least 0 (none)")
  return Int(min(window, 1 << 48))
}

private func mergeParts(
  _ n: Int, _ parts: UnsafePointer<tamis_tensor>?, _ part_lse: UnsafePointer<tamis_tensor>?, _ out: TensorArgument,
  _ lse: TensorArgument
) throws(TamisError) -> (parts: [TensorView], lse: [TensorView]) {
  let parts = try need(parts, "parts")
  let partLSE = try need(part_lse, "part_lse")
  try requireExtent(parts, n, "parts")
  try requireExtent(partLSE, n, "part_lse")
  var views: (parts: [TensorView], lse: [TensorView]) = ([], [])
  for i in 0..<n {
    let part = try tensor(parts + i, "parts[i]", TensorRule(dtypes: .f32, ndim: 2...6))
    let one = try tensor(partLSE + i, "part_lse[i]", TensorRule(dtypes: .f32, ndim: 1...5))
    try requireShape(of: part, like: out)
    try requireShape(of: one, like: lse)
    try requireApartOrSame(out, part)
    try requireApartOrSame(lse, one)
    try requireApart(out, one)
    try requireApart(lse, part)
    views.parts.append(part.view)
    views.lse.append(one.view)
  }
  return views
}
