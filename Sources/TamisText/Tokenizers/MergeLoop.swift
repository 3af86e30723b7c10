/// Symbols of one pre-token and the work arrays of merging them.
final class MergeScratch {
  let capacity: Int
  let ids: UnsafeMutablePointer<Int32>
  let starts: UnsafeMutablePointer<Int32>
  let ends: UnsafeMutablePointer<Int32>
  private let ranks: UnsafeMutablePointer<UInt32>
  private let results: UnsafeMutablePointer<Int32>
  private let next: UnsafeMutablePointer<Int32>
  private let previous: UnsafeMutablePointer<Int32>
  private let heap: UnsafeMutablePointer<UInt64>
  private var heapCount = 0
  private(set) var count = 0

  /// - capacity: symbols that there is room for.
  init(capacity: Int) {
    self.capacity = capacity
    ids = .allocate(capacity: capacity)
    starts = .allocate(capacity: capacity)
    ends = .allocate(capacity: capacity)
    ranks = .allocate(capacity: capacity)
    results = .allocate(capacity: capacity)
    next = .allocate(capacity: capacity)
    previous = .allocate(capacity: capacity)
    heap = .allocate(capacity: 3 * capacity)
  }

  deinit {
    ids.deallocate()
    starts.deallocate()
    ends.deallocate()
    ranks.deallocate()
    results.deallocate()
    next.deallocate()
    previous.deallocate()
    heap.deallocate()
  }

  func clear() { count = 0 }

  @inline(__always)
  func add(_ id: Int32, _ start: Int, _ end: Int) {
    ids[count] = id
    starts[count] = Int32(truncatingIfNeeded: start)
    ends[count] = Int32(truncatingIfNeeded: end)
    count &+= 1
  }

  /// Byte-pair merging (arXiv 1508.07909): the pair of the lowest rank first, the leftmost of equal ones, until none merges.
  func merge(_ table: MergeTable) {
    if count < 2 { return }
    if count <= 96 { mergeShort(table) } else { mergeLong(table) }
  }

  /// A minimum by scanning: for a handful of symbols nothing is faster.
  @_optimize(speed)
  private func mergeShort(_ table: MergeTable) {
    let ids = ids, starts = starts, ends = ends, ranks = ranks, results = results
    var n = count
    for i in 0..<n &- 1 {
      let (rank, result) = table.find(ids[i], ids[i &+ 1])
      ranks[i] = rank
      results[i] = result
    }
    while n > 1 {
      var best = MergeTable.never
      var at = 0
      for i in 0..<n &- 1 where ranks[i] < best {
        best = ranks[i]
        at = i
      }
      if best == MergeTable.never { break }
      ids[at] = results[at]
      ends[at] = ends[at &+ 1]
      n &-= 1
      var i = at &+ 1
      while i < n {
        ids[i] = ids[i &+ 1]
        starts[i] = starts[i &+ 1]
        ends[i] = ends[i &+ 1]
        ranks[i] = ranks[i &+ 1]
        results[i] = results[i &+ 1]
        i &+= 1
      }
      if at > 0 {
        let (rank, result) = table.find(ids[at &- 1], ids[at])
        ranks[at &- 1] = rank
        results[at &- 1] = result
      }
      if at < n &- 1 {
        let (rank, result) = table.find(ids[at], ids[at &+ 1])
        ranks[at] = rank
        results[at] = result
      }
    }
    count = n
  }

  /// A heap of (rank, position) over a linked list, O(n log n). An entry is stale when its position has another rank by now.
  @_optimize(speed)
  private func mergeLong(_ table: MergeTable) {
    let ids = ids, ends = ends, ranks = ranks, results = results, next = next, previous = previous
    let n = count
    heapCount = 0
    for i in 0..<n {
      next[i] = i &+ 1 < n ? Int32(truncatingIfNeeded: i &+ 1) : -1
      previous[i] = Int32(truncatingIfNeeded: i &- 1)
      ranks[i] = MergeTable.never
      if i &+ 1 < n { find(table, i) }
    }
    var i = heapCount / 2
    while i > 0 {
      i &-= 1
      siftDown(i)
    }
    while heapCount > 0 {
      let top = heap[0]
      heapCount &-= 1
      if heapCount > 0 {
        heap[0] = heap[heapCount]
        siftDown(0)
      }
      let at = Int(top & 0xffff_ffff)
      guard ranks[at] == UInt32(truncatingIfNeeded: top >> 32) else { continue }
      let right = Int(next[at])
      ids[at] = results[at]
      ends[at] = ends[right]
      ranks[right] = MergeTable.never
      ids[right] = -1
      let after = next[right]
      next[at] = after
      ranks[at] = MergeTable.never
      if after >= 0 {
        previous[Int(after)] = Int32(truncatingIfNeeded: at)
        findAndPush(table, at, Int(after))
      }
      let before = Int(previous[at])
      if before >= 0 { findAndPush(table, before, at) }
    }
    var out = 0
    i = 0
    while i >= 0 {
      ids[out] = ids[i]
      starts[out] = starts[i]
      ends[out] = ends[i]
      out &+= 1
      i = Int(next[i])
    }
    count = out
  }

  /// Notes the pair at i with its neighbour i + 1, at the end of the unordered heap.
  @inline(__always)
  private func find(_ table: MergeTable, _ i: Int) {
    let (rank, result) = table.find(ids[i], ids[i &+ 1])
    guard rank != MergeTable.never else { return }
    ranks[i] = rank
    results[i] = result
    heap[heapCount] = UInt64(rank) << 32 | UInt64(truncatingIfNeeded: i)
    heapCount &+= 1
  }

  @inline(__always)
  private func findAndPush(_ table: MergeTable, _ left: Int, _ right: Int) {
    let (rank, result) = table.find(ids[left], ids[right])
    ranks[left] = rank
    guard rank != MergeTable.never else { return }
    results[left] = result
    // Every merge removes a symbol and pushes at most two entries, so 3 n is room enough.
    var i = heapCount
    heapCount &+= 1
    let entry = UInt64(rank) << 32 | UInt64(truncatingIfNeeded: left)
    while i > 0 {
      let parent = (i &- 1) >> 2
      guard heap[parent] > entry else { break }
      heap[i] = heap[parent]
      i = parent
    }
    heap[i] = entry
  }

  @inline(__always)
  private func siftDown(_ from: Int) {
    let heap = heap
    let n = heapCount
    var i = from
    let entry = heap[i]
    while true {
      let first = i &* 4 &+ 1
      guard first < n else { break }
      var least = first
      var child = first &+ 1
      while child < min(first &+ 4, n) {
        if heap[child] < heap[least] { least = child }
        child &+= 1
      }
      guard heap[least] < entry else { break }
      heap[i] = heap[least]
      i = least
    }
    heap[i] = entry
  }
}
