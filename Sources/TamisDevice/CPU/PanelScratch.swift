import CShims
import TamisCore

/// What one task of `QueryPanels` works in.
struct PanelScratch {
  /// Floats of a panel of queries or outputs.
  let panel: Int
  let qT, oT, sT, m, l, bias, rescale, lse, tileK, tileV, gathered, queries, cos, sin: UnsafeMutablePointer<Float>
  let queries16: UnsafeMutablePointer<UInt16>
  let lo, hi, begin, end: UnsafeMutablePointer<Int32>
  /// Of the step that is being taken in.
  let segments: UnsafeMutablePointer<KeySegment>
  let nonFinite: UnsafeMutablePointer<NonFiniteValue>
  let sources: UnsafeMutablePointer<UnsafePointer<Float>?>
  let sources16: UnsafeMutablePointer<UnsafePointer<UInt16>?>
  let targets: UnsafeMutablePointer<UnsafeMutablePointer<Float>?>

  /// - Parameter panels: of a task, at most.
  init(_ work: QueryPanels, panels n: Int, _ scratch: Scratch) {
    let lanes = QueryPanels.lanes
    let d = work.headDim
    let keys = QueryPanels.stepKeys
    panel = d * lanes
    let half = work.rotation.half
    func bytes(_ floats: Int) -> Int { Scratch.bytes(Float.self, floats) }
    let perPanel = 2 * bytes(n * panel) + 5 * bytes(n * lanes) + 2 * bytes(n)
    let perTile = bytes(keys * lanes) + 2 * bytes((keys + 1) * d) + bytes(keys * d / 2)
    let perLane = 2 * bytes(lanes) + 2 * bytes(lanes * d) + 3 * bytes(2 * lanes)
    let perKey = Scratch.bytes(KeySegment.self, keys) + Scratch.bytes(NonFiniteValue.self, keys)
    scratch.reset(reserving: perPanel + perTile + perLane + 2 * bytes(half) + perKey)
    func floats(_ count: Int) -> UnsafeMutablePointer<Float> { scratch.take(Float.self, count) }
    (qT, oT, sT) = (floats(n * panel), floats(n * panel), floats(keys * lanes))
    (m, l, bias) = (floats(n * lanes), floats(n * lanes), floats(n * lanes))
    (rescale, lse) = (floats(lanes), floats(lanes))
    (tileK, tileV, gathered) = (floats((keys + 1) * d), floats((keys + 1) * d), floats(keys * d / 2))
    (queries, cos, sin) = (floats(lanes * d), floats(half), floats(half))
    queries16 = scratch.take(UInt16.self, lanes * d)
    (lo, hi) = (scratch.take(Int32.self, n * lanes), scratch.take(Int32.self, n * lanes))
    (begin, end) = (scratch.take(Int32.self, n), scratch.take(Int32.self, n))
    segments = scratch.take(KeySegment.self, keys)
    nonFinite = scratch.take(NonFiniteValue.self, keys)
    sources = scratch.take(UnsafePointer<Float>?.self, lanes)
    sources16 = scratch.take(UnsafePointer<UInt16>?.self, lanes)
    targets = scratch.take(UnsafeMutablePointer<Float>?.self, lanes)
  }

  func pairs(_ floats: UnsafeMutablePointer<Float>) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(floats).assumingMemoryBound(to: UInt16.self)
  }

  // MARK: rows of a step that do not lie as the kernels want them

  /// Copies keys to rows [at, at + n) of `tileK`: f32, or bf16 with pairs.
  func gatherKeys(_ rows: tk_rows, _ n: Int, _ at: Int, _ work: QueryPanels) { copy(rows, n, at, work, tileK, tileK) }

  /// Copies values to rows [at, at + n) of `tileV`, or of `gathered` with pairs: `interleave` makes those.
  func gatherValues(_ rows: tk_rows, _ n: Int, _ at: Int, _ work: QueryPanels) { copy(rows, n, at, work, tileV, gathered) }

  private func copy(
    _ rows: tk_rows, _ n: Int, _ at: Int, _ work: QueryPanels, _ floats: UnsafeMutablePointer<Float>,
    _ halves: UnsafeMutablePointer<Float>
  ) {
    let d = work.headDim
    if !work.pairs {
      var rows = rows
      work.gather(&rows, n, Int32(truncatingIfNeeded: d), floats + at * d)
      return
    }
    let base = rows.base!.assumingMemoryBound(to: UInt16.self)
    let to = pairs(halves) + at * d
    for t in 0..<n { (to + t * d).update(from: base + (rows.rows.map { Int($0[t]) } ?? t) * rows.stride, count: d) }
  }

  /// Zeros for a value that was gathered.
  func clearValue(_ at: Int, _ work: QueryPanels) {
    let d = work.headDim
    if work.pairs {
      (pairs(gathered) + at * d).update(repeating: 0, count: d)
    } else {
      (tileV + at * d).update(repeating: 0, count: d)
    }
  }

  /// Pairs n rows of bf16 values in `tileV`.
  func interleave(_ v: UnsafeRawPointer, _ stride: Int, _ n: Int, _ work: QueryPanels) {
    work.table.pointee.prefill.interleave_bf16(
      v.assumingMemoryBound(to: UInt16.self), stride, n, work.headDim, pairs(tileV))
  }
}
