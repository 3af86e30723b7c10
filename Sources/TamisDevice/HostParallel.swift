/// Work of the host beside the device's operations: tokenizing, clustering, spans.
extension Backend {
  /// Runs `body(task)` for every task in 0 ..< tasks, on the backend's worker threads where it has any. What the tasks write must
  /// not depend on their order. The context's lock is held.
  public func parallel(_ tasks: Int, _ body: (_ task: Int) -> Void) {
    if let pool = (self as? CPUBackend)?.pool {
      pool.run(tasks) { task, _ in body(task) }
    } else {
      for task in 0..<max(tasks, 0) { body(task) }
    }
  }
}
