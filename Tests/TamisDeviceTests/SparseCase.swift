import CShims
import Testing

@testable import TamisCore
@testable import TamisDevice

/// One problem of attention over tile lists.
struct SparseCase: CustomStringConvertible, Sendable {
  var dtype = DType.f32
  var qDType = DType.f32
  var out = DType.f32
  var kvHeads = 2
  var group = 2
  var d = 64
  /// Queries and keys.
  var c = 200
  var n = 200
  var queryBlock = 128
  var keyBlock = 64
  var lists = Lists.perHead
  var density = 0.4
  var causal = true
  /// nil: the last query stands at the last key.
  var offset: Int?
  var window = 0
  var softcap: Float = 0
  var bias = false
  var f32Products = false
  var pvThreshold: Float = 0
  var threads = 2
  var level = Kernels.activeLevel
  /// On plain loops in place of the instructions for bf16 pairs.
  var standIns = false
  var seed: UInt64 = 1

  enum Lists: CaseIterable, Sendable { case shared, perKVHead, perHead }

  var heads: Int { kvHeads * group }
  var blocks: Int { (c + queryBlock - 1) / queryBlock }
  var tiles: Int { (n + keyBlock - 1) / keyBlock }
  var listHeads: Int { lists == .shared ? 1 : lists == .perKVHead ? kvHeads : heads }
  var mask: DenseMask {
    DenseMask(causal: causal, queryOffset: offset ?? n - c, f32Products: f32Products, pvThreshold: pvThreshold)
  }
  var pairs: Bool {
    if dtype != .bf16 || qDType != .bf16 || f32Products { return false }
    return standIns || Kernels.table(level).pointee.prefill.scores_bf16 != nil
  }
  /// Relative to the greatest output.
  var bound: Double { pairs || out == .bf16 ? 8e-3 : out == .f16 ? 1e-3 : 2e-5 }

  var description: String {
    "\(dtype) q\(qDType) out\(out) kv\(kvHeads)x\(group) d\(d) \(c)x\(n) blocks \(queryBlock)x\(keyBlock) \(lists) \(density)"
      + " causal\(causal) at \(mask.queryOffset) w\(window) cap\(softcap)\(bias ? " bias" : "") pv\(pvThreshold) \(level)"
      + (standIns ? " stand-ins" : "")
  }

  /// Random lists with some that are empty and some that hold every tile, illegal ones included.
  func randomRows() -> [[Int32]] {
    var noise = Noise(seed &+ 77)
    return (0..<listHeads * blocks).map { _ in
      let kind = noise.below(8)
      return (0..<Int32(tiles)).filter { _ in kind == 0 ? false : kind == 1 ? true : noise.uniform() < density }
    }
  }

  func backend() throws -> CPUBackend {
    standIns
      ? try CPUBackend(threads: threads, level: level, kernels: PairKernels.table(level))
      : try CPUBackend(threads: threads, level: level)
  }
}

/// The tensors of a case.
final class SparseTensors {
  let q, k, v, out, lse: Tensor
  let bias: [Float]

  init(_ x: SparseCase, edit: (inout [Float], inout [Float]) -> Void = { _, _ in }) {
    var noise = Noise(x.seed)
    q = Tensor(noise.normals(x.heads * x.c * x.d), x.heads, x.c, x.d, x.qDType)
    var keys = noise.normals(x.kvHeads * x.n * x.d), values = noise.normals(x.kvHeads * x.n * x.d)
    edit(&keys, &values)
    k = Tensor(keys, x.kvHeads, x.n, x.d, x.dtype, gap: 8)
    v = Tensor(values, x.kvHeads, x.n, x.d, x.dtype)
    out = Tensor(zeros: x.heads, x.c, x.d, x.out)
    lse = Tensor(zeros: 1, x.heads, x.c)
    bias = noise.normals(x.heads).map { 3 * $0 }
  }

  func rule(_ x: SparseCase) -> AttentionRule {
    var rule = AttentionRule(scale: 1.3 / Float(x.d).squareRoot())
    rule.window = x.window
    rule.softcap = x.softcap
    return rule
  }

  /// Runs over `rows`; nil: dense. Returns the bits of the outputs and of the log-sum-exps.
  @discardableResult
  func run(_ x: SparseCase, _ rows: [[Int32]]?, on backend: CPUBackend, progress: Progress? = nil) throws -> [UInt8] {
    var rule = rule(x)
    let lseView = TensorView(lse.view.data, .f32, shape: [x.heads, x.c])
    try bias.withUnsafeBufferPointer { bias in
      if x.bias { rule.keyZeroBias = bias.baseAddress }
      guard let rows else {
        try backend.attend(
          q: q.view, k: k.view, v: v.view, rule: rule, mask: x.mask, out: out.view, lse: lseView, progress: progress)
        return
      }
      var starts: [Int64] = [0]
      for row in rows { starts.append(starts.last! + Int64(row.count)) }
      let index: [Int32] = rows.flatMap { $0 } + [0]
      try starts.withUnsafeBufferPointer { starts in
        try index.withUnsafeBufferPointer { index in
          let lists = TileLists(
            heads: x.listHeads, blocks: x.blocks, queryBlock: x.queryBlock, keyBlock: x.keyBlock,
            rowStart: starts.baseAddress!, index: index.baseAddress!)
          try backend.attend(
            q: q.view, k: k.view, v: v.view, rule: rule, mask: x.mask, tiles: lists, out: out.view, lse: lseView,
            progress: progress)
        }
      }
    }
    return bits
  }

  var bits: [UInt8] {
    func bytes(_ t: Tensor) -> [UInt8] {
      Array(UnsafeRawBufferPointer(start: t.view.data, count: t.shape.reduce(1, *) * t.view.dtype.size))
    }
    return bytes(out) + bytes(lse)
  }

  /// The keys that query i of head h sees.
  static func legal(_ x: SparseCase, _ rows: [[Int32]]?, _ h: Int, _ i: Int) -> [Bool] {
    let token = x.mask.queryOffset + i
    let list = x.lists == .shared ? 0 : x.lists == .perKVHead ? h / x.group : h
    let row = rows.map { Set($0[list * x.blocks + i / x.queryBlock]) }
    return (0..<x.n).map { j in
      (!x.causal || j <= token) && (x.window == 0 || j > token - x.window) && row?.contains(Int32(j / x.keyBlock)) ?? true
    }
  }

  /// Greatest difference from the oracle over a sample of queries, relative to the greatest output; log-sum-exps absolutely.
  func differences(_ x: SparseCase, _ rows: [[Int32]]) -> (out: Double, lse: Double) {
    var noise = Noise(x.seed &+ 5)
    var sample = Set([0, 31, 32, x.queryBlock - 1, x.queryBlock, x.c - 1].map { min($0, x.c - 1) })
    while sample.count < min(x.c, 14) { sample.insert(noise.below(x.c)) }
    var worst = 0.0, greatest = 1e-3, worstLSE = 0.0
    for h in 0..<x.heads {
      let keys = (0..<x.n).map { k.row(h / x.group, $0) }, values = (0..<x.n).map { v.row(h / x.group, $0) }
      for i in sample {
        let legal = Self.legal(x, rows, h, i)
        let want = attention(q.row(h, i), keys, values, legal, rule: rule(x), bias: x.bias ? (0, Double(bias[h])) : nil)
        let got = out.row(h, i)
        for (a, b) in zip(got, want.o) {
          let e = abs(a - b)
          worst = e <= worst ? worst : e
          greatest = max(greatest, abs(b))
        }
        let l = lse.row(0, h)[i]
        if want.lse == -.infinity {
          if l != -.infinity || got.contains(where: { $0 != 0 }) { worst = .infinity }
        } else {
          let e = abs(l - want.lse)
          worstLSE = e <= worstLSE ? worstLSE : e
        }
      }
    }
    return (worst / greatest, worstLSE)
  }
}
