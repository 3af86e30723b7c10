import CShims
import TamisCore

/// Queries of one chunk as rows of f32, whatever the dtype and strides of the tensor [heads, n, headDim] behind.
struct ChunkQueries {
  let q: TensorView
  /// Room for one row of f32 and one of 16-bit values.
  private let row: UnsafeMutablePointer<Float>
  private let bits: UnsafeMutablePointer<UInt16>

  /// `room` holds 2 * headDim floats.
  init(_ q: TensorView, room: UnsafeMutablePointer<Float>) {
    self.q = q
    row = room
    bits = UnsafeMutableRawPointer(room + q.shape[2]).assumingMemoryBound(to: UInt16.self)
  }

  var heads: Int { q.shape[0] }
  var count: Int { q.shape[1] }
  var headDim: Int { q.shape[2] }

  /// Valid until the next call.
  func row(_ h: Int, _ t: Int) -> UnsafePointer<Float> {
    let d = headDim
    let step = q.stride[2]
    let data = q.row(h, t)
    if q.dtype == .f32 {
      let values = data.assumingMemoryBound(to: Float.self)
      if step == 1 { return UnsafePointer(values) }
      for i in 0..<d { row[i] = values[i * step] }
      return UnsafePointer(row)
    }
    var values = UnsafePointer(data.assumingMemoryBound(to: UInt16.self))
    if step != 1 {
      for i in 0..<d { bits[i] = values[i * step] }
      values = UnsafePointer(bits)
    }
    let kernels = Kernels.active.pointee
    if q.dtype == .f16 { kernels.f16_to_f32(values, row, d) } else { kernels.bf16_to_f32(values, row, d) }
    return UnsafePointer(row)
  }
}

/// R(x, first + t) for small t, from a table that grows with the longest chunk seen.
struct Rotation {
  private let rope: RoPE
  private let first: Int
  private var table: Scratch
  private var places = 0

  init(_ rope: RoPE, first: Int) {
    self.rope = rope
    self.first = first
    table = Scratch()
  }

  private var half: Int { rope.rotaryDims / 2 }
  private var cosines: UnsafeMutablePointer<Float> { table.base.assumingMemoryBound(to: Float.self) }
  private var sines: UnsafeMutablePointer<Float> { cosines + places * half }

  /// Makes places 0 ..< count available.
  mutating func reserve(_ count: Int) {
    if rope.isNone || count <= places { return }
    table.reset(reserving: 2 * count * half * MemoryLayout<Float>.stride)
    places = count
    rope.fill(first: first, count: count, cos: cosines, sin: sines)
  }

  /// sum += R(x, first + place); plain x without a RoPE rule.
  func add(_ x: UnsafePointer<Float>, place: Int, to sum: UnsafeMutablePointer<Float>, _ d: Int) {
    if rope.isNone {
      for i in 0..<d { sum[i] += x[i] }
      return
    }
    let half = half
    let c = cosines + place * half
    let s = sines + place * half
    if rope.style == .half {
      for i in 0..<half {
        sum[i] += x[i] * c[i] - x[i + half] * s[i]
        sum[i + half] += x[i + half] * c[i] + x[i] * s[i]
      }
    } else {
      for i in 0..<half {
        sum[2 * i] += x[2 * i] * c[i] - x[2 * i + 1] * s[i]
        sum[2 * i + 1] += x[2 * i + 1] * c[i] + x[2 * i] * s[i]
      }
    }
    for i in 2 * half..<d { sum[i] += x[i] }
  }
}
