// include/tamis/compression.h: compressors
import CTamis
import Tamis

extension tamis_compressor_options: VersionedStruct {
  static var firstSize: Int { 24 }
  static var defaults: Self {
    Self(struct_size: currentSize, chunk_tokens: 0, batch_chunks: 50, max_force_token: 100, placeholders: 0, reserved: 0)
  }
}

@c @implementation public func tamis_compressor_options_init(_ options: UnsafeMutablePointer<tamis_compressor_options>!) {
  options?.initialize(to: .defaults)
}

@inline(__always)
func compressor(_ pointer: OpaquePointer?) throws(TamisError) -> PromptCompressor {
  try Handle<PromptCompressor>.object(pointer, .compressor, "compressor")
}

private struct CompressorSettings {
  let chunkTokens, batchChunks, maxForceTokens: Int
  let placeholders: Bool

  init(_ pointer: UnsafePointer<tamis_compressor_options>?) throws(TamisError) {
    let options = try read(pointer, "options")
    chunkTokens = try count(options.chunk_tokens, "options->chunk_tokens")
    batchChunks = try count(options.batch_chunks, "options->batch_chunks", from: 1)
    maxForceTokens = try count(options.max_force_token, "options->max_force_token")
    placeholders = try flag(options.placeholders, "options->placeholders")
    try require(options.reserved == 0, "options->reserved is \(options.reserved); expected 0")
  }
}

@c @implementation public func tamis_compressor_create(
  _ handle: OpaquePointer!, _ encoderHandle: OpaquePointer!, _ tokenizerHandle: OpaquePointer!, _ counting: OpaquePointer!,
  _ options: UnsafePointer<tamis_compressor_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    _ = try context(handle)
    let encoder = try encoder(encoderHandle)
    let tokenizer = try tokenizer(tokenizerHandle)
    let counter: Tokenizer? = if counting == nil { nil } else {
      try Handle<Tokenizer>.object(counting, .tokenizer, "counting")
    }
    let settings = try CompressorSettings(options)
    let out = try need(out, "out")
    let made = try PromptCompressor(
      encoder: encoder, tokenizer: tokenizer, counting: counter, chunkTokens: settings.chunkTokens,
      batchChunks: settings.batchChunks, maxForceTokens: settings.maxForceTokens)
    out.pointee = Handle.make(made, .compressor)
  }
}

@c @implementation public func tamis_compressor_open(
  _ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ counting: UnsafePointer<CChar>!, _ precision: tamis_precision,
  _ options: UnsafePointer<tamis_compressor_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let folder: String? = if let path { try string(path, "path") } else { nil }
    let counter: String? = if let counting { try string(counting, "counting") } else { nil }
    let settings = try CompressorSettings(options)
    let out = try need(out, "out")
    let kind: LinearPrecision? =
      if precision == TAMIS_PRECISION_STORED { nil } else {
        try choice(precision, "precision", LinearPrecision.self, "TAMIS_PRECISION_STORED to TAMIS_PRECISION_I8")
      }
    let made = try PromptCompressor(
      path: folder, counting: counter, context: context, precision: kind, chunkTokens: settings.chunkTokens,
      batchChunks: settings.batchChunks, maxForceTokens: settings.maxForceTokens, placeholders: settings.placeholders)
    out.pointee = Handle.make(made, .compressor)
  }
}

@c @implementation public func tamis_compressor_default_path(
  _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in try write(try DefaultModel.path(), to: buffer, capacity, needed) }
}

@c @implementation public func tamis_compressor_destroy(_ compressor: OpaquePointer!) {
  Handle<PromptCompressor>.destroy(compressor, .compressor)
}

@c @implementation public func tamis_compressor_count(
  _ handle: OpaquePointer!, _ text: UnsafePointer<CChar>!, _ length: Int, _ tokens: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let compressor = try compressor(handle)
    let text = try bytes(UnsafeRawPointer(text), length, "text")
    let tokens = try need(tokens, "tokens")
    tokens.pointee = Int64(try compressor.count(text))
  }
}
