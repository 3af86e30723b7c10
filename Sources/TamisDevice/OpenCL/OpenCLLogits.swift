import CShims
public import TamisCore

/// Statistics of rows of logits on the device: rows go up packed, in their own dtype, and a few numbers a row come down.
extension OpenCLBackend {
  /// Bytes of one tensor's rows on the device at a time.
  private static let roundBytes = 64 << 20

  public func summarise(_ job: LogitJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitRow>) throws(TamisError) {
    let width = job.logits.vocabulary
    var start = rows.lowerBound
    while start < rows.upperBound {
      let count = min(rows.upperBound - start, roundRows(job.logits, job.other))
      let out = into + (start - rows.lowerBound)
      let z = try uploadRows(job.logits, start, count, to: self.rows)
      let targets = try queries.reserve(count * 4)
      if let ids = job.targets { try targets.write(ids + start, bytes: count * 4) }
      if let other = job.other {
        try combine(job, z, try uploadRows(other, start, count, to: denseKeys), width, targets, start, count, out)
      } else {
        try summarise(job, z, width, targets, start, count, out)
      }
      start += count
    }
  }

  private func summarise(
    _ job: LogitJob, _ z: OpenCLBuffer, _ width: Int, _ targets: OpenCLBuffer, _ start: Int, _ count: Int,
    _ out: UnsafeMutablePointer<LogitRow>
  ) throws(TamisError) {
    let floats = try outputs.reserve(count * 32)
    let ints = try outputLSE.reserve(count * 20)
    let kernel = try programs.kernel(.logits, "logit_rows", ["LTYPE": Int(job.logits.view.dtype.rawValue)])
    try queue.run(
      kernel, groups: (count, 1, 1), items: 256,
      [
        .buffer(z), .int(width), .buffer(targets), .flag(job.targets != nil), .float(Float(job.inverseTemperature)),
        .int(job.needs.contains(.mass) ? 2 : 0), .int(job.topK), .buffer(floats), .buffer(ints),
      ])
    try download(floats, ints, count, 8, 5) { i, f, n in
      var row = LogitRow()
      if !job.isSkipped(start + i) {
        row.isBad = n[0] != 0
        (row.largest, row.nextLargest, row.top) = (f[0], f[5], n[1])
        (row.larger, row.equal, row.count) = (n[2], n[3], Int(n[4]))
        row.total = Double(f[6]) * job.inverseTemperature
        if n[4] > 0 && !row.isBad {
          row.max = Double(f[0]) * job.inverseTemperature
          row.reference = row.max
          (row.sum, row.first, row.second) = (max(1, Double(f[1])), Double(f[2]), Double(f[3]))
          (row.squares, row.mass) = (Double(f[4]), Double(f[7]))
        }
      }
      out[i] = row
    }
  }

  private func combine(
    _ job: LogitJob, _ z: OpenCLBuffer, _ w: OpenCLBuffer, _ width: Int, _ targets: OpenCLBuffer, _ start: Int, _ count: Int,
    _ out: UnsafeMutablePointer<LogitRow>
  ) throws(TamisError) {
    let floats = try outputs.reserve(count * 16)
    let ints = try outputLSE.reserve(count * 8)
    let kernel = try programs.kernel(
      .logits, "logit_combined",
      ["LTYPE": Int(job.logits.view.dtype.rawValue), "OTYPE": Int(job.other!.view.dtype.rawValue)])
    try queue.run(
      kernel, groups: (count, 1, 1), items: 256,
      [
        .buffer(z), .buffer(w), .int(width), .buffer(targets), .flag(job.targets != nil),
        .float(Float(job.weight * job.inverseTemperature)), .float(Float(-job.otherWeight * job.inverseTemperature)),
        .buffer(floats), .buffer(ints),
      ])
    try download(floats, ints, count, 4, 2) { i, f, n in
      var row = LogitRow()
      if !job.isSkipped(start + i) {
        row.isBad = n[0] != 0
        if n[1] > 0 && !row.isBad {
          let base = (job.weight * Double(f[0]) - job.otherWeight * Double(f[1])) * job.inverseTemperature
          row.max = base + Double(f[2])
          row.reference = row.max
          row.sum = max(1, Double(f[3]))
        }
      }
      out[i] = row
    }
  }

  public func compare(_ job: LogitPairJob, rows: Range<Int>, into: UnsafeMutablePointer<LogitPairRow>) throws(TamisError) {
    let width = job.p.vocabulary
    let kernel = try programs.kernel(
      .logits, "logit_pairs", ["LTYPE": Int(job.p.view.dtype.rawValue), "OTYPE": Int(job.q.view.dtype.rawValue)])
    var start = rows.lowerBound
    while start < rows.upperBound {
      let count = min(rows.upperBound - start, roundRows(job.p, job.q))
      let out = into + (start - rows.lowerBound)
      let p = try uploadRows(job.p, start, count, to: self.rows)
      let q = try uploadRows(job.q, start, count, to: denseKeys)
      let floats = try outputs.reserve(count * 32)
      let ints = try outputLSE.reserve(count * 12)
      try queue.run(
        kernel, groups: (count, 1, 1), items: 256,
        [
          .buffer(p), .buffer(q), .int(width), .float(Float(job.inverseTemperature)), .flag(job.needsDistance),
          .buffer(floats), .buffer(ints),
        ])
      try download(floats, ints, count, 8, 3) { i, f, n in
        var row = LogitPairRow()
        row.isBad = n[0] != 0
        if !row.isBad && n[1] > 0 && n[2] > 0 {
          row.referenceP = Double(f[0]) * job.inverseTemperature
          row.referenceQ = Double(f[1]) * job.inverseTemperature
          (row.sumP, row.sumQ) = (Double(f[2]), Double(f[3]))
          (row.forward, row.backward, row.divergence, row.distance) = (Double(f[4]), Double(f[5]), Double(f[6]), Double(f[7]))
        }
        out[i] = row
      }
      start += count
    }
  }

  private func roundRows(_ a: LogitRows, _ b: LogitRows?) -> Int {
    let size = max(a.view.dtype.size, b?.view.dtype.size ?? 0)
    return max(1, min(Self.roundBytes, queue.device.maxAllocationBytes) / (a.vocabulary * size))
  }

  /// Rows [start, start + count), one after another.
  private func uploadRows(
    _ rows: LogitRows, _ start: Int, _ count: Int, to scratch: OpenCLScratch
  ) throws(TamisError) -> OpenCLBuffer {
    let (width, size) = (rows.vocabulary, rows.view.dtype.size)
    let buffer = try scratch.reserve(count * width * size)
    if rows.step != 1 { host.reset(reserving: width * size + 64) }
    var row = start
    while row < start + count {
      // Rows that lie one after another go up in one transfer.
      var run = 1
      if rows.step == 1 {
        while row + run < start + count && rows.address(row + run) == rows.address(row) + run * width * size { run += 1 }
        try buffer.write(rows.address(row), bytes: run * width * size, at: (row - start) * width * size)
      } else {
        host.reset(reserving: width * size + 64)
        let packed = host.takeRaw(width * size)
        let from = rows.address(row)
        for v in 0..<width { (packed + v * size).copyMemory(from: from + v * rows.step * size, byteCount: size) }
        try buffer.write(packed, bytes: width * size, at: (row - start) * width * size)
      }
      row += run
    }
    return buffer
  }

  private func download(
    _ floats: OpenCLBuffer, _ ints: OpenCLBuffer, _ count: Int, _ floatsEach: Int, _ intsEach: Int,
    _ body: (_ i: Int, _ floats: UnsafePointer<Float>, _ ints: UnsafePointer<Int32>) -> Void
  ) throws(TamisError) {
    host.reset(reserving: Scratch.bytes(Float.self, count * floatsEach) + Scratch.bytes(Int32.self, count * intsEach))
    let f = host.take(Float.self, count * floatsEach)
    let n = host.take(Int32.self, count * intsEach)
    try floats.read(f, bytes: count * floatsEach * 4)
    try ints.read(n, bytes: count * intsEach * 4)
    for i in 0..<count { body(i, f + i * floatsEach, n + i * intsEach) }
  }
}
