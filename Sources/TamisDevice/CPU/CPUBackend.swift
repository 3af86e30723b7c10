import CShims
public import TamisCore

/// Kernels of one instruction-set level on the context's worker threads. The oracle of the other backends.
public final class CPUBackend: Backend {
  public let pool: ThreadPool
  let level: Kernels.Level
  let kernels: UnsafePointer<tk_table>
  /// Memory of a call, and of each worker within a region.
  let shared = Scratch()
  let workers: [Scratch]
  let blas = OpenBLAS.shared

  /// `level`: for tests and benchmarks that compare levels.
  public convenience init(threads: Int, level: Kernels.Level = Kernels.activeLevel) throws(TamisError) {
    try self.init(threads: threads, level: level, kernels: Kernels.table(level))
  }

  /// `kernels`: those of the level, or with stand-ins for some; they outlive the backend.
  init(threads: Int, level: Kernels.Level, kernels: UnsafePointer<tk_table>) throws(TamisError) {
    pool = try ThreadPool(count: threads)
    self.level = level
    self.kernels = kernels
    workers = (0..<pool.count).map { _ in Scratch() }
  }

  /// Gives every worker as much scratch as any has needed so far. Which worker takes which task is chance: without this, one
  /// that first takes a large task in the middle of a text would allocate there.
  func levelScratch() {
    var most = 0
    for worker in workers { most = max(most, worker.capacity) }
    for worker in workers { worker.reset(reserving: most) }
  }

  public var name: String { "CPU \(level.name)" }
  public var threads: Int { pool.count }
  public func parallel(_ tasks: Int, _ body: (_ task: Int) -> Void) { pool.run(tasks) { task, _ in body(task) } }

  public func makeStore(_ layout: KVLayout) throws(TamisError) -> any KVStore { try CPUStore(layout, kernels: kernels) }
  public func makeScores() -> any TokenScores { CPUScores() }
  public func makeSelection() -> any TokenSelection { CPUSelection() }

  /// The store as one of this backend's.
  func own(_ store: any KVStore) throws(TamisError) -> CPUStore {
    guard let store = store as? CPUStore else {
      throw TamisError(.device, "the cache was made on another device")
    }
    return store
  }
}
