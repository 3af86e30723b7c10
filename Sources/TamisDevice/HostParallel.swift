/// Backends without worker threads.
extension Backend {
  public func parallel(_ tasks: Int, _ body: (_ task: Int) -> Void) {
    for task in 0..<max(tasks, 0) { body(task) }
  }
}
