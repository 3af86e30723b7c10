import Testing

@testable import TamisDevice
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// The logit kernels of every level of this machine against loops in f64.
@Suite struct LogitTests {
  private struct Case {
    let values: [Float]
    let dtype: DType
    let memory: UnsafeMutableRawPointer
    let rows: Int
    let width: Int

    /// Values as the dtype holds them.
    init(_ source: [Float], rows: Int, _ dtype: DType) {
      self.dtype = dtype
      self.rows = rows
      width = source.count / rows
      memory = .allocate(byteCount: source.count * 4, alignment: 64)
      var values: [Float] = []
      for (i, x) in source.enumerated() {
        switch dtype {
        case .f16:
          memory.storeBytes(of: Float16(x).bitPattern, toByteOffset: 2 * i, as: UInt16.self)
          values.append(Float(Float16(x)))
        case .bf16:
          let bits = UInt16(truncatingIfNeeded: x.bitPattern >> 16)
          memory.storeBytes(of: bits, toByteOffset: 2 * i, as: UInt16.self)
          values.append(Float(bitPattern: UInt32(bits) << 16))
        default:
          memory.storeBytes(of: x, toByteOffset: 4 * i, as: Float.self)
          values.append(x)
        }
      }
      self.values = values
    }

    var view: TensorView { TensorView(memory, dtype, shape: [rows, width]) }
    func row(_ r: Int) -> ArraySlice<Float> { values[r * width..<(r + 1) * width] }
  }

  /// Rows about several offsets, of which the quick kernels take some and not others; a row of small numbers, one with entries
  /// that are not there, one with a few far above the rest.
  private static func rows(_ width: Int) -> [Float] {
    var state: UInt64 = 7
    func unit() -> Float {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Float(Int64(bitPattern: state) >> 40) / Float(1 << 23)
    }
    var z: [Float] = []
    for offset: Float in [0, 20, 63, -30, 500, 0.01] {
      for i in 0..<width {
        var x = offset + (offset == 0.01 ? 0.02 : 6) * (unit() + unit())
        if offset == 20 && i % 3 == 1 { x = -.infinity }
        if offset == 63 && i % 1000 == 500 { x += 9 }
        if offset == 0 && i % 700 == 10 { x = -1e30 }
        z.append(x)
      }
    }
    return z
  }

  @Test(arguments: [DType.f32, .f16, .bf16]) func statisticsOfEveryLevel(_ dtype: DType) throws {
    for level in Kernels.available {
      let backend = try CPUBackend(threads: 2, level: level)
      for width in [1, 17, 128, 4500] {
        let test = Case(Self.rows(width), rows: 6, dtype)
        defer { test.memory.deallocate() }
        let targets = (0..<6).map { Int32($0 * 7 % width) }
        for needs: LogitNeeds in [[], .first, .allMoments, [.largest, .ranks, .total, .mass]] {
          try targets.withUnsafeBufferPointer { targets in
            var job = LogitJob(LogitRows(test.view), targets: targets.baseAddress, needs: needs)
            job.topK = min(5, width)
            var found = [LogitRow](repeating: LogitRow(), count: 6)
            try found.withUnsafeMutableBufferPointer { try backend.summarise(job, rows: 0..<6, into: $0.baseAddress!) }
            for r in 0..<6 { check(found[r], test.row(r), Int(targets[r]), job, "\(level) \(dtype) \(width) \(needs.rawValue) \(r)") }
          }
        }
      }
    }
  }

  private func check(_ found: LogitRow, _ z: ArraySlice<Float>, _ target: Int, _ job: LogitJob, _ name: String) {
    let top = Double(z.max()!)
    let e = z.map { exp(Double($0) - top) }
    let d = z.map { $0 == -.infinity ? 0 : Double($0) - top }
    let sum = e.reduce(0, +)
    #expect(found.reference == top && found.max == top, "\(name)")
    #expect(abs(found.sum / sum - 1) < 8e-7, "\(name): sum \(found.sum), expected \(sum)")
    func near(_ x: Double, _ y: Double, _ scale: Double, _ what: String) {
      #expect(abs(x - y) <= 1e-6 * max(scale, 1e-12), "\(name): \(what) \(x), expected \(y)")
    }
    let first = zip(d, e).reduce(0) { $0 + $1.0 * $1.1 }
    if job.needs.contains(.first) || job.needs.contains(.allMoments) { near(found.first, first, sum + abs(first), "first") }
    if job.needs.contains(.allMoments) {
      let second = zip(d, e).reduce(0) { $0 + $1.0 * $1.0 * $1.1 }
      near(found.second, second, sum + second, "second")
      near(found.squares, e.reduce(0) { $0 + $1 * $1 }, sum, "squares")
    }
    if job.needs.contains(.largest) {
      let y = z[z.startIndex + target]
      let order = z.sorted(by: >)
      #expect(Int(found.top) == z.firstIndex(of: z.max()!)! - z.startIndex, "\(name)")
      #expect(Double(found.largest) == top && (z.count == 1 || found.nextLargest == order[1]), "\(name)")
      #expect(Int(found.larger) == z.count { $0 > y } && Int(found.equal) == z.count { $0 == y }, "\(name)")
      let there = z.filter { $0 > -.infinity }
      #expect(found.count == there.count, "\(name)")
      let magnitude = there.reduce(0) { $0 + abs(Double($1)) }
      near(found.total, there.reduce(0) { $0 + Double($1) }, magnitude, "total")
      near(found.mass, e.sorted(by: >).prefix(job.topK).reduce(0, +), sum, "mass")
    }
  }

  @Test func nothingEscapesTheQuickKernels() throws {
    let backend = try CPUBackend(threads: 1)
    for (special, isBad) in [(Float.nan, true), (-Float.nan, true), (.infinity, true), (-.infinity, false), (-1e38, false)] {
      for place in [0, 31, 4095, 4099] {
        var z = (0..<4100).map { Float($0 % 97) / 16 }
        z[place] = special
        let test = Case(z, rows: 1, .bf16)
        defer { test.memory.deallocate() }
        for needs: LogitNeeds in [[], .first] {
          var row = LogitRow()
          try backend.summarise(LogitJob(LogitRows(test.view), targets: nil, needs: needs), rows: 0..<1, into: &row)
          #expect(row.isBad == isBad, "\(special) at \(place)")
        }
      }
    }
  }
}
