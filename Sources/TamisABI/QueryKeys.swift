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
    try checkHeads(self.q, self.k)
  }
}

/// Batch, heads and head_dim of queries and keys [(batch,) heads, n, head_dim] against each other.
func checkHeads(_ q: TensorArgument, _ k: TensorArgument) throws(TamisError) {
  let (a, b, h) = (q.view, k.view, q.view.ndim - 3)
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

/// The softmax and the mask of `options`, an argument that is called `attention`, for these queries and keys.
func sparseRule(_ attention: UnsafePointer<tamis_attention_options>?, q: TensorView, k: TensorView)
  throws(TamisError) -> (AttentionRule, DenseMask)
{
  let options = try read(attention, "attention")
  do throws(TamisError) {
    return try attentionRule(options, q: q, k: k)
  } catch {
    let prefix = "options->"
    let message = error.message
    throw TamisError(error.status, message.hasPrefix(prefix) ? "attention->" + message.dropFirst(prefix.count) : message)
  }
}
