/// Element types of tensors and caches; raw values are those of `tamis_dtype`.
public enum DType: Int32, Sendable {
  case f32 = 0
  case f16 = 1
  case bf16 = 2
  /// value = int8 * scale of its row
  case i8 = 3
  case i32 = 4

  @inlinable public var size: Int {
    switch self {
    case .f32, .i32: 4
    case .f16, .bf16: 2
    case .i8: 1
    }
  }
  public var isFloat: Bool { self == .f32 || self == .f16 || self == .bf16 }
  public var name: String {
    switch self {
    case .f32: "f32"
    case .f16: "f16"
    case .bf16: "bf16"
    case .i8: "i8"
    case .i32: "i32"
    }
  }
}

/// A strided view of memory somebody else owns: `tamis_tensor`, already validated. Strides are in elements.
public struct TensorView: @unchecked Sendable {
  public static let maxDims = 6

  public var data: UnsafeMutableRawPointer
  public var dtype: DType
  public var ndim: Int
  public var shape: InlineArray<6, Int>
  public var stride: InlineArray<6, Int>
  /// One scale per row (last dimension) of an i8 tensor; nil means 1.
  public var scale: UnsafeMutablePointer<Float>?
  public var scaleStride: InlineArray<6, Int>

  public init(
    _ data: UnsafeMutableRawPointer, _ dtype: DType, shape: [Int], stride: [Int]? = nil,
    scale: UnsafeMutablePointer<Float>? = nil, scaleStride: [Int]? = nil
  ) {
    self.data = data
    self.dtype = dtype
    ndim = shape.count
    self.shape = .init(repeating: 1)
    self.stride = .init(repeating: 0)
    self.scaleStride = .init(repeating: 0)
    self.scale = scale
    var step = 1
    for i in descending(ndim) {
      self.shape[i] = shape[i]
      self.stride[i] = stride?[i] ?? step
      step &*= shape[i]
    }
    step = 1
    for i in descending(ndim - 1) {
      self.scaleStride[i] = scaleStride?[i] ?? step
      step &*= shape[i]
    }
  }

  /// Rows of a [heads, n, d] view: the address of row (h, t).
  @inlinable public func row(_ h: Int, _ t: Int) -> UnsafeMutableRawPointer {
    data + (h &* stride[0] &+ t &* stride[1]) &* dtype.size
  }

  /// The scale of row (h, t) of a [heads, n, d] i8 view.
  @inlinable public func rowScale(_ h: Int, _ t: Int) -> Float {
    scale.map { $0[h &* scaleStride[0] &+ t &* scaleStride[1]] } ?? 1
  }

  /// Drops the leading dimension by fixing its index.
  public func slice(_ i: Int) -> TensorView {
    var view = self
    view.data += i * stride[0] * dtype.size
    view.scale = scale.map { $0 + i * scaleStride[0] }
    view.ndim = ndim - 1
    for d in 0..<(Self.maxDims - 1) {
      view.shape[d] = shape[d + 1]
      view.stride[d] = stride[d + 1]
      view.scaleStride[d] = scaleStride[d + 1]
    }
    return view
  }

  /// Elements [start, start + count) of dimension `dim`.
  public func narrowed(_ dim: Int, from start: Int, count: Int) -> TensorView {
    var view = self
    view.data += start * stride[dim] * dtype.size
    view.scale = scale.map { $0 + start * scaleStride[dim] }
    view.shape[dim] = count
    return view
  }
}

@inline(__always) private func descending(_ n: Int) -> StrideThrough<Int> { Swift.stride(from: n - 1, through: 0, by: -1) }
