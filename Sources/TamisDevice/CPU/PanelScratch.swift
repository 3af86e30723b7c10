import TamisCore

/// What one task of `TiledAttention` works in.
struct PanelScratch {
  /// Floats of a panel of queries or outputs.
  let panel: Int
  let qT, oT, sT, m, l, bias, rescale, lse, tileK, tileV, gathered, queries, cos, sin: UnsafeMutablePointer<Float>
  let queries16: UnsafeMutablePointer<UInt16>
  let lo, hi, begin, end, marks: UnsafeMutablePointer<Int32>
  /// The KV head of the task.
  let head: UnsafeMutablePointer<Int>
  let sources: UnsafeMutablePointer<UnsafePointer<Float>?>
  let sources16: UnsafeMutablePointer<UnsafePointer<UInt16>?>
  let targets: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>

  init(_ work: TiledAttention, _ scratch: Scratch) {
    let lanes = TiledAttention.lanes
    let d = work.rows.headDim
    let n = work.panels
    let keys = TiledAttention.tileKeys
    panel = d * lanes
    let half = work.rotation.half
    func bytes(_ floats: Int) -> Int { Scratch.bytes(Float.self, floats) }
    let perPanel = 2 * bytes(n * panel) + 5 * bytes(n * lanes) + 2 * bytes(n)
    let perTile = bytes(keys * lanes) + 2 * bytes((keys + 1) * d) + bytes(keys * d / 2)
    let perLane = 2 * bytes(lanes) + 2 * bytes(lanes * d) + 3 * bytes(2 * lanes)
    scratch.reset(
      reserving: perPanel + perTile + perLane + 2 * bytes(half) + Scratch.bytes(Int32.self, keys) + Scratch.bytes(Int.self, 1))
    func floats(_ count: Int) -> UnsafeMutablePointer<Float> { scratch.take(Float.self, count) }
    (qT, oT, sT) = (floats(n * panel), floats(n * panel), floats(keys * lanes))
    (m, l, bias) = (floats(n * lanes), floats(n * lanes), floats(n * lanes))
    (rescale, lse) = (floats(lanes), floats(lanes))
    (tileK, tileV, gathered) = (floats((keys + 1) * d), floats((keys + 1) * d), floats(keys * d / 2))
    (queries, cos, sin) = (floats(lanes * d), floats(half), floats(half))
    queries16 = scratch.take(UInt16.self, lanes * d)
    (lo, hi) = (scratch.take(Int32.self, n * lanes), scratch.take(Int32.self, n * lanes))
    (begin, end) = (scratch.take(Int32.self, n), scratch.take(Int32.self, n))
    marks = scratch.take(Int32.self, keys)
    head = scratch.take(Int.self, 1)
    sources = scratch.take(UnsafePointer<Float>?.self, lanes)
    sources16 = scratch.take(UnsafePointer<UInt16>?.self, lanes)
    targets = scratch.take(UnsafeMutablePointer<Float>?.self, lanes)
  }

  func pairs(_ floats: UnsafeMutablePointer<Float>) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(floats).assumingMemoryBound(to: UInt16.self)
  }
}
