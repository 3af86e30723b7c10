#if canImport(Glibc)
import Glibc
#endif
import TamisCore

/// OpenBLAS, loaded on first use; its thread count is the host's and stays what it is.
final class OpenBLAS: Sendable {
  typealias Sgemm = @convention(c) (
    Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32, UnsafePointer<Float>, Int32, Float,
    UnsafeMutablePointer<Float>, Int32
  ) -> Void

  static let shared = OpenBLAS()
  private static let file = "libopenblas.so.0"

  /// Loads the library the first time it is asked for.
  private static let sgemm: Sgemm? = {
    guard let handle = dlopen(file, RTLD_NOW | RTLD_LOCAL), let symbol = dlsym(handle, "cblas_sgemm") else { return nil }
    return unsafeBitCast(symbol, to: Sgemm.self)
  }()

  /// C [m, n] = alpha A [m, k] B + beta C, B [k, n] or its transpose [n, k]; row-major.
  func multiply(
    _ m: Int, _ n: Int, _ k: Int, _ a: UnsafePointer<Float>, _ lda: Int, _ b: UnsafePointer<Float>, _ ldb: Int,
    transposedB: Bool, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
  ) {
    let rowMajor: Int32 = 101
    let asIs: Int32 = 111
    let transposed: Int32 = 112
    Self.sgemm!(
      rowMajor, asIs, transposedB ? transposed : asIs, Int32(m), Int32(n), Int32(k), 1, a, Int32(lda), b, Int32(ldb), 0, c,
      Int32(ldc))
  }

  /// Throws `unsupported` where there is no OpenBLAS.
  func load() throws(TamisError) {
    if Self.sgemm == nil {
      throw TamisError(.unsupported, "compute is TAMIS_COMPUTE_BLAS, but \(Self.file) with cblas_sgemm cannot be loaded")
    }
  }
}
