// include/tamis/compression.h: results
import CTamis
import Tamis

extension tamis_compression_report: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self { Self() }
}

extension tamis_context_report: VersionedStruct {
  static var firstSize: Int { 32 }
  static var defaults: Self { Self() }
}

/// What `tamis_compression` points to: arrays at addresses that stay.
final class CompressionBuffers {
  struct Context {
    var kept: Bool
    var originTokens, compressedTokens: Int
    var score: Double
    /// Each with a NUL behind it.
    var text, wordText: FixedArray<CChar>
    var spans: FixedArray<tamis_span>
    var words: FixedArray<tamis_word>
  }

  private(set) var contexts: [Context] = []
  private(set) var joined: FixedArray<CChar>
  let report: tamis_compression_report

  init(_ result: Compression) {
    report = tamis_compression_report(
      struct_size: tamis_compression_report.currentSize,
      contexts: Int32(clamping: result.contexts.count { $0.kept }), origin_tokens: Int64(result.originTokens),
      compressed_tokens: Int64(result.compressedTokens), words: Int64(result.wordCount), words_kept: Int64(result.keptWords),
      encoder_tokens: Int64(result.encoderTokens), chunks: Int64(result.chunks), encoder_seconds: result.encoderSeconds,
      seconds: result.seconds)
    joined = FixedArray(text: result.text)
    contexts = result.contexts.map { context in
      let spans = FixedArray(context.spans) { tamis_span(start: Int64($0.lowerBound), end: Int64($0.upperBound)) }
      let words = FixedArray(context.words) { word in
        tamis_word(
          start: word.start, end: word.end, probability: word.probability, tokens: word.tokens, flags: word.flags.rawValue,
          pieces: word.pieces)
      }
      return Context(
        kept: context.kept, originTokens: context.originTokens, compressedTokens: context.compressedTokens,
        score: context.score, text: FixedArray(text: context.text), wordText: FixedArray(text: context.wordText),
        spans: spans, words: words)
    }
  }

  deinit {
    joined.deallocate()
    for context in contexts {
      context.text.deallocate()
      context.wordText.deallocate()
      context.spans.deallocate()
      context.words.deallocate()
    }
  }

  func context(_ i: Int64) throws(TamisError) -> Context {
    try require(i >= 0 && i < contexts.count, "i is \(i); expected 0 to \(contexts.count - 1)")
    return contexts[Int(i)]
  }
}

/// Elements at an address that stays until `deallocate`.
struct FixedArray<Element> {
  let start: UnsafeMutablePointer<Element>
  let count: Int

  init<Source>(_ sources: [Source], _ element: (Source) -> Element) {
    start = .allocate(capacity: sources.count)
    count = sources.count
    for i in 0..<count { (start + i).initialize(to: element(sources[i])) }
  }

  func deallocate() { start.deallocate() }
}

extension FixedArray<CChar> {
  /// A NUL stands behind the text and is not counted.
  init(text: [UInt8]) {
    start = .allocate(capacity: text.count + 1)
    count = text.count
    for (i, byte) in text.enumerated() { start[i] = CChar(bitPattern: byte) }
    start[count] = 0
  }
}

@inline(__always)
private func compression(_ pointer: OpaquePointer?) throws(TamisError) -> CompressionBuffers {
  try Handle<CompressionBuffers>.object(pointer, .compression, "compression")
}

@c @implementation public func tamis_compression_destroy(_ compression: OpaquePointer!) {
  Handle<CompressionBuffers>.destroy(compression, .compression)
}

@c @implementation public func tamis_compression_get_report(
  _ handle: OpaquePointer!, _ report: UnsafeMutablePointer<tamis_compression_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let result = try compression(handle)
    try checkOutput(report, "report")
    write(result.report, to: report)
  }
}

@c @implementation public func tamis_compression_get_context(
  _ handle: OpaquePointer!, _ i: Int64, _ report: UnsafeMutablePointer<tamis_context_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try compression(handle).context(i)
    try checkOutput(report, "report")
    write(
      tamis_context_report(
        struct_size: tamis_context_report.currentSize, kept: context.kept ? 1 : 0, origin_tokens: Int64(context.originTokens),
        compressed_tokens: Int64(context.compressedTokens), score: context.score), to: report)
  }
}

@c @implementation public func tamis_compression_text(
  _ handle: OpaquePointer!, _ i: Int64, _ text: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
  _ length: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let result = try compression(handle)
    try give(i == -1 ? result.joined : try result.context(i).text, text, "text", length, "length")
  }
}

@c @implementation public func tamis_compression_word_text(
  _ handle: OpaquePointer!, _ i: Int64, _ text: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
  _ length: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in try give(try compression(handle).context(i).wordText, text, "text", length, "length") }
}

@c @implementation public func tamis_compression_spans(
  _ handle: OpaquePointer!, _ i: Int64, _ spans: UnsafeMutablePointer<UnsafePointer<tamis_span>?>!,
  _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in try give(try compression(handle).context(i).spans, spans, "spans", n, "n") }
}

@c @implementation public func tamis_compression_words(
  _ handle: OpaquePointer!, _ i: Int64, _ words: UnsafeMutablePointer<UnsafePointer<tamis_word>?>!,
  _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in try give(try compression(handle).context(i).words, words, "words", n, "n") }
}

/// The address of an array that the result keeps, and its length.
private func give<Element, Count: FixedWidthInteger>(
  _ array: FixedArray<Element>, _ pointer: UnsafeMutablePointer<UnsafePointer<Element>?>?, _ name: StaticString,
  _ count: UnsafeMutablePointer<Count>?, _ countName: StaticString
) throws(TamisError) {
  let pointer = try need(pointer, name)
  let count = try need(count, countName)
  pointer.pointee = UnsafePointer(array.start)
  count.pointee = Count(array.count)
}
