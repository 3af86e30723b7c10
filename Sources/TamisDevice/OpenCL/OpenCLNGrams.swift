import CShims
public import TamisCore

extension OpenCLBackend {
  public var countsNGrams: Bool { true }
  public func store(_ batch: TokenBatch) throws(TamisError) -> any StoredTokens { try OpenCLTokens(self, batch) }
}

/// A batch in device memory.
final class OpenCLTokens: StoredTokens {
  /// What one work-group counts in local memory: 24 bytes a place, 24 KB.
  private static let localPlaces = 1024
  /// Work-groups that share the scratch memory of longer ones, and its size.
  private static let mostGroups = 256
  private static let scratchBytes = 256 << 20

  private let backend: OpenCLBackend
  private let batch: TokenBatch
  private let ids, starts, referenceStarts: OpenCLBuffer
  /// Hypotheses by whether they and their references fit local memory.
  private let short, long: (buffer: OpenCLBuffer, count: Int)
  /// Places of the longest.
  private let longest: Int

  init(_ backend: OpenCLBackend, _ batch: TokenBatch) throws(TamisError) {
    let queue = backend.queue
    func upload(_ values: [Int32]) throws(TamisError) -> OpenCLBuffer {
      let buffer = try OpenCLBuffer(queue, bytes: values.count * 4)
      try buffer.write(values, bytes: values.count * 4)
      return buffer
    }
    var sorted: (short: [Int32], long: [Int32]) = ([], [])
    var longest = 0
    for h in 0..<batch.hypotheses {
      let references = batch.referenceStarts[h / batch.candidates]..<batch.referenceStarts[h / batch.candidates + 1]
      let (first, last) = (batch.hypotheses + Int(references.lowerBound), batch.hypotheses + Int(references.upperBound))
      let tokens = Int(batch.starts[h + 1]) - Int(batch.starts[h]) + Int(batch.starts[last]) - Int(batch.starts[first])
      let places = tokens + references.count + 1
      longest = max(longest, places)
      if places <= Self.localPlaces { sorted.short.append(Int32(h)) } else { sorted.long.append(Int32(h)) }
    }
    self.backend = backend
    self.batch = batch
    self.longest = longest
    ids = try upload(batch.ids)
    starts = try upload(batch.starts)
    referenceStarts = try upload(batch.referenceStarts)
    short = (try upload(sorted.short), sorted.short.count)
    long = (try upload(sorted.long), sorted.long.count)
  }

  func countMatches(maxN: Int, excluded: Int32?, into matches: UnsafeMutablePointer<Int32>) throws(TamisError) {
    let found = try backend.outputs.reserve(batch.hypotheses * maxN * 4)
    for (list, places) in [(short, Self.localPlaces), (long, 0)] where list.count > 0 {
      // A power of two, as the table is twice that.
      var room = Self.localPlaces
      while room < longest { room *= 2 }
      let groups = places > 0 ? list.count : max(1, min(list.count, Self.mostGroups, Self.scratchBytes / (24 * room)))
      let scratch = places > 0 ? found : try backend.parts.reserve(groups * 24 * room)
      try backend.queue.run(
        try backend.programs.kernel(.ngrams, "count_ngrams", ["PLACES": places]), groups: (groups, 1, 1), items: 256,
        [
          .buffer(ids), .buffer(starts), .buffer(referenceStarts), .int(batch.hypotheses), .int(batch.candidates), .int(maxN),
          .flag(excluded != nil), .int(Int(excluded ?? 0)), .buffer(list.buffer), .int(list.count), .int(room),
          .buffer(scratch), .buffer(found),
        ])
    }
    try found.read(matches, bytes: batch.hypotheses * maxN * 4)
  }
}
