import CShims
import TamisCore

/// Queries of one chunk as rows of f32, whatever the dtype and strides of the tensor [heads, n, headDim] behind.
struct ChunkQueries {
  let q: TensorView
  private let room: UnsafeMutablePointer<Float>

  /// `room` holds headDim floats.
  init(_ q: TensorView, room: UnsafeMutablePointer<Float>) {
    self.q = q
    self.room = room
  }

  var heads: Int { q.shape[0] }
  var count: Int { q.shape[1] }
  var headDim: Int { q.shape[2] }

  /// A copy that the caller may change, valid until the next call.
  func row(_ h: Int, _ t: Int) -> UnsafeMutablePointer<Float> {
    q.loadRow(h, t, to: room, Kernels.active)
    return room
  }
}

/// R(x, first + place): the rotation under which the query at a place of its chunk scores. Nothing without a RoPE rule.
final class ScoringRotation {
  private let style: RoPE.Style
  private let first: Int
  private let half: Int
  private let frequency: UnsafeMutablePointer<Double>
  private let cosines: UnsafeMutablePointer<Float>
  private let sines: UnsafeMutablePointer<Float>
  /// The place that the cosines and sines belong to.
  private var place = -1

  init(_ rope: RoPE, first: Int) {
    style = rope.style
    self.first = first
    half = rope.isNone ? 0 : rope.rotaryDims / 2
    frequency = .allocate(capacity: half)
    for i in 0..<half { frequency[i] = rope.frequency(i) }
    cosines = .allocate(capacity: half)
    sines = .allocate(capacity: half)
  }

  deinit {
    frequency.deallocate()
    cosines.deallocate()
    sines.deallocate()
  }

  /// Turns a row of d floats in place. All heads of one place in a row share their angles.
  func turn(_ x: UnsafeMutablePointer<Float>, place: Int, _ d: Int) {
    if half == 0 { return }
    let kernels = Kernels.active
    if place != self.place {
      kernels.pointee.angles(Double(first + place), frequency, half, cosines, sines)
      self.place = place
    }
    style.turn(x, d, half, cosines, sines, kernels)
  }
}
