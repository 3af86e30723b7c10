#if canImport(Glibc)
import Glibc
#endif

/// Work memory of one encode call: tokens, slices, caches.
final class TokenizerScratch {
  let tokens = TokenBuffer()
  let model = ModelScratch()
  var slices: [TextSlice] = []

  /// Whether an unusually long text has passed, whose memory is better given back.
  var isOversized: Bool {
    max(tokens.capacity, slices.capacity, model.capacity) > 1 << 20
  }
}

/// Work memories that calls borrow, so that caches outlive a call and threads never share one.
final class ScratchPool: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private var idle: [TokenizerScratch] = []
  /// More than this many are not kept.
  private static let most = 64

  init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  func take() -> TokenizerScratch {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return idle.popLast() ?? TokenizerScratch()
  }

  func give(_ scratch: TokenizerScratch) {
    if scratch.isOversized { return }
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    if idle.count < Self.most { idle.append(scratch) }
  }
}
