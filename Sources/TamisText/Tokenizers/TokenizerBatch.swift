public import TamisCore
public import TamisDevice

extension Tokenizer {
  /// Tokens of many texts, on the threads of a context: text i is bytes [offsets[i], offsets[i + 1]), and its offsets count
  /// from its own first byte.
  /// - Throws: as `encode`, the error of the first text that fails; `cancelled`.
  public func encodeBatch(
    _ texts: UnsafeBufferPointer<UInt8>, offsets: [Int], _ options: EncodeOptions = .init(), context: Context,
    progress: Progress? = nil
  ) throws(TamisError) -> [Encoding] {
    let batch = TextBatch(self, texts, offsets, options)
    let pool = (context.backend as? CPUBackend)?.pool
    try context.withLock { () throws(TamisError) in
      let count = batch.results.count
      // Rounds let the caller look at the progress; a round is long enough to keep every thread busy.
      let round = progress == nil ? max(count, 1) : max(64 * (pool?.count ?? 1), 1)
      for first in stride(from: 0, to: count, by: round) {
        let size = min(round, count - first)
        if let pool {
          pool.run(size) { task, _ in batch.encode(first + task) }
        } else {
          for task in 0..<size { batch.encode(first + task) }
        }
        if let progress, !progress(Double(first + size) / Double(count)) {
          throw TamisError(.cancelled, "progress returned 0 after \(first + size) of \(count) texts")
        }
      }
    }
    var encodings: [Encoding] = []
    encodings.reserveCapacity(batch.results.count)
    for result in batch.results { encodings.append(try result.get()) }
    return encodings
  }
}

/// Texts and the results of them; tasks write to different places.
private final class TextBatch: @unchecked Sendable {
  let tokenizer: Tokenizer
  let texts: UnsafeBufferPointer<UInt8>
  let offsets: [Int]
  let options: EncodeOptions
  let results: UnsafeMutableBufferPointer<Result<Encoding, TamisError>>

  init(_ tokenizer: Tokenizer, _ texts: UnsafeBufferPointer<UInt8>, _ offsets: [Int], _ options: EncodeOptions) {
    self.tokenizer = tokenizer
    self.texts = texts
    self.offsets = offsets
    self.options = options
    results = .allocate(capacity: max(offsets.count - 1, 0))
    results.initialize(repeating: .success(Encoding()))
  }

  deinit {
    results.deinitialize()
    results.deallocate()
  }

  func encode(_ i: Int) {
    let text = UnsafeBufferPointer(rebasing: texts[offsets[i]..<offsets[i + 1]])
    do throws(TamisError) {
      results[i] = .success(try tokenizer.encode(text, options))
    } catch {
      results[i] = .failure(error)
    }
  }
}

extension TokenBuffer {
  /// Offsets in Unicode scalars instead of bytes.
  func countCharacters(of text: UnsafeBufferPointer<UInt8>) {
    guard let scalars = ScalarNumbers(text) else { return }
    for i in 0..<count {
      let (start, end) = scalars.range(starts[i], ends[i])
      setRange(i, Int(start), Int(end))
    }
  }
}

/// The number of the scalar that each byte of a text is a part of.
private struct ScalarNumbers {
  private var numbers: [Int32] = []
  private var count: Int32 = 0

  /// nil: the text is ASCII, and bytes are scalars.
  init?(_ text: UnsafeBufferPointer<UInt8>) {
    guard let base = text.baseAddress, text.contains(where: { $0 >= 0x80 }) else { return nil }
    numbers.reserveCapacity(text.count)
    var at = 0
    while at < text.count {
      let width = UTF8Input.sequence(base + at, text.count - at).width
      for _ in 0..<width { numbers.append(count) }
      at += width
      count += 1
    }
  }

  func range(_ start: Int32, _ end: Int32) -> (Int32, Int32) {
    let from = start < numbers.count ? numbers[Int(start)] : count
    return (from, end > start ? numbers[Int(end) - 1] + 1 : from)
  }
}
