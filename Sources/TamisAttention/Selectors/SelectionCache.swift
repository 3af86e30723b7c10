import TamisCore
import TamisDevice

/// The selection cache of TokenSelect (arXiv 2411.02886, Algorithm 1), one entry per sequence and layer: the query C_Q that
/// made a selection and the selection C_I. While the cosine of a later decode query with C_Q is at least the threshold, C_I is
/// used again; C_Q is not updated on a hit, so slow drift ends in a miss.
///
/// Cached tokens stay valid as the sequence grows: they stood before the window then, and the window only moves on.
struct SelectionCache {
  final class Entry {
    let selection: any TokenSelection
    fileprivate(set) var isValid = false
    fileprivate var epoch = 0
    fileprivate let query: UnsafeMutablePointer<Float>
    fileprivate let width: Int

    fileprivate init(_ selection: any TokenSelection, width: Int) {
      self.selection = selection
      self.width = width
      query = .allocate(capacity: width)
    }

    deinit { query.deallocate() }

    /// Whether the selection that C_Q made serves this query as well. False for a query without direction (zero, NaN).
    func serves(_ q: UnsafePointer<Float>, threshold: Float) -> Bool {
      guard isValid else { return false }
      var dot = 0.0
      var qq = 0.0
      var cc = 0.0
      for i in 0..<width {
        let a = Double(q[i])
        let b = Double(query[i])
        dot += a * b
        qq += a * a
        cc += b * b
      }
      return dot / (qq * cc).squareRoot() >= Double(threshold)
    }

    /// The selection now belongs to this query.
    func keep(_ q: UnsafePointer<Float>) {
      query.update(from: q, count: width)
      isValid = true
    }

    func forget() { isValid = false }
  }

  private var entries: [SequenceID: [Entry?]] = [:]
  private var swept = 0

  /// The entry of a layer of a sequence, void if the sequence lost tokens since it was made.
  mutating func entry(
    _ id: SequenceID, _ sequence: CachedSequence, layer: Int, width: Int, in cache: KVCache
  ) -> Entry {
    if swept != cache.destroyed {
      for id in Array(entries.keys) where cache.sequences[id] == nil { entries[id] = nil }
      swept = cache.destroyed
    }
    if let known = entries[id]?[layer] {
      if known.epoch != sequence.epoch { known.forget() }
      known.epoch = sequence.epoch
      return known
    }
    let made = Entry(cache.context.backend.makeSelection(), width: width)
    made.epoch = sequence.epoch
    entries[id, default: Array(repeating: nil, count: cache.options.layers)][layer] = made
    return made
  }

  /// Forgets one sequence; nil: all.
  mutating func reset(_ id: SequenceID?) {
    if let id { entries[id] = nil } else { entries.removeAll() }
  }
}
