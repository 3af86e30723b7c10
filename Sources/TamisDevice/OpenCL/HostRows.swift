import CShims
import TamisCore

/// Rows of host tensors [heads, n, d] on their way to and from the device, where they lie packed.
enum HostRows {
  /// Bytes of `count` packed rows of each head.
  static func bytes(_ view: TensorView, count: Int) -> Int { view.shape[0] * count * view.shape[2] * view.dtype.size }

  /// Whether rows [start, start + count) of all heads already lie packed.
  static func isPacked(_ view: TensorView, count: Int) -> Bool {
    let d = view.shape[2]
    return (view.stride[2] == 1 || d == 1) && (view.stride[1] == d || count <= 1)
      && (view.stride[0] == count * d || view.shape[0] <= 1)
  }

  /// Copies rows [start, start + count) as they are.
  static func pack(_ view: TensorView, from start: Int, count: Int, to bytes: UnsafeMutableRawPointer) {
    let d = view.shape[2], size = view.dtype.size
    for h in 0..<view.shape[0] {
      for t in 0..<count {
        let from = view.row(h, start + t), to = bytes + (h * count + t) * d * size
        if view.stride[2] == 1 || d == 1 {
          to.copyMemory(from: from, byteCount: d * size)
        } else {
          for i in 0..<d { (to + i * size).copyMemory(from: from + i * view.stride[2] * size, byteCount: size) }
        }
      }
    }
  }

  /// The scales of rows [start, start + count) of an i8 view.
  static func packScales(_ view: TensorView, from start: Int, count: Int, to scales: UnsafeMutablePointer<Float>) {
    for h in 0..<view.shape[0] {
      for t in 0..<count { scales[h * count + t] = view.rowScale(h, start + t) }
    }
  }

  /// Every row of an f32, f16 or bf16 view as f32.
  static func packFloats(_ view: TensorView, to floats: UnsafeMutablePointer<Float>) {
    let n = view.shape[1], d = view.shape[2]
    for h in 0..<view.shape[0] {
      for t in 0..<n {
        let to = floats + (h * n + t) * d
        if view.stride[2] == 1 {
          convert(view.row(h, t), view.dtype, to: to, d)
        } else {
          let from = view.row(h, t)
          for i in 0..<d { convert(from + i * view.stride[2] * view.dtype.size, view.dtype, to: to + i, 1) }
        }
      }
    }
  }

  /// Writes packed f32 rows [heads][count][d] to rows [start, start + count) of an f32, f16 or bf16 view.
  static func unpack(_ floats: UnsafePointer<Float>, to view: TensorView, at start: Int, count: Int) {
    let d = view.shape[2], size = view.dtype.size
    for h in 0..<view.shape[0] {
      for t in 0..<count {
        let from = floats + (h * count + t) * d, to = view.row(h, start + t)
        if view.stride[2] == 1 {
          convert(from, to: to, view.dtype, d)
        } else {
          for i in 0..<d { convert(from + i, to: to + i * view.stride[2] * size, view.dtype, 1) }
        }
      }
    }
  }

  static func convert(_ from: UnsafeRawPointer, _ dtype: DType, to: UnsafeMutablePointer<Float>, _ n: Int) {
    switch dtype {
    case .f16: Kernels.active.pointee.f16_to_f32(from.assumingMemoryBound(to: UInt16.self), to, n)
    case .bf16: Kernels.active.pointee.bf16_to_f32(from.assumingMemoryBound(to: UInt16.self), to, n)
    case .f32, .i8, .i32: UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: n * 4)
    }
  }

  static func convert(_ from: UnsafePointer<Float>, to: UnsafeMutableRawPointer, _ dtype: DType, _ n: Int) {
    switch dtype {
    case .f16: Kernels.active.pointee.f32_to_f16(from, to.assumingMemoryBound(to: UInt16.self), n)
    case .bf16: Kernels.active.pointee.f32_to_bf16(from, to.assumingMemoryBound(to: UInt16.self), n)
    case .f32, .i8, .i32: to.copyMemory(from: from, byteCount: n * 4)
    }
  }
}
