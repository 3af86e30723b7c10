public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// A device, its worker threads and its scratch memory: what every cache and selector is made on. Calls are serialised by
/// `withLock`; caches and selectors keep the context alive.
public final class Context: @unchecked Sendable {
  public enum Device: Int32, Sendable {
    case cpu = 0
    case openCL = 1
  }
  public enum LogLevel: Int32, Sendable, Comparable {
    case error = 0, warning, info, debug
    public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
  }
  public typealias Log = (LogLevel, String) -> Void

  public let device: Device
  public let backend: any Backend
  private let log: Log?
  private let logLevel: LogLevel
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>

  /// - Parameters:
  ///   - threads: threads one call may use, the caller's included; 0: all cores; 1...1024.
  ///   - openCLIndex: which OpenCL device, counted over all platforms.
  public init(
    device: Device = .cpu, threads: Int = 1, openCLIndex: Int = 0, logLevel: LogLevel = .warning, log: Log? = nil
  ) throws(TamisError) {
    try require((0...1024).contains(threads), "n_threads is \(threads); expected 0 (all cores) to 1024")
    let resolved = threads == 0 ? Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) : threads
    self.device = device
    self.log = log
    self.logLevel = logLevel
    switch device {
    case .cpu: backend = try CPUBackend(threads: resolved)
    case .openCL: backend = try OpenCLBackend(index: openCLIndex)
    }
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  /// A context on a backend made elsewhere: how a plain-loop backend runs the domains in their tests.
  public init(backend: any Backend) {
    self.backend = backend
    device = .cpu
    log = nil
    logLevel = .warning
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  public func withLock<R>(_ body: () throws(TamisError) -> R) throws(TamisError) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }

  public func note(_ level: LogLevel, _ message: @autoclosure () -> String) {
    if let log, level <= logLevel { log(level, message()) }
  }
}
