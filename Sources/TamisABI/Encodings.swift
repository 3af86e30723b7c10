// include/tamis/tokenizer.h: encoding and decoding
import CTamis
import Tamis

extension tamis_encode_options: VersionedStruct {
  static var firstSize: Int { 24 }
  static var defaults: Self {
    Self(struct_size: currentSize, add_special: 1, parse_special: 1, offsets: TAMIS_OFFSETS_BYTES, max_tokens: 0)
  }
}

extension tamis_encoded: VersionedStruct {
  static var firstSize: Int { 56 }
  static var defaults: Self { Self() }
}

/// Sequences in one block of memory whose addresses stay while the encoding lives.
private final class EncodedTexts {
  let count: Int
  private let starts: [Int]
  private let block: UnsafeMutablePointer<Int32>

  init(_ encodings: [Encoding]) {
    count = encodings.count
    var starts = [0]
    for encoding in encodings { starts.append(starts[starts.count - 1] + encoding.count) }
    let total = starts[encodings.count]
    let block = UnsafeMutablePointer<Int32>.allocate(capacity: max(5 * total, 1))
    for (i, encoding) in encodings.enumerated() {
      for (column, values) in [encoding.ids, encoding.starts, encoding.ends, encoding.words, encoding.types].enumerated() {
        values.withUnsafeBufferPointer { values in
          if let base = values.baseAddress { (block + column * total + starts[i]).initialize(from: base, count: values.count) }
        }
      }
    }
    self.starts = starts
    self.block = block
  }

  deinit { block.deallocate() }

  func sequence(_ i: Int) -> tamis_encoded {
    let total = starts[count]
    func column(_ c: Int) -> UnsafePointer<Int32> { UnsafePointer(block + c * total + starts[i]) }
    return tamis_encoded(
      struct_size: 0, reserved: 0, n: Int64(starts[i + 1] - starts[i]), ids: column(0), starts: column(1), ends: column(2),
      words: column(3), types: column(4))
  }
}

extension EncodeOptions {
  init(_ pointer: UnsafePointer<tamis_encode_options>?) throws(TamisError) {
    self.init()
    let given = try read(pointer, "options")
    addSpecialTokens = try flag(given.add_special, "options->add_special")
    parseSpecialTokens = try flag(given.parse_special, "options->parse_special")
    try require(given.max_tokens >= 0, "options->max_tokens is \(given.max_tokens); expected at least 0")
    maxTokens = given.max_tokens == 0 ? nil : Int(given.max_tokens)
    try require(
      given.offsets == TAMIS_OFFSETS_BYTES || given.offsets == TAMIS_OFFSETS_CHARACTERS,
      "options->offsets is \(given.offsets); expected TAMIS_OFFSETS_BYTES or TAMIS_OFFSETS_CHARACTERS")
    countsCharacters = given.offsets == TAMIS_OFFSETS_CHARACTERS
  }
}

@c @implementation public func tamis_encode_options_init(_ options: UnsafeMutablePointer<tamis_encode_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_tokenizer_encode(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_encode_options>!, _ text: UnsafePointer<CChar>!, _ n_bytes: Int,
  _ pair: UnsafePointer<CChar>!, _ n_pair: Int, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let options = try EncodeOptions(options)
    let text = try bytes(UnsafeRawPointer(text), n_bytes, "text")
    let second = try bytes(UnsafeRawPointer(pair), n_pair, "pair")
    let out = try need(out, "out")
    let encoding =
      if pair == nil { try tokenizer.encode(text, options) } else { try tokenizer.encode(text, pair: second, options) }
    out.pointee = Handle.make(EncodedTexts([encoding]), .encoding)
  }
}

@c @implementation public func tamis_tokenizer_encode_batch(
  _ handle: OpaquePointer!, _ tokenizerHandle: OpaquePointer!, _ options: UnsafePointer<tamis_encode_options>!,
  _ text: UnsafePointer<CChar>!, _ offsets: UnsafePointer<Int64>!, _ n: Int64, _ callback: tamis_progress_fn!,
  _ user: UnsafeMutableRawPointer!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let tokenizer = try tokenizer(tokenizerHandle)
    let options = try EncodeOptions(options)
    let n = try count(n, "n")
    let (bytes, borders) = try texts(text, "texts", offsets, n)
    let out = try need(out, "out")
    let encodings = try tokenizer.encodeBatch(
      bytes, offsets: borders, options, context: context, progress: progress(callback, user))
    out.pointee = Handle.make(EncodedTexts(encodings), .encoding)
  }
}

@c @implementation public func tamis_encoding_destroy(_ encoding: OpaquePointer!) {
  Handle<EncodedTexts>.destroy(encoding, .encoding)
}

@c @implementation public func tamis_encoding_count(_ handle: OpaquePointer!) -> Int64 {
  Int64((try? Handle<EncodedTexts>.object(handle, .encoding, "encoding"))?.count ?? 0)
}

@c @implementation public func tamis_encoding_get(
  _ handle: OpaquePointer!, _ i: Int64, _ out: UnsafeMutablePointer<tamis_encoded>!
) -> tamis_status {
  status { () throws(TamisError) in
    let encoding = try Handle<EncodedTexts>.object(handle, .encoding, "encoding")
    try require(i >= 0 && i < encoding.count, "i is \(i); expected 0 to \(encoding.count - 1)")
    try checkOutput(out, "out")
    write(encoding.sequence(Int(i)), to: out)
  }
}

@c @implementation public func tamis_tokenizer_count(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_encode_options>!, _ text: UnsafePointer<CChar>!, _ n_bytes: Int,
  _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let options = try EncodeOptions(options)
    let text = try bytes(UnsafeRawPointer(text), n_bytes, "text")
    let n = try need(n, "n")
    n.pointee = Int64(try tokenizer.count(text, options))
  }
}

// MARK: decode

@c @implementation public func tamis_tokenizer_decode(
  _ handle: OpaquePointer!, _ ids: UnsafePointer<Int32>!, _ n: Int64, _ skip_special: Int32,
  _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let n = try count(n, "n")
    let list = UnsafeBufferPointer(start: n == 0 ? nil : try need(ids, "ids"), count: n)
    if let base = list.baseAddress { try requireExtent(base, n, "ids") }
    let text = tokenizer.decode(list, skipSpecialTokens: try flag(skip_special, "skip_special"))
    try write(String(decoding: text, as: UTF8.self), to: buffer, capacity, needed)
  }
}

@c @implementation public func tamis_tokenizer_decode_pieces(
  _ handle: OpaquePointer!, _ pieces: UnsafePointer<CChar>!, _ offsets: UnsafePointer<Int64>!, _ n: Int64,
  _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let n = try count(n, "n")
    let (bytes, borders) = try texts(pieces, "pieces", offsets, n)
    let text = tokenizer.decode(pieces: (0..<n).map { Array(bytes[borders[$0]..<borders[$0 + 1]]) })
    try write(String(decoding: text, as: UTF8.self), to: buffer, capacity, needed)
  }
}

private final class DecoderBox {
  var stream: StreamingDecoder
  init(_ stream: StreamingDecoder) { self.stream = stream }
}

@c @implementation public func tamis_decoder_create(
  _ handle: OpaquePointer!, _ skip_special: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let out = try need(out, "out")
    let stream = StreamingDecoder(tokenizer, skipSpecialTokens: try flag(skip_special, "skip_special"))
    out.pointee = Handle.make(DecoderBox(stream), .decoder)
  }
}

@c @implementation public func tamis_decoder_destroy(_ decoder: OpaquePointer!) {
  Handle<DecoderBox>.destroy(decoder, .decoder)
}

@c @implementation public func tamis_decoder_push(
  _ handle: OpaquePointer!, _ id: Int32, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let decoder = try Handle<DecoderBox>.object(handle, .decoder, "decoder")
    try decoder.stream.push(id) { (text) throws(TamisError) in
      try write(String(decoding: text, as: UTF8.self), to: buffer, capacity, needed)
    }
  }
}

@c @implementation public func tamis_decoder_finish(
  _ handle: OpaquePointer!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let decoder = try Handle<DecoderBox>.object(handle, .decoder, "decoder")
    try decoder.stream.finish { (text) throws(TamisError) in
      try write(String(decoding: text, as: UTF8.self), to: buffer, capacity, needed)
    }
  }
}
