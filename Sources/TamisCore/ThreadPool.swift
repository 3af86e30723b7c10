import CShims

#if canImport(Glibc)
import Glibc
#endif

/// The worker threads of one context: `count - 1` of them, the caller being the last. A parallel region hands out task
/// numbers from one shared counter, so the answer must not depend on which worker takes which task.
///
/// Workers spin for a moment before they sleep: a decode step opens several regions a few microseconds apart.
public final class ThreadPool: @unchecked Sendable {
  public let count: Int

  /// Words shared by all threads, each on a cache line of its own.
  private struct Word { static let generation = 0, arrived = 16, stop = 32, size = 64 }

  private let words: UnsafeMutablePointer<UInt32>
  private let next: UnsafeMutablePointer<Int64>
  private var tasks = 0
  private var body: Body?
  private var context: UnsafeRawPointer?
  private var threads: [pthread_t] = []
  private static let spins = 4000

  public init(count: Int) throws(TamisError) {
    self.count = max(1, count)
    words = .allocate(capacity: Word.size)
    words.initialize(repeating: 0, count: Word.size)
    next = .allocate(capacity: 1)
    next.initialize(to: 0)
    for index in 1..<max(self.count, 1) {
      let start = WorkerStart(pool: Unmanaged.passUnretained(self), index: index)
      var thread = pthread_t()
      let argument = Unmanaged.passRetained(start)
      let failed = pthread_create(
        &thread, nil,
        { raw in
          let start = Unmanaged<WorkerStart>.fromOpaque(raw!).takeRetainedValue()
          let pool = start.pool.takeUnretainedValue()
          pool.work(as: start.index)
          return nil
        }, argument.toOpaque())
      if failed != 0 {
        argument.release()
        shutDown()
        throw TamisError(.outOfMemory, "n_threads: the system would not start thread \(index) of \(count)")
      }
      threads.append(thread)
    }
  }

  deinit {
    shutDown()
    words.deallocate()
    next.deallocate()
  }

  private func shutDown() {
    ts_store_u32(words + Word.stop, 1)
    _ = ts_add_u32(words + Word.generation, 1)
    ts_futex_wake_all(words + Word.generation)
    for thread in threads { pthread_join(thread, nil) }
    threads = []
  }

  /// A region's work as a plain function and its context: what costs no allocation.
  public typealias Body = @convention(c) (_ context: UnsafeRawPointer, _ task: Int, _ worker: Int) -> Void

  /// Runs `body(task, worker)` for every task in 0..<tasks and returns when all are done. `worker` is in 0..<count and
  /// names scratch memory. Regions do not nest; one region at a time per pool (the context's lock sees to it).
  public func run(_ tasks: Int, _ body: (_ task: Int, _ worker: Int) -> Void) {
    if tasks <= 1 || count == 1 {
      for task in 0..<max(tasks, 0) { body(task, 0) }
      return
    }
    withoutActuallyEscaping(body) { body in
      withUnsafePointer(to: body) { pointer in
        run(tasks, pointer) { context, task, worker in
          context.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(task, worker)
        }
      }
    }
  }

  /// The same for a function and its context; allocates nothing (a closure costs two small allocations a region).
  public func run(_ tasks: Int, _ context: UnsafeRawPointer, _ body: Body) {
    if tasks <= 1 || count == 1 {
      for task in 0..<max(tasks, 0) { body(context, task, 0) }
      return
    }
    self.tasks = tasks
    self.body = body
    self.context = context
    next.pointee = 0
    ts_store_u32(words + Word.arrived, 0)
    _ = ts_add_u32(words + Word.generation, 1)
    ts_futex_wake_all(words + Word.generation)
    drain(worker: 0)
    let others = UInt32(count - 1)
    var spins = 0
    while true {
      let arrived = ts_load_u32(words + Word.arrived)
      if arrived == others { break }
      spins += 1
      if spins < Self.spins { ts_cpu_relax() } else { ts_futex_wait(words + Word.arrived, arrived) }
    }
  }

  private func drain(worker: Int) {
    let body = self.body!
    let context = self.context!
    let tasks = self.tasks
    while true {
      let task = Int(ts_add_i64(next, 1))
      if task >= tasks { return }
      body(context, task, worker)
    }
  }

  private func work(as worker: Int) {
    var seen: UInt32 = 0
    while true {
      var spins = 0
      while true {
        let generation = ts_load_u32(words + Word.generation)
        if generation != seen {
          seen = generation
          break
        }
        spins += 1
        if spins < Self.spins { ts_cpu_relax() } else { ts_futex_wait(words + Word.generation, seen) }
      }
      if ts_load_u32(words + Word.stop) != 0 { return }
      drain(worker: worker)
      if Int(ts_add_u32(words + Word.arrived, 1)) + 1 == count - 1 { ts_futex_wake_all(words + Word.arrived) }
    }
  }
}

private final class WorkerStart {
  let pool: Unmanaged<ThreadPool>
  let index: Int
  init(pool: Unmanaged<ThreadPool>, index: Int) {
    self.pool = pool
    self.index = index
  }
}
