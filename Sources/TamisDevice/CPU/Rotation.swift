import CShims
import TamisCore

/// RoPE at use. Within a block of consecutive positions keys turn by their place in the block, with a table small enough for
/// the first-level cache, and the query turns by (its position - the block's start): the product depends on the difference
/// only. Selected tokens at natural positions have a table of their own, made once per call for all heads.
struct Rotation {
  /// Consecutive places that share one query rotation.
  static let span = 32

  let rope: RoPE
  let half: Int
  let frequency: UnsafeMutablePointer<Double>
  let cos: UnsafeMutablePointer<Float>
  let sin: UnsafeMutablePointer<Float>
  /// [selectedCount][half], absolute angles; nil unless positions are natural.
  var selectedCos: UnsafeMutablePointer<Float>?
  var selectedSin: UnsafeMutablePointer<Float>?

  static func bytes(_ rope: RoPE, selected: Int) -> Int {
    let half = rope.isNone ? 0 : rope.rotaryDims / 2
    return Scratch.bytes(Double.self, half) + 2 * Scratch.bytes(Float.self, half * span)
      + 2 * Scratch.bytes(Float.self, half * selected)
  }

  /// `selected`: how many places need absolute angles; the caller fills them with `fillSelected`.
  init(_ rope: RoPE, selected: Int, in scratch: Scratch, _ table: UnsafePointer<tk_table>) {
    self.rope = rope
    half = rope.isNone ? 0 : rope.rotaryDims / 2
    frequency = scratch.take(Double.self, half)
    cos = scratch.take(Float.self, half * Self.span)
    sin = scratch.take(Float.self, half * Self.span)
    if half == 0 { return }
    for i in 0..<half { frequency[i] = rope.frequency(i) }
    for t in 0..<Self.span { table.pointee.angles(Double(t), frequency, half, cos + t * half, sin + t * half) }
    if selected > 0 {
      selectedCos = scratch.take(Float.self, half * selected)
      selectedSin = scratch.take(Float.self, half * selected)
    }
  }

  func fillSelected(_ tokens: UnsafePointer<Int32>, _ range: Range<Int>, _ table: UnsafePointer<tk_table>) {
    for i in range {
      table.pointee.angles(Double(tokens[i]), frequency, half, selectedCos! + i * half, selectedSin! + i * half)
    }
  }

  /// Turns n rows in place; row t by table row t (stride `half`) or all by the first (stride 0).
  func turn(
    _ x: UnsafeMutablePointer<Float>, _ n: Int, _ d: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, stride: Int,
    _ table: UnsafePointer<tk_table>
  ) {
    if rope.style == .half {
      table.pointee.rotate_half(x, n, Int32(d), Int32(half), c, s, stride)
    } else {
      table.pointee.rotate_interleaved(x, n, Int32(d), Int32(half), c, s, stride)
    }
  }
}
