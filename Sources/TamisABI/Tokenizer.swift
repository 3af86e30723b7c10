// include/tamis/tokenizer.h: making tokenizers, and what is in them
import CTamis
import Tamis

@inline(__always)
func tokenizer(_ pointer: OpaquePointer?) throws(TamisError) -> Tokenizer {
  try Handle<Tokenizer>.object(pointer, .tokenizer, "tokenizer")
}

/// n texts in one run of bytes, told apart by n + 1 ascending offsets from 0 on.
func texts(
  _ pointer: UnsafePointer<CChar>?, _ name: StaticString, _ offsets: UnsafePointer<Int64>?, _ n: Int
) throws(TamisError) -> (bytes: UnsafeBufferPointer<UInt8>, offsets: [Int]) {
  let borders = try need(offsets, "offsets")
  try requireExtent(borders, n + 1, "offsets")
  try require(borders[0] == 0, "offsets[0] is \(borders[0]); expected 0")
  var checked: [Int] = []
  checked.reserveCapacity(n + 1)
  var last: Int64 = 0
  for i in 0...n {
    let border = borders[i]
    try require(border >= last && border < 1 << 46, "offsets[\(i)] is \(border) after \(last); expected ascending offsets")
    try require(border - last <= Int64(Int32.max), "text \(i - 1) has \(border - last) bytes; expected at most \(Int32.max)")
    checked.append(Int(border))
    last = border
  }
  return (try bytes(UnsafeRawPointer(pointer), Int(last), name, limit: 1 << 46), checked)
}

@c @implementation public func tamis_tokenizer_open(
  _ path: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let path = try string(path, "path")
    let out = try need(out, "out")
    out.pointee = Handle.make(try Tokenizer(path: path), .tokenizer)
  }
}

@c @implementation public func tamis_tokenizer_from_bytes(
  _ data: UnsafeRawPointer!, _ n_bytes: Int, _ format: tamis_tokenizer_format, _ pattern: UnsafePointer<CChar>!,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let data = try bytes(data, n_bytes, "bytes")
    let format = try choice(format, "format", TokenizerFormat.self, "TAMIS_TOKENIZER_JSON to TAMIS_TOKENIZER_TIKTOKEN")
    let out = try need(out, "out")
    let made = try Tokenizer(data, format: format, pattern: pattern == nil ? nil : try string(pattern, "pattern"))
    out.pointee = Handle.make(made, .tokenizer)
  }
}

@c @implementation public func tamis_tokenizer_destroy(_ tokenizer: OpaquePointer!) {
  Handle<Tokenizer>.destroy(tokenizer, .tokenizer)
}

extension tamis_tokenizer_info: VersionedStruct {
  static var firstSize: Int { 48 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_tokenizer_get_info(
  _ handle: OpaquePointer!, _ info: UnsafeMutablePointer<tamis_tokenizer_info>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    try checkOutput(info, "info")
    write(
      tamis_tokenizer_info(
        struct_size: 0, model: tokenizer.kind.rawValue, vocabulary_size: Int32(clamping: tokenizer.vocabularySize),
        added_tokens: Int32(clamping: tokenizer.addedTokenCount), unknown_id: tokenizer.unknownId ?? -1,
        pad_id: tokenizer.padId ?? -1, byte_level: tokenizer.isByteLevel ? 1 : 0,
        template_tokens: Int32(clamping: tokenizer.templateTokens.single),
        pair_tokens: Int32(clamping: tokenizer.templateTokens.pair), reserved: 0,
        max_tokens: Int64(tokenizer.fileTruncation ?? 0)),
      to: info)
  }
}

@c @implementation public func tamis_tokenizer_piece(
  _ handle: OpaquePointer!, _ id: Int32, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    guard let piece = tokenizer.piece(id) else {
      throw TamisError(.notFound, "id is \(id); the vocabulary has no piece of this id")
    }
    try write(String(decoding: piece, as: UTF8.self), to: buffer, capacity, needed)
  }
}

@c @implementation public func tamis_tokenizer_id(
  _ handle: OpaquePointer!, _ piece: UnsafePointer<CChar>!, _ n_bytes: Int, _ id: UnsafeMutablePointer<Int32>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let piece = try bytes(UnsafeRawPointer(piece), n_bytes, "piece")
    let id = try need(id, "id")
    guard let found = tokenizer.id(of: piece) else {
      throw TamisError(.notFound, "piece: \"\(String(decoding: piece.prefix(80), as: UTF8.self))\" is not in the vocabulary")
    }
    id.pointee = found
  }
}

@c @implementation public func tamis_tokenizer_is_special(_ handle: OpaquePointer!, _ id: Int32) -> Int32 {
  (try? tokenizer(handle))?.specialIds.contains(id) == true ? 1 : 0
}

@c @implementation public func tamis_tokenizer_add(
  _ handle: OpaquePointer!, _ contents: UnsafePointer<CChar>!, _ offsets: UnsafePointer<Int64>!, _ n: Int32,
  _ flags: UnsafePointer<tamis_token_flags>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokenizer = try tokenizer(handle)
    let n = try count(n, "n")
    let (bytes, borders) = try texts(contents, "contents", offsets, n)
    let flags = flags == nil ? nil : try need(flags, "flags")
    if let flags { try requireExtent(flags, n, "flags") }
    let out = try need(out, "out")
    var tokens: [TokenToAdd] = []
    for i in 0..<n {
      let flag = flags?[i] ?? TAMIS_TOKEN_SPECIAL
      try require(flag >= 0 && flag < 32, "flags[\(i)] is \(flag); expected a sum of TAMIS_TOKEN_ flags")
      tokens.append(
        TokenToAdd(
          Array(bytes[borders[i]..<borders[i + 1]]), special: flag & TAMIS_TOKEN_SPECIAL != 0,
          singleWord: flag & TAMIS_TOKEN_SINGLE_WORD != 0, leftStrip: flag & TAMIS_TOKEN_LSTRIP != 0,
          rightStrip: flag & TAMIS_TOKEN_RSTRIP != 0, normalized: flag & TAMIS_TOKEN_NORMALIZED != 0))
    }
    out.pointee = Handle.make(try tokenizer.adding(tokens), .tokenizer)
  }
}
