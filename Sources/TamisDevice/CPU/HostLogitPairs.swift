import CShims
import TamisCore

/// Two models' rows against each other, by blocks as `HostLogits`: KL both ways in one pass; Jensen-Shannon and total variation,
/// which need both log-sum-exps, in a second one.
struct HostLogitPairs {
  private static let tolerance: Float = 1
  private static var block: Int { HostLogits.block }
  private static var part: Int { HostLogits.part }

  let job: LogitPairJob
  private let table: UnsafePointer<tk_table>
  private let kernels: tk_logits
  private let high, low: Float

  init(_ job: LogitPairJob, _ table: UnsafePointer<tk_table>) {
    self.job = job
    self.table = table
    kernels = table.pointee.logits
    high = Float(job.inverseTemperature)
    low = Float(job.inverseTemperature - Double(high))
  }

  private var vocabulary: Int { job.p.vocabulary }
  private var parts: Int { (vocabulary + Self.part - 1) / Self.part }

  func run(
    _ range: Range<Int>, into: UnsafeMutablePointer<LogitPairRow>, parallel: (_ tasks: Int, _ body: (Int) -> Void) -> Void
  ) {
    let items = range.count * parts
    if items == 0 { return }
    let partial = UnsafeMutablePointer<LogitPairRow>.allocate(capacity: items)
    defer { partial.deallocate() }
    everyPart(range, finished: nil, to: partial, parallel)
    for r in 0..<range.count {
      into[r] = LogitPairRow()
      for p in 0..<parts { into[r].merge(partial[r * parts + p]) }
    }
    if !job.needsDistance { return }
    everyPart(range, finished: UnsafePointer(into), to: partial, parallel)
    for r in 0..<range.count {
      for p in 0..<parts { into[r].merge(partial[r * parts + p]) }
    }
  }

  /// The sums of every part, or with the finished sums of the rows the distances.
  private func everyPart(
    _ range: Range<Int>, finished: UnsafePointer<LogitPairRow>?, to: UnsafeMutablePointer<LogitPairRow>,
    _ parallel: (_ tasks: Int, _ body: (Int) -> Void) -> Void
  ) {
    let items = range.count * parts
    let each = max(1, min(items, Self.part / vocabulary))
    nonisolated(unsafe) let to = to
    nonisolated(unsafe) let finished = finished
    parallel((items + each - 1) / each) { task in
      withScratch { scratch in
        for item in task * each..<min(items, (task + 1) * each) {
          let (r, first) = (item / parts, item % parts * Self.part)
          let entries = first..<min(vocabulary, first + Self.part)
          if let finished {
            let sums = finished[r]
            to[item] =
              sums.isBad || sums.isEmpty ? LogitPairRow() : distances(range.lowerBound + r, entries, sums, scratch)
          } else {
            to[item] = self.sums(range.lowerBound + r, entries, scratch)
          }
        }
      }
    }
  }

  private struct Scratch { let p, q: UnsafeMutablePointer<Float> }

  private func withScratch(_ body: (Scratch) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: 8 * Self.block, alignment: 64) { memory in
      let base = memory.baseAddress!.assumingMemoryBound(to: Float.self)
      body(Scratch(p: base, q: base + Self.block))
    }
  }

  /// A block as f32.
  private func load(_ rows: LogitRows, _ row: Int, _ start: Int, _ n: Int, _ to: UnsafeMutablePointer<Float>) {
    if rows.step == 1 {
      let from = rows.address(row) + start * rows.view.dtype.size
      TensorRows.load(from, rows.view.dtype, stride: 1, scale: 1, count: n, to: to, table)
    } else {
      for i in 0..<n { to[i] = rows.value(row, start + i) }
    }
  }

  private func sums(_ row: Int, _ entries: Range<Int>, _ s: Scratch) -> LogitPairRow {
    var state = LogitPairRow()
    // Where p and q are measured from, in entries; then the kernel's own references, in values.
    var (cp, cq) = (-Float.infinity, -Float.infinity)
    var (rp, rq): (Float, Float) = (0, 0)
    let scaled = job.inverseTemperature != 1
    var start = entries.lowerBound
    while start < entries.upperBound {
      let n = min(Self.block, entries.upperBound - start)
      load(job.p, row, start, n, s.p)
      load(job.q, row, start, n, s.q)
      start += n
      var (tp, tq) = (tk_logit_top(), tk_logit_top())
      if cp == -.infinity || cq == -.infinity {
        kernels.f32.largest(s.p, n, &tp)
        kernels.f32.largest(s.q, n, &tq)
        // Until an entry shows up, 0 will do as a reference: every one measured from it is -inf.
        let (p, q) = (cp == -.infinity ? tp.first : cp, cq == -.infinity ? tq.first : cq)
        if (p == .infinity) || (q == .infinity) { return bad() }
        (cp, cq) = (p, q)
        if !scaled {
          (rp, rq) = (p == -.infinity ? 0 : p, q == -.infinity ? 0 : q)
          state.move(toP: Double(rp), q: Double(rq))
        } else {
          (rp, rq) = (0, 0)
          state.move(toP: base(p), q: base(q))
        }
      }
      if scaled {
        kernels.rescale(s.p, n, cp == -.infinity ? 0 : cp, high, low, s.p)
        kernels.rescale(s.q, n, cq == -.infinity ? 0 : cq, high, low, s.q)
      }
      let (bp, bq) = scaled ? (base(cp), base(cq)) : (0, 0)
      var block = tk_logit_pair()
      kernels.pair(s.p, s.q, n, rp, rq, &block)
      if block.max_p == .infinity || block.max_q == .infinity || block.sum_p.isNaN || block.sum_q.isNaN { return bad() }
      if block.max_p > rp + Self.tolerance || block.max_q > rq + Self.tolerance {
        (rp, rq) = (max(rp, block.max_p), max(rq, block.max_q))
        state.move(toP: bp + Double(rp), q: bq + Double(rq))
        kernels.pair(s.p, s.q, n, rp, rq, &block)
      }
      // The least exponential stands for entries that are not there; without any, that is all there is.
      if cp > -.infinity {
        state.sumP += Double(block.sum_p)
        state.forward += Double(block.forward)
      }
      if cq > -.infinity {
        state.sumQ += Double(block.sum_q)
        state.backward += Double(block.backward)
      }
    }
    if cp == -.infinity { state.referenceP = -.infinity }
    if cq == -.infinity { state.referenceQ = -.infinity }
    return state
  }

  private func base(_ c: Float) -> Double { c == -.infinity ? 0 : Double(c) * job.inverseTemperature }

  private func bad() -> LogitPairRow {
    var state = LogitPairRow()
    state.isBad = true
    return state
  }

  private func distances(_ row: Int, _ entries: Range<Int>, _ sums: LogitPairRow, _ s: Scratch) -> LogitPairRow {
    var state = LogitPairRow()
    let scaled = job.inverseTemperature != 1
    // lse in two parts: what values are measured from, and the f32 that is left.
    let (lp, lq) = (sums.lseP, sums.lseQ)
    let (cp, cq) = (Float(lp / job.inverseTemperature), Float(lq / job.inverseTemperature))
    let (rp, rq) = (Float(lp - Double(cp) * job.inverseTemperature), Float(lq - Double(cq) * job.inverseTemperature))
    var start = entries.lowerBound
    while start < entries.upperBound {
      let n = min(Self.block, entries.upperBound - start)
      load(job.p, row, start, n, s.p)
      load(job.q, row, start, n, s.q)
      kernels.rescale(s.p, n, cp, scaled ? high : 1, scaled ? low : 0, s.p)
      kernels.rescale(s.q, n, cq, scaled ? high : 1, scaled ? low : 0, s.q)
      var (js, tv): (Float, Float) = (0, 0)
      kernels.distance(s.p, s.q, n, rp, rq, &js, &tv)
      state.divergence += Double(js)
      state.distance += Double(tv)
      start += n
    }
    return state
  }
}
