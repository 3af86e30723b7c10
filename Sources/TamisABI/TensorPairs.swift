import Tamis

// Rules between two tensor arguments: shapes that must fit, memory that must not.

/// Memory of an output shared with another argument, judged by the ranges from lowest to highest address.
func requireApart(_ output: TensorArgument, _ other: TensorArgument) throws(TamisError) {
  try requireApart(output.bytes, other.bytes, output.name, other.name)
  if let scales = output.scaleBytes { try requireApart(scales, other.bytes, output.name, other.name) }
  if let scales = other.scaleBytes {
    try requireApart(output.bytes, scales, output.name, other.name)
    if let mine = output.scaleBytes { try requireApart(mine, scales, output.name, other.name) }
  }
}

func requireApart(_ output: TensorArgument, _ a: TensorArgument, _ b: TensorArgument, _ c: TensorArgument)
  throws(TamisError)
{
  try requireApart(output, a)
  try requireApart(output, b)
  try requireApart(output, c)
}

/// As `requireApart`, but the output may be the other tensor itself.
func requireApartOrSame(_ output: TensorArgument, _ other: TensorArgument) throws(TamisError) {
  let a = output.view
  let b = other.view
  var same = a.data == b.data && a.dtype == b.dtype && a.ndim == b.ndim
  for i in 0..<TensorView.maxDims { same = same && a.shape[i] == b.shape[i] && a.stride[i] == b.stride[i] }
  if !same { try requireApart(output, other) }
}

/// The same for an output that is an array.
func requireApart<T>(_ output: UnsafeMutableBufferPointer<T>, _ name: StaticString, _ other: TensorArgument) throws(TamisError) {
  try requireApart(extent(UnsafeRawBufferPointer(output)), other.bytes, name, other.name)
}

func requireApart<T>(
  _ output: UnsafeMutableBufferPointer<T>, _ name: StaticString, _ other: UnsafeRawBufferPointer, _ otherName: StaticString
) throws(TamisError) {
  try requireApart(extent(UnsafeRawBufferPointer(output)), extent(other), name, otherName)
}

private func extent(_ bytes: UnsafeRawBufferPointer) -> Range<UInt> {
  let base = UInt(bitPattern: bytes.baseAddress)
  return base..<(base + UInt(bytes.count))
}

func requireApart(_ a: Range<UInt>, _ b: Range<UInt>, _ output: StaticString, _ other: StaticString)
  throws(TamisError)
{
  try require(
    !a.overlaps(b),
    "\(output) is \(hex(a.lowerBound)) to \(hex(a.upperBound)), which overlaps \(other) at \(hex(b.lowerBound)) to \(hex(b.upperBound)); expected separate memory")
}

/// `tensor` has the first `dims` extents of `model`.
func requireShape(of tensor: TensorArgument, like model: TensorArgument, dims: Int? = nil) throws(TamisError) {
  let expected = dims ?? model.view.ndim
  var same = tensor.view.ndim == expected
  for i in 0..<min(expected, TensorView.maxDims) { same = same && tensor.view.shape[i] == model.view.shape[i] }
  guard same else {
    var want = model.view
    want.ndim = expected
    throw .invalid("\(tensor.name) is \(tensor.view.dims); expected \(want.dims), to fit \(model.name)")
  }
}

func requireNDim(of tensor: TensorArgument, like model: TensorArgument) throws(TamisError) {
  try require(
    tensor.view.ndim == model.view.ndim,
    "\(tensor.name)->ndim is \(tensor.view.ndim); expected \(model.view.ndim), as \(model.name) has")
}
