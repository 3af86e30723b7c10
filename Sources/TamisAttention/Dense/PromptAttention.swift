public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Attention mass on the prompt, mean over heads: ssToken's second signal (arXiv 2510.18250).
public enum PromptAttention {
  /// Which keys are the prompt, of a mask that says so key by key.
  public enum Rule: Int32, Sendable {
    /// Those of the mask.
    case mask = 0
    /// The first n, n of them in the mask: the official code, which has one prompt in mind.
    case prefix = 1
  }

  /// 1 for the keys that count.
  static func keys(_ prompt: UnsafeBufferPointer<UInt8>, _ rule: Rule) throws(TamisError) -> [Float] {
    var keys: [Float] = []
    keys.reserveCapacity(prompt.count)
    var n = 0
    for j in 0..<prompt.count {
      try require(prompt[j] <= 1, "prompt[\(j)] is \(prompt[j]); expected 0 or 1")
      n += Int(prompt[j])
      keys.append(Float(prompt[j]))
    }
    if rule == .prefix { for j in keys.indices { keys[j] = j < n ? 1 : 0 } }
    return keys
  }

  /// Of a table of attention [heads, queries, keys].
  public static func mass(
    attention: TensorView, prompt: UnsafeBufferPointer<UInt8>, rule: Rule, context: Context
  ) throws(TamisError) -> [Double] {
    let inPrompt = try keys(prompt, rule)
    let (heads, queries, count) = (attention.shape[0], attention.shape[1], attention.shape[2])
    let table = Kernels.active
    var mass = [Double](repeating: 0, count: queries)
    let run = 16
    try context.withLock { () throws(TamisError) in
      mass.withUnsafeMutableBufferPointer { mass in
        nonisolated(unsafe) let mass = mass
        context.backend.parallel((queries + run - 1) / run) { task in
          let row = UnsafeMutablePointer<Float>.allocate(capacity: count)
          defer { row.deallocate() }
          for t in task * run..<min(queries, (task + 1) * run) {
            var sum = 0.0
            for h in 0..<heads {
              attention.loadRow(h, t, to: row, table)
              for j in 0..<count where inPrompt[j] != 0 { sum += Double(row[j]) }
            }
            mass[t] = sum / Double(heads)
          }
        }
      }
    }
    return mass
  }

  /// Rows of one call: bounds the memory of an output of which one column is used.
  private static let run = 1024

  /// Of queries [qHeads, queries, headDim] and keys [kvHeads, keys, headDim], by attention over values that are 1 in the
  /// prompt and 0 elsewhere. Memory: one head's values, and 1024 rows of the query heads that share them.
  /// - Throws: what `Dense.attend` throws.
  public static func mass(
    _ context: Context, q: TensorView, k: TensorView, prompt: UnsafeBufferPointer<UInt8>, prompts: Rule, rule: AttentionRule,
    mask: DenseMask, progress: Progress?
  ) throws(TamisError) -> [Double] {
    let inPrompt = try keys(prompt, prompts)
    let (heads, queries, d) = (q.shape[0], q.shape[1], q.shape[2])
    let (kvHeads, count) = (k.shape[0], k.shape[1])
    try require(heads % kvHeads == 0, "q has \(heads) heads; expected a multiple of the \(kvHeads) heads of k")
    try require(prompt.count == count, "prompt has \(prompt.count) flags; expected \(count), as k has keys")
    let group = heads / kvHeads
    guard let values = malloc(count * d * k.dtype.size) else {
      throw TamisError(.outOfMemory, "k is [\(kvHeads), \(count), \(d)]: no memory for values of a head")
    }
    defer { free(values) }
    guard let rows = malloc(group * min(run, queries) * d * 4) else {
      throw TamisError(.outOfMemory, "q is [\(heads), \(queries), \(d)]: no memory for \(run) rows of a KV head")
    }
    defer { free(rows) }
    let out = rows.assumingMemoryBound(to: Float.self)
    fill(values, k.dtype, inPrompt, d)
    let v = TensorView(values, k.dtype, shape: [1, count, d])
    var mass = [Double](repeating: 0, count: queries)
    let runs = (queries + run - 1) / run
    for g in 0..<kvHeads {
      var rule = rule
      rule.keyZeroBias = rule.keyZeroBias.map { $0 + g * group }
      for part in 0..<runs {
        let start = part * run
        let n = min(run, queries - start)
        var mask = mask
        mask.queryOffset += start
        let done = Double(g * runs + part)
        try Dense.attend(
          context, q: q.narrowed(0, from: g * group, count: group).narrowed(1, from: start, count: n),
          k: k.narrowed(0, from: g, count: 1), v: v, rule: rule, mask: mask,
          out: TensorView(out, .f32, shape: [group, n, d]), lse: nil,
          progress: progress.map { whole in { share in whole((done + share) / Double(kvHeads * runs)) } })
        for h in 0..<group {
          for t in 0..<n { mass[start + t] += Double(out[(h * n + t) * d]) }
        }
      }
    }
    for t in mass.indices { mass[t] /= Double(heads) }
    return mass
  }

  /// Rows of zeros and ones in the keys' dtype.
  private static func fill(_ values: UnsafeMutableRawPointer, _ dtype: DType, _ rows: [Float], _ d: Int) {
    for (t, one) in rows.enumerated() {
      for i in t * d..<(t + 1) * d {
        switch dtype {
        case .f16: values.storeBytes(of: one == 0 ? 0 : 0x3c00, toByteOffset: 2 * i, as: UInt16.self)
        case .bf16: values.storeBytes(of: one == 0 ? 0 : 0x3f80, toByteOffset: 2 * i, as: UInt16.self)
        case .i8: values.storeBytes(of: one == 0 ? 0 : 1, toByteOffset: i, as: Int8.self)
        default: values.storeBytes(of: one, toByteOffset: 4 * i, as: Float.self)
        }
      }
    }
  }
}
