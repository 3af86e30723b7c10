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
      for t in 0..<n { view.loadRow(h, t, to: floats + (h * n + t) * d, Kernels.active) }
    }
  }

  /// Writes packed f32 rows [heads][count][d] to rows [start, start + count) of an f32, f16 or bf16 view.
  static func unpack(_ floats: UnsafePointer<Float>, to view: TensorView, at start: Int, count: Int) {
    let d = view.shape[2]
    for h in 0..<view.shape[0] {
      for t in 0..<count { view.storeRow(h, start + t, from: floats + (h * count + t) * d, Kernels.active) }
    }
  }
}
