import CTamis
import Tamis

/// Which dtypes a tensor argument may have.
struct DTypes: OptionSet {
  let rawValue: UInt8
  init(rawValue: UInt8) { self.rawValue = rawValue }
  init(_ dtype: DType) { rawValue = 1 << UInt8(truncatingIfNeeded: dtype.rawValue) }

  static let f32 = DTypes(.f32)
  static let floats: DTypes = [.f32, DTypes(.f16), DTypes(.bf16)]
  static let storage: DTypes = [floats, DTypes(.i8)]

  var names: String {
    [DType.f32, .f16, .bf16, .i8, .i32].filter { contains(DTypes($0)) }.map(\.name).joined(separator: ", ")
  }
}

/// What the header says of one tensor argument.
struct TensorRule {
  var dtypes: DTypes
  var ndim: ClosedRange<Int>
  /// Elements of the last dimension must be neighbours.
  var contiguousRows = false
  /// Written to: positive strides, no element twice.
  var output = false
  /// What a dtype outside `dtypes` is, as the function's list of errors has it.
  var otherDType = Status.invalidArgument
}

/// A tensor argument after every check that needs no other argument.
struct TensorArgument {
  let name: StaticString
  let view: TensorView
  /// Byte addresses from the lowest to past the highest element.
  let bytes: Range<UInt>
  /// The same of the scales of an i8 tensor.
  let scaleBytes: Range<UInt>?
}

func tensor(_ pointer: UnsafePointer<tamis_tensor>?, _ name: StaticString, _ rule: TensorRule)
  throws(TamisError) -> TensorArgument
{
  let raw = try need(pointer, name).pointee
  guard let dtype = DType(rawValue: raw.dtype) else {
    throw .invalid("\(name)->dtype is \(raw.dtype); expected \(rule.dtypes.names)")
  }
  guard rule.dtypes.contains(DTypes(dtype)) else {
    throw TamisError(rule.otherDType, "\(name)->dtype is \(dtype.name); expected \(rule.dtypes.names)")
  }
  try require(
    rule.ndim.contains(Int(raw.ndim)),
    "\(name)->ndim is \(raw.ndim); expected \(rule.ndim.lowerBound) to \(rule.ndim.upperBound)")
  guard let data = raw.data else { throw .invalid("\(name)->data is NULL; expected an address") }
  if UInt(bitPattern: data) % UInt(dtype.size) != 0 {
    throw .invalid("\(name)->data is \(hex(UInt(bitPattern: data))); expected an address aligned to \(dtype.size) bytes")
  }

  var view = TensorView(data, dtype)
  view.ndim = Int(raw.ndim)
  try fillShape(&view, raw.shape, name)
  fillStrides(&view.stride, raw.stride, view, dims: view.ndim)
  let last = view.ndim - 1
  try require(
    !(rule.contiguousRows || dtype == .i8) || view.stride[last] == 1,
    "\(name)->stride[\(last)] is \(view.stride[last]); expected 1: rows must be contiguous")
  if rule.output { try requireDistinct(view.stride, view, dims: view.ndim, name, "stride") }
  let bytes = try extent(of: view.stride, view, dims: view.ndim, base: UInt(bitPattern: data), size: dtype.size, name, "stride")

  guard dtype == .i8, let scale = raw.scale else {
    return TensorArgument(name: name, view: view, bytes: bytes, scaleBytes: nil)
  }
  if UInt(bitPattern: scale) % 4 != 0 {
    throw .invalid("\(name)->scale is \(hex(UInt(bitPattern: scale))); expected an address aligned to 4 bytes")
  }
  view.scale = UnsafeMutablePointer(mutating: scale)
  fillStrides(&view.scaleStride, raw.scale_stride, view, dims: last)
  if rule.output { try requireDistinct(view.scaleStride, view, dims: last, name, "scale_stride") }
  let scaleBytes = try extent(
    of: view.scaleStride, view, dims: last, base: UInt(bitPattern: scale), size: 4, name, "scale_stride")
  return TensorArgument(name: name, view: view, bytes: bytes, scaleBytes: scaleBytes)
}

/// A tensor argument that may be NULL.
func optionalTensor(_ pointer: UnsafePointer<tamis_tensor>?, _ name: StaticString, _ rule: TensorRule)
  throws(TamisError) -> TensorArgument?
{
  pointer == nil ? nil : try tensor(pointer, name, rule)
}

extension TensorView {
  /// One element at `data`; the fields are filled in by `tensor`.
  fileprivate init(_ data: UnsafeMutableRawPointer, _ dtype: DType) {
    self.init(data, dtype, shape: [])
  }

  var dims: String { "[" + (0..<ndim).map { "\(shape[$0])" }.joined(separator: ", ") + "]" }
}

private typealias SixInts = (Int64, Int64, Int64, Int64, Int64, Int64)

/// Elements of one tensor at most: 2^47, so that sizes in bytes and sums of them stay in range.
private let elementLimit = 1 << 47

private func fillShape(_ view: inout TensorView, _ shape: SixInts, _ name: StaticString) throws(TamisError) {
  var elements = 1
  for i in 0..<view.ndim {
    let n = at(shape, i)
    try require(n >= 1 && n <= countLimit, "\(name)->shape[\(i)] is \(n); expected 1 to \(countLimit)")
    view.shape[i] = n
    let (product, overflow) = elements.multipliedReportingOverflow(by: n)
    try require(
      !overflow && product <= elementLimit,
      "\(name)->shape[\(i)] is \(n), which makes too many elements; expected at most \(elementLimit) in all")
    elements = product
  }
}

/// A dimension of one element never uses its stride: it gets that of a packed tensor, so that nonsense there harms nobody.
private func fillStrides(_ stride: inout InlineArray<6, Int>, _ raw: SixInts, _ view: TensorView, dims: Int) {
  var packed = 1
  for i in Swift.stride(from: dims - 1, through: 0, by: -1) {
    stride[i] = view.shape[i] == 1 ? packed : at(raw, i)
    packed *= view.shape[i]
  }
}

/// Addresses from the lowest element to past the highest; all must lie in the address space.
private func extent(
  of stride: InlineArray<6, Int>, _ view: TensorView, dims: Int, base: UInt, size: Int, _ name: StaticString,
  _ field: StaticString
) throws(TamisError) -> Range<UInt> {
  var low = 0
  var high = size
  for i in 0..<dims {
    let (elements, overflow) = stride[i].multipliedReportingOverflow(by: view.shape[i] - 1)
    let (bytes, overflow2) = elements.multipliedReportingOverflow(by: size)
    let (sum, overflow3) = (bytes < 0 ? low : high).addingReportingOverflow(bytes)
    try require(
      !(overflow || overflow2 || overflow3) && sum.magnitude <= addressLimit,
      "\(name)->\(field)[\(i)] is \(stride[i]) over \(view.shape[i]) elements; expected a range inside the address space")
    if bytes < 0 { low = sum } else { high = sum }
  }
  try require(
    base <= addressLimit && base >= low.magnitude && UInt(high) <= addressLimit - base,
    "\(name)->data is \(hex(base)), from where \(low) to \(high) bytes are reached; expected a range inside the address space")
  return (base - low.magnitude)..<(base + UInt(high))
}

/// No element of an output twice: taken from the smallest stride up, each stride steps over all that lies below it.
private func requireDistinct(
  _ stride: InlineArray<6, Int>, _ view: TensorView, dims: Int, _ name: StaticString, _ field: StaticString
) throws(TamisError) {
  var reach = 0
  var done: UInt8 = 0
  for _ in 0..<dims {
    var next = -1
    for i in 0..<dims where view.shape[i] > 1 && done & (1 << UInt8(i)) == 0 {
      if next < 0 || stride[i] < stride[next] { next = i }
    }
    if next < 0 { return }
    try require(
      stride[next] > reach,
      "\(name)->\(field)[\(next)] is \(stride[next]); expected more than \(reach): an output must not overlap itself")
    let (span, overflow) = stride[next].multipliedReportingOverflow(by: view.shape[next] - 1)
    let (sum, overflow2) = span.addingReportingOverflow(reach)
    try require(
      !overflow && !overflow2,
      "\(name)->\(field)[\(next)] is \(stride[next]) over \(view.shape[next]) elements; expected a range inside the address space"
    )
    reach = sum
    done |= 1 << UInt8(next)
  }
}

private func at(_ values: SixInts, _ i: Int) -> Int {
  switch i {
  case 0: Int(values.0)
  case 1: Int(values.1)
  case 2: Int(values.2)
  case 3: Int(values.3)
  case 4: Int(values.4)
  default: Int(values.5)
  }
}
