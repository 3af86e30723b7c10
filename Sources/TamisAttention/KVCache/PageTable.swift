/// Which pages of a store are in use, and by how many sequences. Grows with the pages that were ever used, so a large
/// capacity costs nothing until it is filled.
struct PageTable {
  let total: Int
  private(set) var used = 0
  /// Pages with two references or more.
  private(set) var shared = 0
  private var references: [Int32] = []
  private var released: [Int32] = []

  init(total: Int) {
    self.total = total
    let ahead = min(total, 1 << 14)
    references.reserveCapacity(ahead)
    released.reserveCapacity(ahead)
  }

  var available: Int { total - used }

  /// A page with one reference. The caller has looked at `available`.
  mutating func take() -> Int32 {
    used += 1
    if let page = released.popLast() {
      references[Int(page)] = 1
      return page
    }
    references.append(1)
    return Int32(references.count - 1)
  }

  mutating func retain(_ page: Int32) {
    references[Int(page)] += 1
    if references[Int(page)] == 2 { shared += 1 }
  }

  /// Whether that was the last reference.
  mutating func release(_ page: Int32) -> Bool {
    references[Int(page)] -= 1
    switch references[Int(page)] {
    case 0:
      used -= 1
      released.append(page)
      return true
    case 1: shared -= 1
    default: break
    }
    return false
  }

  func isShared(_ page: Int32) -> Bool { references[Int(page)] > 1 }
}
