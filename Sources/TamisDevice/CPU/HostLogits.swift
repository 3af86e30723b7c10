import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

@inline(__always) func exponential(_ x: Double) -> Double { exp(x) }
@inline(__always) func naturalLogarithm(_ x: Double) -> Double { log(x) }

/// Statistics of rows of logits by blocks that stay in the first-level cache: the kernels of a block run one after another over
/// it, each for what is wanted. A row is cut into parts, whatever the number of threads, and the parts merge in order.
///
/// The reference of the exponentials is the maximum of the part's first block; a later block that exceeds it by more than
/// `tolerance` is summed again with its own maximum. So entries are read from memory once, and almost always once from the cache.
struct HostLogits {
  static let block = Int(TK_LOGIT_BLOCK)
  /// Entries of a part.
  static let part = 8 * block
  /// How far above the reference values may be: moments round with the size of d, which sums of e^d alone do not.
  private let tolerance: Float

  let job: LogitJob
  private let table: UnsafePointer<tk_table>
  private let rows: tk_logit_rows
  private let sums: tk_logit_moments
  private let quick: tk_logit_quick?
  private let high: Float
  private let low: Float

  init(_ job: LogitJob, _ table: UnsafePointer<tk_table>) {
    self.job = job
    self.table = table
    let kernels = table.pointee.logits
    func kernelsOf(_ dtype: DType) -> tk_logit_rows {
      dtype == .f16 ? kernels.f16 : dtype == .bf16 ? kernels.bf16 : kernels.f32
    }
    rows = kernelsOf(job.logits.view.dtype)
    let moments = job.isDerived ? kernels.f32 : rows
    sums = job.needs.contains(.allMoments) ? moments.all : job.needs.contains(.first) ? moments.moments : moments.sums
    tolerance = job.needs.contains(.allMoments) ? 1 : job.needs.contains(.first) ? 3 : 16
    quick =
      job.isDerived || job.logits.view.dtype != .bf16 || job.needs.contains(.allMoments)
      ? nil : job.needs.contains(.first) ? kernels.quick_moments : kernels.quick_sums
    high = Float(job.inverseTemperature)
    low = Float(job.inverseTemperature - Double(high))
  }

  private var vocabulary: Int { job.logits.vocabulary }
  private var parts: Int { (vocabulary + Self.part - 1) / Self.part }

  func run(
    _ range: Range<Int>, into: UnsafeMutablePointer<LogitRow>, parallel: (_ tasks: Int, _ body: (Int) -> Void) -> Void
  ) {
    if range.isEmpty { return }
    // The k largest are gathered over a whole row; else a part is a piece of work of its own.
    let pieces = job.needs.contains(.mass) ? 1 : parts
    let items = range.count * pieces
    let each = max(1, min(items, Self.part / max(1, vocabulary / pieces)))
    let tasks = (items + each - 1) / each
    nonisolated(unsafe) let into = into
    nonisolated(unsafe) let partial =
      pieces == 1 ? into : UnsafeMutablePointer<LogitRow>.allocate(capacity: items)
    defer { if pieces > 1 { partial.deallocate() } }
    parallel(tasks) { task in
      withScratch { scratch in
        for item in task * each..<min(items, (task + 1) * each) {
          let row = range.lowerBound + item / pieces
          partial[item] = LogitRow()
          if job.isSkipped(row) { continue }
          if pieces == 1 {
            whole(row, scratch, &partial[item])
          } else {
            let first = item % pieces * Self.part
            partial[item] = part(row, first..<min(vocabulary, first + Self.part), scratch, nil)
          }
        }
      }
    }
    if pieces == 1 { return }
    for r in 0..<range.count {
      var row = LogitRow()
      for p in 0..<pieces { row.merge(partial[r * pieces + p], offset: p * Self.part) }
      finish(&row)
      into[r] = row
    }
  }

  private func whole(_ row: Int, _ scratch: Scratch, _ to: inout LogitRow) {
    if job.needs.contains(.mass) {
      withLargest { list in
        for p in 0..<parts {
          let first = p * Self.part
          to.merge(part(row, first..<min(vocabulary, first + Self.part), scratch, list), offset: first)
        }
        let values = list.select()
        let top = Double(to.largest)
        for value in values { to.mass += exponential((Double(value) - top) * job.inverseTemperature) }
      }
    } else {
      for p in 0..<parts {
        let first = p * Self.part
        to.merge(part(row, first..<min(vocabulary, first + Self.part), scratch, nil), offset: first)
      }
    }
    finish(&to)
  }

  /// The largest entry's own exponential is 1, which rounding may have left a little below.
  private func finish(_ row: inout LogitRow) {
    if row.reference == -.infinity || row.isBad { return }
    row.move(to: row.max)
    if row.sum < 1 { row.sum = 1 }
  }

  // MARK: one part

  /// Room for a block as it is stored, and for two blocks of f32.
  struct Scratch {
    let stored: UnsafeMutableRawPointer
    let x, y: UnsafeMutablePointer<Float>
  }

  private func withScratch(_ body: (Scratch) -> Void) {
    let bytes = Self.block * 4
    withUnsafeTemporaryAllocation(byteCount: 3 * bytes, alignment: 64) { memory in
      let base = memory.baseAddress!
      body(
        Scratch(
          stored: base, x: (base + bytes).assumingMemoryBound(to: Float.self),
          y: (base + 2 * bytes).assumingMemoryBound(to: Float.self)))
    }
  }

  private func withLargest(_ body: (LargestValues) -> Void) {
    let room = LargestValues.room(job.topK)
    withUnsafeTemporaryAllocation(byteCount: room * 8, alignment: 64) { memory in
      let values = memory.baseAddress!.assumingMemoryBound(to: Float.self)
      let places = (memory.baseAddress! + room * 4).assumingMemoryBound(to: Int32.self)
      body(LargestValues(k: job.topK, values: values, places: places, table: table))
    }
  }

  private func part(_ row: Int, _ range: Range<Int>, _ scratch: Scratch, _ list: LargestValues?) -> LogitRow {
    var state = LogitRow()
    // What d is measured from besides the kernel's own reference: of derived values.
    var offset: (x: Float, y: Float)?
    var reference = -Float.infinity
    var base = 0.0
    let target = job.targets.map { job.logits.value(row, Int($0[row])) } ?? .nan
    let address = job.logits.address(row)
    let (size, step) = (job.logits.view.dtype.size, job.logits.step)
    var start = range.lowerBound
    while start < range.upperBound && !state.isBad {
      let n = min(Self.block, range.upperBound - start)
      let from = address + start * step * size
      let z = step == 1 ? UnsafeRawPointer(from) : gathered(from, step, size, n, scratch.stored)
      orderBlock(z, n, start - range.lowerBound, target, &state, list)
      var values = z
      if job.isDerived {
        if offset == nil { offset = derivedOffset(z, row, start, n, scratch) }
        if let offset {
          base = derivedBase(offset)
          values = UnsafeRawPointer(derive(z, row, start, n, offset, scratch))
        } else {
          // Nothing but -inf so far (or a NaN): there is nothing to derive.
          addRemoved(z, n, &state)
          start += n
          continue
        }
      }
      addBlock(values, n, base, &reference, &state)
      start += n
    }
    return state
  }

  private func addBlock(
    _ values: UnsafeRawPointer, _ n: Int, _ base: Double, _ reference: inout Float, _ state: inout LogitRow
  ) {
    var block = tk_logit_sums()
    if reference == -.infinity {
      var top = tk_logit_top()
      (job.isDerived ? table.pointee.logits.f32 : rows).largest(values, n, &top)
      if top.first == -.infinity || top.first == .infinity {
        sums(values, n, 0, &block)
        state.isBad = state.isBad || block.sum.isNaN || top.first == .infinity
        return
      }
      reference = top.first
      state.max = base + Double(reference)
      state.move(to: state.max)
    }
    // Where its conditions hold; on shapes and values alone, so that the bits are the same in any split.
    if let quick, reference >= 0 && reference <= 64 {
      let steps = (Double(reference) * Self.stepsPerUnit).rounded()
      if quick(values, n, Int32(steps), reference, &block) != 0 {
        let about = steps / Self.stepsPerUnit
        add(block, about: about, firstAbout: Double(reference), &state)
        return
      }
    }
    sums(values, n, reference, &block)
    if !(block.max <= reference + tolerance) {
      if block.max == .infinity {
        state.isBad = true
        return
      }
      reference = block.max
      state.move(to: base + Double(reference))
      sums(values, n, reference, &block)
    }
    if block.sum.isNaN {
      state.isBad = true
      return
    }
    let about = base + Double(reference)
    add(block, about: about, firstAbout: about, &state, base: base)
  }

  /// Eighths of an octave in a unit of the natural logarithm.
  private static let stepsPerUnit = 11.541560327111707

  /// A block's sums; `about`: the reference of its exponentials, `firstAbout`: of d in `first`.
  private func add(
    _ block: tk_logit_sums, about: Double, firstAbout: Double, _ state: inout LogitRow, base: Double = 0
  ) {
    if about == state.reference {
      state.sum += block.sum
      state.first += block.first
      state.second += block.second
      state.squares += block.squares
    } else {
      // Only a quick block is about another reference than the state, and it has no second moments.
      let a = exponential(about - state.reference)
      state.sum += a * block.sum
      state.first += a * (block.first + (firstAbout - state.reference) * block.sum)
    }
    let most = base + Double(block.max)
    if most > state.max { state.max = most }
  }

  private func addRemoved(_ z: UnsafeRawPointer, _ n: Int, _ state: inout LogitRow) {
    var block = tk_logit_sums()
    rows.sums(z, n, 0, &block)
    if block.sum.isNaN || block.max == .infinity { state.isBad = true }
  }

  /// Places, counts and totals of entries as they are stored.
  private func orderBlock(
    _ z: UnsafeRawPointer, _ n: Int, _ at: Int, _ target: Float, _ state: inout LogitRow, _ list: LargestValues?
  ) {
    if job.needs.contains(.largest) || list != nil {
      var top = tk_logit_top()
      rows.largest(z, n, &top)
      if top.first > state.largest {
        state.nextLargest = state.largest > top.second ? state.largest : top.second
        state.largest = top.first
        state.top = Int32(truncatingIfNeeded: at + rows.find(z, n, top.first))
      } else if top.first > state.nextLargest {
        state.nextLargest = top.first
      }
    }
    if job.needs.contains(.ranks) {
      var rank = tk_logit_rank()
      rows.ranks(z, n, target, &rank)
      state.larger += rank.larger
      state.equal += rank.equal
    }
    if job.needs.contains(.total) {
      var total: Float = 0
      var count: Int32 = 0
      rows.total(z, n, &total, &count)
      state.total += Double(total) * job.inverseTemperature
      state.count += Int(count)
    }
    if let list { list.add(rows.above, z, n) }
  }

  /// A block of entries `step` apart, side by side.
  private func gathered(
    _ from: UnsafeRawPointer, _ step: Int, _ size: Int, _ n: Int, _ to: UnsafeMutableRawPointer
  ) -> UnsafeRawPointer {
    if size == 4 {
      let (source, room) = (from.assumingMemoryBound(to: UInt32.self), to.assumingMemoryBound(to: UInt32.self))
      for i in 0..<n { room[i] = source[i &* step] }
    } else {
      let (source, room) = (from.assumingMemoryBound(to: UInt16.self), to.assumingMemoryBound(to: UInt16.self))
      for i in 0..<n { room[i] = source[i &* step] }
    }
    return UnsafeRawPointer(to)
  }

  // MARK: values made of entries

  private func widen(_ z: UnsafeRawPointer, _ dtype: DType, _ n: Int, _ to: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> {
    if dtype == .f32 { return z.assumingMemoryBound(to: Float.self) }
    TensorRows.load(z, dtype, stride: 1, scale: 1, count: n, to: to, table)
    return UnsafePointer(to)
  }

  /// The other model's entries of a block as f32.
  private func other(_ row: Int, _ start: Int, _ n: Int, _ to: UnsafeMutablePointer<Float>) {
    let other = job.other!
    let size = other.view.dtype.size
    let from = UnsafeRawPointer(other.address(row) + start * other.step * size)
    if other.step == 1 {
      TensorRows.load(from, other.view.dtype, stride: 1, scale: 1, count: n, to: to, table)
    } else {
      for i in 0..<n { to[i] = other.value(row, start + i) }
    }
  }

  /// Finite numbers near the maxima of the first block that has any; nil while all is -inf.
  private func derivedOffset(
    _ z: UnsafeRawPointer, _ row: Int, _ start: Int, _ n: Int, _ scratch: Scratch
  ) -> (x: Float, y: Float)? {
    var top = tk_logit_top()
    rows.largest(z, n, &top)
    if top.first == -.infinity { return nil }
    // An infinity makes the row NaN wherever it is measured from.
    let x = top.first.isFinite ? top.first : 0
    if job.other == nil { return (x, 0) }
    other(row, start, n, scratch.y)
    table.pointee.logits.f32.largest(scratch.y, n, &top)
    return (x, top.first.isFinite ? top.first : 0)
  }

  private func derivedBase(_ offset: (x: Float, y: Float)) -> Double {
    (job.weight * Double(offset.x) - job.otherWeight * Double(offset.y)) * job.inverseTemperature
  }

  private func derive(
    _ z: UnsafeRawPointer, _ row: Int, _ start: Int, _ n: Int, _ offset: (x: Float, y: Float), _ scratch: Scratch
  ) -> UnsafePointer<Float> {
    let x = widen(z, job.logits.view.dtype, n, scratch.x)
    let kernels = table.pointee.logits
    if job.other == nil {
      kernels.rescale(x, n, offset.x, high, low, scratch.x)
    } else {
      other(row, start, n, scratch.y)
      kernels.combine(
        x, scratch.y, n, Float(job.weight * job.inverseTemperature), offset.x,
        Float(-job.otherWeight * job.inverseTemperature), offset.y, scratch.x)
    }
    return UnsafePointer(scratch.x)
  }
}

/// The k largest values so far, in the order of the row: what is above the k-th best is kept until the list is full, then cut.
final class LargestValues {
  private let k: Int
  private let values: UnsafeMutablePointer<Float>
  private let places: UnsafeMutablePointer<Int32>
  private let table: UnsafePointer<tk_table>
  private var count = 0
  private var threshold = -Float.infinity

  static func room(_ k: Int) -> Int { k + 4 * HostLogits.block }

  init(k: Int, values: UnsafeMutablePointer<Float>, places: UnsafeMutablePointer<Int32>, table: UnsafePointer<tk_table>) {
    (self.k, self.values, self.places, self.table) = (k, values, places, table)
  }

  /// One block.
  func add(_ above: tk_logit_above, _ z: UnsafeRawPointer, _ n: Int) {
    if count + n > Self.room(k) { cut() }
    count += above(z, n, threshold, values + count)
    if threshold == -.infinity && count > k { cut() }
  }

  private func cut() {
    if count <= k { return }
    let kept = TopK.select(values, count: count, k: k, offset: 0, into: places, kernels: table)
    var least = Float.infinity
    for i in 0..<kept {
      values[i] = values[Int(places[i])]
      if values[i] < least { least = values[i] }
    }
    count = kept
    threshold = least
  }

  func select() -> UnsafeBufferPointer<Float> {
    cut()
    return UnsafeBufferPointer(start: values, count: count)
  }
}

extension CPUBackend {
  public func summarise(_ job: LogitJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitRow>) throws(TamisError) {
    HostLogits(job, kernels).run(rows, into: into) { self.parallel($0, $1) }
  }

  public func compare(_ job: LogitPairJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitPairRow>) throws(TamisError) {
    HostLogitPairs(job, kernels).run(rows, into: into) { self.parallel($0, $1) }
  }
}
