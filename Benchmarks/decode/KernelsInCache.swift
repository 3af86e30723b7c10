import CShims
import TamisCore

/// Nanoseconds a row of the row kernels on 64 rows in the first-level cache (d = 128, four queries): the least a decode step
/// needs, whatever the memory gives.
@MainActor func measureKernels() {
  let (rows, d, count) = (64, 128, 4)
  let table = Kernels.active
  func room<T>(_: T.Type, _ n: Int) -> UnsafeMutablePointer<T> {
    let p = UnsafeMutableRawPointer.allocate(byteCount: n * MemoryLayout<T>.stride, alignment: 64)
    p.initializeMemory(as: UInt8.self, repeating: 0, count: n * MemoryLayout<T>.stride)
    return p.assumingMemoryBound(to: T.self)
  }
  let q = tk_queries(
    f32: room(Float.self, count * d), bf16: room(UInt16.self, count * d), i8_high: room(Int8.self, count * d),
    i8_low: room(Int8.self, count * d), i8_panels: room(Int8.self, count * 4 * d), i8_scale: room(Float.self, count),
    i8_high_sum: room(Int32.self, count), i8_low_sum: room(Int32.self, count), count: Int32(count), dim: Int32(d))
  for i in 0..<count * d { q.f32![i] = Float(i % 17) - 8 }
  withUnsafePointer(to: q) { table.pointee.prepare_queries($0) }
  let data = room(Float.self, rows * d)
  let scale = room(Float.self, rows)
  for t in 0..<rows { scale[t] = 1 }
  let z = room(Float.self, count * rows)
  let o = room(Float.self, count * d)
  let (m, l) = (room(Float.self, count), room(Float.self, count))
  let list = room(Int32.self, rows)
  for t in 0..<rows { list[t] = Int32(t) }
  let half = d / 2
  let (c, s) = (room(Float.self, rows * half), room(Float.self, rows * half))

  func time(_ name: String, _ body: () -> Void) {
    var best = Double.infinity
    for _ in 0..<200 {
      let t = now()
      for _ in 0..<50 { body() }
      best = min(best, now() - t)
    }
    print(padded(name, 44), number(best / 50 / Double(rows) * 1e9), "ns a row")
  }
  for (name, dot, accumulate, gather) in [
    ("f32", table.pointee.dot_f32, table.pointee.accumulate_f32, table.pointee.gather_f32),
    ("f16", table.pointee.dot_f16, table.pointee.accumulate_f16, table.pointee.gather_f16),
    ("bf16", table.pointee.dot_bf16, table.pointee.accumulate_bf16, table.pointee.gather_bf16),
    ("i8", table.pointee.dot_i8, table.pointee.accumulate_i8, table.pointee.gather_i8),
  ] {
    var r = tk_rows(base: data, rows: nil, stride: d, scale: scale, scale_stride: 1, ahead: nil, ahead_count: 0)
    time("q . k, \(name)") { withUnsafePointer(to: q) { dot(&r, rows, $0, z, rows) } }
    for i in 0..<count * rows { z[i] = 1 }
    time("p v, \(name)") { accumulate(&r, rows, z, rows, Int32(count), Int32(d), o) }
    r.rows = UnsafePointer(list)
    time("gather, \(name)") { gather(&r, rows, Int32(d), data) }
  }
  time("softmax") {
    for g in 0..<count { _ = table.pointee.softmax_block(z + g * rows, rows, 1, m + g, l + g) }
  }
  time("rotate") { table.pointee.rotate_half(data, rows, Int32(d), Int32(half), c, s, half) }
}
