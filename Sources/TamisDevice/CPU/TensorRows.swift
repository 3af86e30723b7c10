import CShims
import TamisCore

extension TensorView {
  /// Row (h, t) of a [heads, n, d] view as f32.
  func loadRow(_ h: Int, _ t: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
    RowCopy.load(row(h, t), dtype, stride: stride[2], scale: rowScale(h, t), count: shape[2], to: to, table)
  }

  /// Writes row (h, t) of a [heads, n, d] view from f32.
  func storeRow(_ h: Int, _ t: Int, from: UnsafePointer<Float>, _ table: UnsafePointer<tk_table>) {
    RowCopy.store(from, count: shape[2], to: row(h, t), dtype, stride: stride[2], table)
  }
}
