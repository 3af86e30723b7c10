import CTamis
import Tamis

/// Queries and keys of one call, checked singly and against each other.
struct QueryKeys {
  let q, k: TensorArgument

  init(q: UnsafePointer<tamis_tensor>?, k: UnsafePointer<tamis_tensor>?) throws(TamisError) {
    self.q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...4, otherDType: .unsupported))
    self.k = try tensor(
      k, "k", TensorRule(dtypes: .storage, ndim: 3...4, contiguousRows: true, otherDType: .unsupported))
    try requireNDim(of: self.k, like: self.q)
    let (a, b, h) = (self.q.view, self.k.view, self.q.view.ndim - 3)
    if h == 1 { try require(b.shape[0] == a.shape[0], "k->shape[0] is \(b.shape[0]); expected \(a.shape[0]), the batch of q") }
    try require(
      a.shape[h] % b.shape[h] == 0,
      "q->shape[\(h)] is \(a.shape[h]) heads; expected a multiple of the \(b.shape[h]) heads of k")
    let dim = a.shape[h + 2]
    try require(b.shape[h + 2] == dim, "k->shape[\(h + 2)] is \(b.shape[h + 2]); expected \(dim), the head_dim of q")
    guard dim % 8 == 0, dim <= 256 else {
      throw TamisError(.unsupported, "q->shape[\(h + 2)] is \(dim), the head_dim; expected a multiple of 8 from 8 to 256")
    }
  }
}

/// The softmax and the mask of `options`, an argument that is called `attention`, for these queries and keys.
func sparseRule(_ attention: UnsafePointer<tamis_attention_options>?, q: TensorView, k: TensorView)
  throws(TamisError) -> (AttentionRule, DenseMask)
{
  let options = try read(attention, "attention")
  let n = q.ndim
  do throws(TamisError) {
    let mask = try placement(options, queries: q.shape[n - 2], keys: k.shape[n - 2])
    let rule = try softmaxRule(
      scale: options.scale, softcap: options.softcap, window: options.window, headDim: q.shape[n - 1],
      bias: options.key0_bias, heads: q.shape[n - 3])
    return (rule, mask)
  } catch {
    let prefix = "options->"
    let message = error.message
    throw TamisError(error.status, message.hasPrefix(prefix) ? "attention->" + message.dropFirst(prefix.count) : message)
  }
}
