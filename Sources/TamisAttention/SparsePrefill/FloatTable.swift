import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// f32 memory of one selection: 64-byte aligned, not initialised.
final class FloatTable: @unchecked Sendable {
  let start: UnsafeMutablePointer<Float>

  init(_ count: Int) throws(TamisError) {
    var memory: UnsafeMutableRawPointer?
    let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: 4)
    guard !overflow, posix_memalign(&memory, 64, bytes) == 0, let memory else {
      throw TamisError(.outOfMemory, "no memory for \(count) scores of a selection")
    }
    start = memory.bindMemory(to: Float.self, capacity: max(count, 1))
  }

  deinit { free(start) }
}
