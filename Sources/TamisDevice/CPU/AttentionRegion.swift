import TamisCore

/// Attention of all sequences of a group as one region.
struct AttentionRegion {
  private let works: [TiledAttention]
  /// First task of each.
  private let starts: [Int]
  private let workers: [Scratch]

  init(_ works: [TiledAttention], _ workers: [Scratch]) {
    self.works = works
    self.workers = workers
    var starts = [0]
    for work in works { starts.append(starts.last! + work.taskCount) }
    self.starts = starts
  }

  var taskCount: Int { starts[works.count] }

  func run(_ task: Int, _ worker: Int) {
    var (low, high) = (0, works.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= task { low = middle } else { high = middle }
    }
    works[low].run(task - starts[low], workers[worker])
  }
}
