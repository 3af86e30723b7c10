import CShims
import TamisCore
import TamisDevice

/// f32 means of blocks of consecutive rows of a [heads, n, d] tensor; the last block may be shorter and is the mean of what it
/// has. One pass at the speed of memory: a block is a weighted sum with weights 1.
final class BlockMeans: @unchecked Sendable {
  let heads, blocks, dim: Int
  /// Rows of a block.
  let rows: Int
  /// [heads][blocks][dim]
  private let values: FloatTable

  init(_ x: TensorView, rows: Int, on backend: any Backend) throws(TamisError) {
    heads = x.shape[0]
    dim = x.shape[2]
    self.rows = rows
    let n = x.shape[1]
    blocks = (n + rows - 1) / rows
    values = try FloatTable(heads * blocks * dim)
    let sums = RowSums(x)
    // About 512 rows a task.
    let run = max(1, 512 / rows)
    let tasks = (blocks + run - 1) / run
    let (values, blocks, dim) = (values.start, blocks, dim)
    backend.parallel(heads * tasks) { task in
      let h = task / tasks
      let from = task % tasks * run
      for b in from..<min(from + run, blocks) {
        let count = min(rows, n - b * rows)
        let to = values + (h * blocks + b) * dim
        sums.sum(h, b * rows, count, into: to)
        Kernels.active.pointee.scale_by(to, dim, 1 / Float(count))
      }
    }
  }

  /// The mean over heads, as one head.
  init(overHeadsOf means: BlockMeans) throws(TamisError) {
    heads = 1
    (blocks, dim, rows) = (means.blocks, means.dim, means.rows)
    values = try FloatTable(blocks * dim)
    let count = blocks * dim
    values.start.update(from: means.values.start, count: count)
    for h in 1..<max(means.heads, 1) {
      Kernels.active.pointee.add_scaled(values.start, means.values.start + h * count, count, 1)
    }
    Kernels.active.pointee.scale_by(values.start, count, 1 / Float(means.heads))
  }

  func mean(_ head: Int, _ block: Int) -> UnsafeMutablePointer<Float> { values.start + (head * blocks + block) * dim }

  /// [heads][dim], the mean over all n rows.
  func totalMeans(of n: Int) throws(TamisError) -> FloatTable {
    let total = try FloatTable(heads * dim)
    total.start.update(repeating: 0, count: heads * dim)
    for h in 0..<heads {
      for b in 0..<blocks {
        Kernels.active.pointee.add_scaled(
          total.start + h * dim, mean(h, b), dim, Float(min(rows, n - b * rows)) / Float(n))
      }
    }
    return total
  }
}

/// Sums of consecutive rows of a tensor of any dtype and strides, in f32.
struct RowSums {
  private let x: TensorView
  private let table = Kernels.active
  private let accumulate: tk_accumulate?

  init(_ x: TensorView) {
    self.x = x
    // The kernel of i8 rounds the weights to 8 bits: such rows are widened first.
    switch x.dtype {
    case .f32 where x.stride[2] == 1: accumulate = table.pointee.accumulate_f32
    case .f16 where x.stride[2] == 1: accumulate = table.pointee.accumulate_f16
    case .bf16 where x.stride[2] == 1: accumulate = table.pointee.accumulate_bf16
    default: accumulate = nil
    }
  }

  /// to [d] = sum of rows [t, t + count) of head h.
  func sum(_ h: Int, _ t: Int, _ count: Int, into to: UnsafeMutablePointer<Float>) {
    let d = x.shape[2]
    to.update(repeating: 0, count: d)
    withUnsafeTemporaryAllocation(of: Float.self, capacity: Self.run * (d + 1)) { scratch in
      let weights = scratch.baseAddress!
      let wide = weights + Self.run
      var at = 0
      while at < count {
        let n = min(Self.run, count - at)
        weights.update(repeating: 1, count: n)
        if let accumulate {
          var rows = tk_rows(
            base: UnsafeRawPointer(x.row(h, t + at)), rows: nil, stride: x.stride[1], scale: nil, scale_stride: 0, ahead: nil,
            ahead_count: 0)
          accumulate(&rows, n, weights, n, 1, Int32(truncatingIfNeeded: d), to)
        } else {
          x.loadRows(h, t + at, count: n, to: wide, table)
          var rows = tk_rows(
            base: UnsafeRawPointer(wide), rows: nil, stride: d, scale: nil, scale_stride: 0, ahead: nil, ahead_count: 0)
          table.pointee.accumulate_f32(&rows, n, weights, n, 1, Int32(truncatingIfNeeded: d), to)
        }
        at += n
      }
    }
  }

  private static let run = 32
}
