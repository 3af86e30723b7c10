import CShims

@testable import TamisCore
@testable import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// The prefill kernels on products of bf16 pairs as plain loops, written from the comments of tamis_prefill.h: so that a
/// machine without the instructions runs the drivers that use them.
enum PairKernels {
  /// The table of a level with the stand-ins; lives as long as the process.
  static func table(_ level: Kernels.Level) -> UnsafePointer<tk_table> {
    let table = UnsafeMutablePointer<tk_table>.allocate(capacity: 1)
    table.initialize(to: Kernels.table(level).pointee)
    table.pointee.prefill.scores_bf16 = { k, ldk, keys, qT, d, sT in
      var t = 0
      while t < keys {
        var lane = 0
        while lane < 32 {
          var sum: Float = 0
          var i = 0
          while i < d {
            sum += wide(k[t * ldk + i]) * wide(qT[(i / 2 * 32 + lane) * 2 + i % 2])
            i += 1
          }
          sT[t * 32 + lane] = sum
          lane += 1
        }
        t += 1
      }
    }
    table.pointee.prefill.softmax_bf16 = { sT, keys, key0, lo, hi, scale, softcap, bias, m, l, rescale, pT in
      let log2e: Float = 1.442_695_04
      var moved: Int32 = 0
      var lane = 0
      while lane < 32 {
        var top = m[lane]
        var t = 0
        while t < keys {
          var z = sT[t * 32 + lane] * scale
          if softcap > 0 { z = softcap * log2e * tanhf(z / (softcap * log2e)) }
          let key = key0 + Int32(t)
          if let bias, key == 0 { z += bias[lane] * log2e }
          if key < lo[lane] || key >= hi[lane] { z = -.infinity }
          sT[t * 32 + lane] = z
          if z > top || z.isNaN { top = z }
          t += 1
        }
        let reference = top == -.infinity ? 0 : top
        rescale[lane] = exp2f(m[lane] - reference)
        if m[lane] != top { moved = 1 }
        m[lane] = top
        l[lane] *= rescale[lane]
        lane += 1
      }
      // A row of pairs takes the place of a row of scores, the first of whose two keys has been read by then.
      var pair = 0
      while pair < (keys + 1) / 2 {
        var both = [UInt16](repeating: 0, count: 64)
        lane = 0
        while lane < 32 {
          let reference = m[lane] == -.infinity ? 0 : m[lane]
          for half in 0..<2 where 2 * pair + half < keys {
            both[lane * 2 + half] = bf16(exp2f(sT[(2 * pair + half) * 32 + lane] - reference))
            l[lane] += wide(both[lane * 2 + half])
          }
          lane += 1
        }
        for i in 0..<64 { pT[pair * 64 + i] = both[i] }
        pair += 1
      }
      return moved
    }
    table.pointee.prefill.accumulate_bf16 = { v, keys, pT, dv, oT in
      var pair = 0
      while pair < (keys + 1) / 2 {
        var dim = 0
        while dim < dv {
          var lane = 0
          while lane < 32 {
            oT[dim * 32 + lane] +=
              wide(v[(pair * dv + dim) * 2]) * wide(pT[pair * 64 + lane * 2])
              + wide(v[(pair * dv + dim) * 2 + 1]) * wide(pT[pair * 64 + lane * 2 + 1])
            lane += 1
          }
          dim += 1
        }
        pair += 1
      }
    }
    return UnsafePointer(table)
  }
}

private func wide(_ x: UInt16) -> Float { Float(bitPattern: UInt32(x) << 16) }
