/// A sequence: pages in the order of its tokens, shared by all layers, and how many tokens each layer has.
final class CachedSequence {
  private(set) var pages: UnsafeMutablePointer<Int32>
  private(set) var pageCount = 0
  private var capacity: Int
  let lengths: UnsafeMutablePointer<Int>
  let layers: Int
  /// Grows when tokens are dropped: what was derived from the tokens of an earlier epoch is void.
  var epoch = 0

  /// The page list is reserved ahead, so that appending token by token allocates next to never.
  init(layers: Int, reserving pages: Int) {
    self.layers = layers
    capacity = max(pages, 1)
    self.pages = .allocate(capacity: capacity)
    lengths = .allocate(capacity: layers)
    lengths.initialize(repeating: 0, count: layers)
  }

  deinit {
    pages.deallocate()
    lengths.deallocate()
  }

  var longest: Int { UnsafeBufferPointer(start: lengths, count: layers).max()! }
  var shortest: Int { UnsafeBufferPointer(start: lengths, count: layers).min()! }

  func push(_ page: Int32) {
    if pageCount == capacity {
      let larger = UnsafeMutablePointer<Int32>.allocate(capacity: capacity * 2)
      larger.update(from: pages, count: pageCount)
      pages.deallocate()
      pages = larger
      capacity *= 2
    }
    pages[pageCount] = page
    pageCount += 1
  }

  func pop() -> Int32 {
    pageCount -= 1
    return pages[pageCount]
  }
}
