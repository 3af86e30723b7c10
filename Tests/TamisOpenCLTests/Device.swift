import Testing

@testable import TamisDevice
import TamisCore

/// All tests of this module run one after another: they share one device, and a backend is not thread-safe.
@Suite(.serialized) enum OpenCLTests {}

/// The device under test.
enum Device {
  nonisolated(unsafe) static let backend: OpenCLBackend? = try? OpenCLBackend(index: 0, cache: ProgramCache(folder: nil))
  static var isThere: Bool { backend != nil }
}

extension Trait where Self == ConditionTrait {
  /// Skips where there is no device.
  static var needsDevice: Self { .enabled(if: Device.isThere, "this machine has no OpenCL device") }
}

/// SplitMix64; test data.
struct Random {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// Uniform in [-1, 1).
  mutating func unit() -> Float { Float(Int64(next() >> 40)) / Float(1 << 23) - 1 }
  mutating func array(_ n: Int) -> [Float] { (0..<n).map { _ in unit() } }
  mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
}

/// A host tensor that owns its memory.
final class HostTensor {
  let view: TensorView
  private let memory: UnsafeMutableRawPointer
  private let scales: UnsafeMutablePointer<Float>?

  /// f32 values in any dtype. i8 rows get a scale of their own, max|x| / 127 over finite values.
  init(_ values: [Float], _ shape: [Int], _ dtype: DType = .f32) {
    memory = .allocate(byteCount: max(values.count * dtype.size, 1), alignment: 64)
    let d = shape.last!
    switch dtype {
    case .f32: for (i, x) in values.enumerated() { memory.storeBytes(of: x, toByteOffset: i * 4, as: Float.self) }
    case .f16:
      for (i, x) in values.enumerated() { memory.storeBytes(of: Float16(x).bitPattern, toByteOffset: i * 2, as: UInt16.self) }
    case .bf16: for (i, x) in values.enumerated() { memory.storeBytes(of: bf16(x), toByteOffset: i * 2, as: UInt16.self) }
    case .i8, .i32: break
    }
    if dtype == .i8 {
      let scales = UnsafeMutablePointer<Float>.allocate(capacity: max(values.count / d, 1))
      for row in 0..<(values.count / d) {
        let (bytes, scale) = quantized(Array(values[(row * d)..<((row + 1) * d)]))
        scales[row] = scale
        for i in 0..<d { memory.storeBytes(of: bytes[i], toByteOffset: row * d + i, as: Int8.self) }
      }
      self.scales = scales
    } else {
      scales = nil
    }
    view = TensorView(memory, dtype, shape: shape, scale: scales)
  }

  convenience init(_ shape: [Int], _ dtype: DType = .f32) {
    self.init([Float](repeating: -77, count: shape.reduce(1, *)), shape, dtype)
  }

  deinit {
    memory.deallocate()
    scales?.deallocate()
  }

  /// The elements as f32, without scales.
  var floats: [Float] {
    let n = (0..<view.ndim).reduce(1) { $0 * view.shape[$1] }
    return (0..<n).map { i in
      switch view.dtype {
      case .f32: memory.load(fromByteOffset: i * 4, as: Float.self)
      case .f16: Float(Float16(bitPattern: memory.load(fromByteOffset: i * 2, as: UInt16.self)))
      case .bf16: Float(bitPattern: UInt32(memory.load(fromByteOffset: i * 2, as: UInt16.self)) << 16)
      case .i8, .i32: 0
      }
    }
  }
}

/// Round to nearest even, by the number and its two neighbours: not the bit trick under test.
func bf16(_ x: Float) -> UInt16 {
  if x.isNaN { return 0x7fc0 }
  let low = UInt16(x.bitPattern >> 16)
  let below = Float(bitPattern: UInt32(low) << 16)
  if below == x || x.isInfinite { return low }
  // Past the largest bf16 the next number would be 2^128, which stands for infinity.
  let above = (low & 0x7fff) == 0x7f7f ? (x < 0 ? -0x1p128 : 0x1p128) : Double(Float(bitPattern: (UInt32(low) + 1) << 16))
  let down = abs(Double(x) - Double(below)), up = abs(above - Double(x))
  return down < up || (down == up && low % 2 == 0) ? low : low + 1
}

func quantized(_ row: [Float]) -> (bytes: [Int8], scale: Float) {
  let top = row.filter(\.isFinite).map(abs).max() ?? 0
  let scale = top / 127
  return (row.map { !$0.isFinite || scale == 0 ? 0 : Int8(max(-127, min(127, ($0 / scale).rounded(.toNearestOrEven)))) }, scale)
}

/// What a cache of this dtype holds after storing the row.
func stored(_ row: [Float], _ dtype: DType) -> [Float] {
  switch dtype {
  case .f16: return row.map { Float(Float16($0)) }
  case .bf16: return row.map { Float(bitPattern: UInt32(bf16($0)) << 16) }
  case .i8:
    let (bytes, scale) = quantized(row)
    return bytes.map { Float($0) * scale }
  case .f32, .i32: return row
  }
}

/// The same of every row of [.., d].
func stored(_ values: [Float], rows d: Int, _ dtype: DType) -> [Float] {
  Swift.stride(from: 0, to: values.count, by: d).flatMap { stored(Array(values[$0..<($0 + d)]), dtype) }
}

/// [a][b][d] to [b][a][d].
func swapped(_ x: [Float], _ a: Int, _ b: Int, _ d: Int) -> [Float] {
  var y = [Float](repeating: 0, count: x.count)
  for i in 0..<a {
    for j in 0..<b {
      for e in 0..<d { y[(j * a + i) * d + e] = x[(i * b + j) * d + e] }
    }
  }
  return y
}
