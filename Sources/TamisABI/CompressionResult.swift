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
    var text, wordText: FixedBytes
    var spans: UnsafeMutableBufferPointer<tamis_span>
    var words: UnsafeMutableBufferPointer<tamis_word>
  }

  private(set) var contexts: [Context] = []
  private(set) var joined: FixedBytes
  let report: tamis_compression_report

  init(_ result: Compression) {
    report = tamis_compression_report(
      struct_size: tamis_compression_report.currentSize,
      contexts: Int32(clamping: result.contexts.reduce(0) { $0 + ($1.kept ? 1 : 0) }), origin_tokens: Int64(result.originTokens),
      compressed_tokens: Int64(result.compressedTokens), words: Int64(result.wordCount), words_kept: Int64(result.keptWords),
      encoder_tokens: Int64(result.encoderTokens), chunks: Int64(result.chunks), encoder_seconds: result.encoderSeconds,
      seconds: result.seconds)
    joined = FixedBytes(result.text)
    contexts = result.contexts.map { context in
      let spans = UnsafeMutableBufferPointer<tamis_span>.allocate(capacity: context.spans.count)
      for (i, span) in context.spans.enumerated() {
        spans.initializeElement(at: i, to: tamis_span(start: Int64(span.lowerBound), end: Int64(span.upperBound)))
      }
      let words = UnsafeMutableBufferPointer<tamis_word>.allocate(capacity: context.words.count)
      for (i, word) in context.words.enumerated() {
        words.initializeElement(
          at: i,
          to: tamis_word(
            start: word.start, end: word.end, probability: word.probability, tokens: word.tokens, flags: word.flags.rawValue,
            pieces: word.pieces))
      }
      return Context(
        kept: context.kept, originTokens: context.originTokens, compressedTokens: context.compressedTokens, score: context.score,
        text: FixedBytes(context.text), wordText: FixedBytes(context.wordText), spans: spans, words: words)
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

/// Bytes with a NUL behind them.
struct FixedBytes {
  let start: UnsafeMutablePointer<CChar>
  let count: Int

  init(_ bytes: [UInt8]) {
    start = .allocate(capacity: bytes.count + 1)
    count = bytes.count
    for (i, byte) in bytes.enumerated() { start[i] = CChar(bitPattern: byte) }
    start[bytes.count] = 0
  }

  func deallocate() { start.deallocate() }
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
  _ handle: OpaquePointer!, _ i: Int64, _ text: UnsafeMutablePointer<UnsafePointer<CChar>?>!, _ length: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let result = try compression(handle)
    let bytes = i == -1 ? result.joined : try result.context(i).text
    try give(bytes, text, length)
  }
}

@c @implementation public func tamis_compression_word_text(
  _ handle: OpaquePointer!, _ i: Int64, _ text: UnsafeMutablePointer<UnsafePointer<CChar>?>!, _ length: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in try give(try compression(handle).context(i).wordText, text, length) }
}

private func give(
  _ bytes: FixedBytes, _ text: UnsafeMutablePointer<UnsafePointer<CChar>?>?, _ length: UnsafeMutablePointer<Int>?
) throws(TamisError) {
  let text = try need(text, "text")
  let length = try need(length, "length")
  text.pointee = UnsafePointer(bytes.start)
  length.pointee = bytes.count
}

@c @implementation public func tamis_compression_spans(
  _ handle: OpaquePointer!, _ i: Int64, _ spans: UnsafeMutablePointer<UnsafePointer<tamis_span>?>!, _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try compression(handle).context(i)
    let spans = try need(spans, "spans")
    let n = try need(n, "n")
    spans.pointee = UnsafePointer(context.spans.baseAddress)
    n.pointee = Int64(context.spans.count)
  }
}

@c @implementation public func tamis_compression_words(
  _ handle: OpaquePointer!, _ i: Int64, _ words: UnsafeMutablePointer<UnsafePointer<tamis_word>?>!, _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try compression(handle).context(i)
    let words = try need(words, "words")
    let n = try need(n, "n")
    words.pointee = UnsafePointer(context.words.baseAddress)
    n.pointee = Int64(context.words.count)
  }
}
