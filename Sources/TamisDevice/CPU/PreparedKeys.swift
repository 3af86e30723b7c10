import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Keys and values of a few KV heads as the kernels read them, of the listed tiles only: made once, used by every list.
///
/// Rows that lie right stay where they are. f16, i8, and bf16 without products of pairs, become f32; with pairs, values are
/// interleaved two keys at a time. Values that are not finite are noted, and are zeros where values were copied.
final class PreparedKeys: @unchecked Sendable {
  /// Keys of a task.
  private static let chunk = 256
  /// Shorter runs of consecutive tokens are gathered: the kernels take eight rows at a time.
  private static let leastRun = 16

  private let work: QueryPanels
  private let rows: AttendedRows
  private let lists: TileLists
  private let heads: Int
  private let tiles, chunks: Int
  private let copiesKeys, copiesValues: Bool
  /// bf16 pairs of keys that may lie in two tiles: interleaved step by step.
  private let pairsSteps: Bool
  private let memory: UnsafeMutableRawPointer
  /// [heads][rows of a head]
  private let keyCopies, valueCopies: UnsafeMutableRawPointer
  private let headBytes: Int
  /// [heads][tiles], or [tiles] for lists that all heads share; [heads][keys]; [heads][chunks].
  private let listed, notFinite, dirty: UnsafeMutablePointer<UInt8>
  private var firstHead = 0

  /// Bytes of copies that a KV head needs; 0 where its rows lie right.
  static func copyBytes(_ work: QueryPanels, _ rows: AttendedRows, _ lists: TileLists) -> Int {
    let d = rows.headDim
    if work.pairs { return lists.keyBlock % 2 == 0 ? Scratch.bytes(Float.self, (rows.count / 2 + 1) * d) : 0 }
    return rows.dtype == .f32 ? 0 : 2 * Scratch.bytes(Float.self, rows.count * d)
  }

  /// - Parameter heads: KV heads that are ready at a time.
  init(_ work: QueryPanels, _ rows: AttendedRows, _ lists: TileLists, heads: Int) throws(TamisError) {
    self.work = work
    self.rows = rows
    self.lists = lists
    self.heads = heads
    tiles = (rows.count + lists.keyBlock - 1) / lists.keyBlock
    chunks = (rows.count + Self.chunk - 1) / Self.chunk
    pairsSteps = work.pairs && lists.keyBlock % 2 != 0
    copiesKeys = !work.pairs && rows.dtype != .f32
    let bytes = Self.copyBytes(work, rows, lists)
    copiesValues = bytes > 0
    headBytes = copiesKeys ? bytes / 2 : bytes
    let marks = (lists.heads == 1 ? 1 : heads) * tiles + heads * (rows.count + chunks)
    guard let memory = aligned_alloc(64, heads * bytes + (marks + 63) / 64 * 64) else {
      throw TamisError(.outOfMemory, "k, v: no memory for \(heads * bytes + marks) bytes of copies and marks")
    }
    self.memory = memory
    valueCopies = memory
    keyCopies = memory + heads * headBytes
    listed = (memory + heads * bytes).assumingMemoryBound(to: UInt8.self)
    notFinite = listed + (lists.heads == 1 ? 1 : heads) * tiles
    dirty = notFinite + heads * rows.count
  }

  deinit { free(memory) }

  /// Bytes of what the kernels read.
  private var elementSize: Int { work.pairs ? 2 : 4 }

  // MARK: once

  /// Makes ready KV heads [first, first + n) of `kvHeads`: the tiles that some list of theirs holds.
  func prepare(_ first: Int, _ n: Int, of kvHeads: Int, _ pool: ThreadPool) {
    firstHead = first
    if lists.heads > 1 {
      let each = lists.heads / kvHeads
      pool.run(n) { slot, _ in mark((first + slot) * each, each, listed + slot * tiles) }
    } else if first == 0 {
      mark(0, 1, listed)
    }
    pool.run(n * chunks) { task, _ in prepare(slot: task / chunks, chunk: task % chunks) }
  }

  private func mark(_ firstList: Int, _ n: Int, _ listed: UnsafeMutablePointer<UInt8>) {
    memset(listed, 0, tiles)
    for head in firstList..<firstList + n {
      for block in 0..<lists.blocks { for tile in lists.row(head, block) { listed[Int(tile)] = 1 } }
    }
  }

  private func prepare(slot: Int, chunk: Int) {
    let listed = listed + (lists.heads == 1 ? 0 : slot * tiles)
    let size = lists.keyBlock
    let end = min((chunk + 1) * Self.chunk, rows.count)
    var token = chunk * Self.chunk
    var found = false
    while token < end {
      let isListed = listed[token / size] != 0
      var next = min(end, (token / size + 1) * size)
      while next < end && (listed[next / size] != 0) == isListed { next = min(end, next + size) }
      if isListed && copy(slot, token, next - token) { found = true }
      token = next
    }
    dirty[slot * chunks + chunk] = found ? 1 : 0
  }

  /// Whether some value of the run is not finite.
  private func copy(_ slot: Int, _ token: Int, _ n: Int) -> Bool {
    let d = rows.headDim
    var v = valueRows(slot, token, n)
    var values = UnsafeRawPointer(v.base!)
    var stride = v.stride
    if copiesKeys {
      var k = keyRows(slot, token, n)
      let keys = (keyCopies + slot * headBytes).assumingMemoryBound(to: Float.self) + token * d
      let copies = (valueCopies + slot * headBytes).assumingMemoryBound(to: Float.self) + token * d
      work.gather(&k, n, Int32(truncatingIfNeeded: d), keys)
      work.gather(&v, n, Int32(truncatingIfNeeded: d), copies)
      (values, stride) = (UnsafeRawPointer(copies), d)
    } else if copiesValues {
      work.table.pointee.prefill.interleave_bf16(
        values.assumingMemoryBound(to: UInt16.self), stride, n, d,
        (valueCopies + slot * headBytes).assumingMemoryBound(to: UInt16.self) + token * d)
    }
    let marks = notFinite + slot * rows.count + token
    var found = false
    for t in 0..<n {
      let bad = work.isNonFinite(values + t * stride * elementSize)
      marks[t] = bad ? 1 : 0
      if bad {
        found = true
        if copiesValues { clear(slot, token + t) }
      }
    }
    return found
  }

  private func clear(_ slot: Int, _ token: Int) {
    let d = rows.headDim
    let base = valueCopies + slot * headBytes
    if work.pairs {
      let pair = base.assumingMemoryBound(to: UInt16.self) + token / 2 * d * 2 + token % 2
      for dim in 0..<d { pair[2 * dim] = 0 }
    } else {
      (base.assumingMemoryBound(to: Float.self) + token * d).update(repeating: 0, count: d)
    }
  }

  private func keyRows(_ slot: Int, _ token: Int, _ n: Int) -> tk_rows {
    rows.keyRows(AttendedRows.Block(count: n, firstRow: token, rows: nil, isSelected: false), head: firstHead + slot)
  }

  private func valueRows(_ slot: Int, _ token: Int, _ n: Int) -> tk_rows {
    rows.valueRows(AttendedRows.Block(count: n, firstRow: token, rows: nil, isSelected: false), head: firstHead + slot)
  }

  // MARK: for each step

  /// Places [place, place + n) of a list: runs of tokens stream from where they lie, isolated tokens are gathered.
  ///
  /// Where segments begin and end decides how sums round. It depends on the list alone, neither on what the keys hold nor on
  /// where the task's queries stop looking.
  func step(_ kvHead: Int, _ list: ListedPlaces, _ place: Int, _ n: Int, _ s: PanelScratch) -> KeyStep {
    let slot = kvHead - firstHead
    let whole = min(QueryPanels.stepKeys, list.count - place)
    var step = KeyStep(place: place, keys: n)
    var gathers = false
    var at = 0
    while at < n {
      let run = list.run(at: place + at, most: whole - at)
      let count = min(run.count, n - at)
      let isShort = pairsSteps || run.count < Self.leastRun
      let bad = step.nonFinite
      note(slot, run.token, count, at, &step, s)
      if isShort || (step.nonFinite > bad && !copiesValues) {
        gather(slot, run.token, count, at, s)
        for i in bad..<step.nonFinite where !copiesValues { s.clearValue(s.nonFinite[i].at, work) }
        if gathers && isShort {
          s.segments[step.segments - 1].count += count
        } else {
          append(gathered(at, count, s), to: &step, s)
        }
      } else {
        append(inPlace(slot, run.token, at, count), to: &step, s)
      }
      gathers = isShort
      at += count
    }
    if pairsSteps { s.interleave(s.gathered, rows.headDim, n, work) }
    return step
  }

  private func append(_ segment: KeySegment, to step: inout KeyStep, _ s: PanelScratch) {
    s.segments[step.segments] = segment
    step.segments += 1
  }

  private func gathered(_ at: Int, _ n: Int, _ s: PanelScratch) -> KeySegment {
    let d = rows.headDim
    return KeySegment(
      start: at, count: n, k: UnsafeRawPointer(s.tileK) + at * d * elementSize, kRow: d,
      v: UnsafeRawPointer(s.tileV) + at * d * elementSize, vRow: d, size: elementSize)
  }

  private func inPlace(_ slot: Int, _ token: Int, _ at: Int, _ n: Int) -> KeySegment {
    let (k, kRow) = keys(slot, token)
    let (v, vRow) = values(slot, token)
    return KeySegment(start: at, count: n, k: k, kRow: kRow, v: v, vRow: vRow, size: elementSize)
  }

  /// Adds the values of a run that are not finite to the step's.
  private func note(_ slot: Int, _ token: Int, _ n: Int, _ at: Int, _ step: inout KeyStep, _ s: PanelScratch) {
    let chunksTouched = token / Self.chunk...(token + n - 1) / Self.chunk
    if !chunksTouched.contains(where: { dirty[slot * chunks + $0] != 0 }) { return }
    let marks = notFinite + slot * rows.count + token
    for t in 0..<n where marks[t] != 0 {
      s.nonFinite[step.nonFinite] = NonFiniteValue(at: at + t, row: valueRows(slot, token + t, 1))
      step.nonFinite += 1
    }
  }

  private func gather(_ slot: Int, _ token: Int, _ n: Int, _ at: Int, _ s: PanelScratch) {
    let bytes = rows.headDim * elementSize
    let (k, kRow) = keys(slot, token)
    let keyStride = kRow * elementSize
    for t in 0..<n { memcpy(UnsafeMutableRawPointer(s.tileK) + (at + t) * bytes, k + t * keyStride, bytes) }
    if pairsSteps {
      s.gatherValues(valueRows(slot, token, n), n, at, work)
    } else {
      let (v, vRow) = values(slot, token)
      let valueStride = vRow * elementSize
      // A pair of rows counts as two.
      let rowsCopied = work.pairs ? (n + 1) & ~1 : n
      for t in 0..<rowsCopied { memcpy(UnsafeMutableRawPointer(s.tileV) + (at + t) * bytes, v + t * valueStride, bytes) }
    }
  }

  /// Where the kernels find the key of a token, and the elements to the next.
  private func keys(_ slot: Int, _ token: Int) -> (UnsafeRawPointer, Int) {
    if copiesKeys { return (UnsafeRawPointer(keyCopies) + slot * headBytes + token * rows.headDim * 4, rows.headDim) }
    let k = keyRows(slot, token, 1)
    return (UnsafeRawPointer(k.base!), k.stride)
  }

  private func values(_ slot: Int, _ token: Int) -> (UnsafeRawPointer, Int) {
    if copiesValues {
      return (UnsafeRawPointer(valueCopies) + slot * headBytes + token * rows.headDim * elementSize, rows.headDim)
    }
    let v = valueRows(slot, token, 1)
    return (UnsafeRawPointer(v.base!), v.stride)
  }
}
