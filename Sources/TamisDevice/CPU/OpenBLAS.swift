#if canImport(Glibc)
import Glibc
#endif
import TamisCore

/// OpenBLAS, loaded on first use; its thread count is the host's and stays what it is.
public final class OpenBLAS: Sendable {
  typealias Sgemm = @convention(c) (
    Int32, Int32, Int32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32, UnsafePointer<Float>, Int32, Float,
    UnsafeMutablePointer<Float>, Int32
  ) -> Void

  static let shared = OpenBLAS()
  private static let file = "libopenblas.so.0"

  /// Loads the library the first time anything asks for it. It stays loaded: its threads cannot be taken back.
  private static func symbol(_ name: String) -> UnsafeMutableRawPointer? { handle.flatMap { dlsym($0, name) } }
  nonisolated(unsafe) private static let handle = dlopen(file, RTLD_NOW | RTLD_LOCAL)

  private static let sgemm: Sgemm? = symbol("cblas_sgemm").map { unsafeBitCast($0, to: Sgemm.self) }

  /// What OpenBLAS says it is ("OpenBLAS 0.3.21 DYNAMIC_ARCH ..."); nil when there is none to load.
  public static var config: String? {
    typealias Config = @convention(c) () -> UnsafePointer<CChar>?
    return symbol("openblas_get_config").flatMap { unsafeBitCast($0, to: Config.self)() }.map { String(cString: $0) }
  }

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
