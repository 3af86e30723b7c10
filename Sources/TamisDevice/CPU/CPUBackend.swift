public import TamisCore

/// Kernels of the active instruction-set level on the context's worker threads.
public final class CPUBackend {
  public let pool: ThreadPool
  let kernels = Kernels.active

  public init(threads: Int) throws(TamisError) { pool = try ThreadPool(count: threads) }

  public var name: String { "CPU \(Kernels.activeLevel.name)" }
  public var threads: Int { pool.count }
}
