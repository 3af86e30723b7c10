import CShims
import TamisCore
import TamisDevice

/// Vectors packed for the panel kernels: 32 to a panel, [dim][32]. Their products with rows of any other matrix are what every
/// method here scores tiles by; the kernel runs near the machine's GEMM rate and packs nothing but this.
final class VectorPanels: @unchecked Sendable {
  static let lanes = Int(TK_PANEL_LANES)

  let count, dim: Int
  var panels: Int { (count + Self.lanes - 1) / Self.lanes }
  private let values: FloatTable

  /// - Parameter vector: address of vector i; `dim` floats.
  init(_ count: Int, dim: Int, _ vector: (Int) -> UnsafePointer<Float>) throws(TamisError) {
    self.count = count
    self.dim = dim
    values = try FloatTable((count + Self.lanes - 1) / Self.lanes * Self.lanes * dim)
    for p in 0..<panels {
      Self.pack(values.start + p * Self.lanes * dim, dim) { lane in
        p * Self.lanes + lane < count ? vector(p * Self.lanes + lane) : nil
      }
    }
  }

  /// to[dim][32]; nil vectors are zeros.
  static func pack(_ to: UnsafeMutablePointer<Float>, _ dim: Int, _ vector: (Int) -> UnsafePointer<Float>?) {
    withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: lanes) { sources in
      for lane in 0..<lanes { sources.initializeElement(at: lane, to: vector(lane)) }
      Kernels.active.pointee.prefill.pack_queries_f32(sources.baseAddress!, dim, 1, to)
    }
  }

  /// to[row][32] = rows[row] . vector of each lane of panel p. `stride` in floats.
  func products(
    _ p: Int, rows: UnsafePointer<Float>, stride: Int, count: Int, into to: UnsafeMutablePointer<Float>
  ) {
    Kernels.active.pointee.prefill.scores_f32(rows, stride, count, values.start + p * Self.lanes * dim, dim, to)
  }
}
