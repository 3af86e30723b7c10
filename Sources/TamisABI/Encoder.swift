// include/tamis/encoder.h
import CTamis
import Tamis

extension tamis_encoder_options: VersionedStruct {
  static var firstSize: Int { 32 }
  static var defaults: Self {
    Self(struct_size: currentSize, precision: TAMIS_PRECISION_STORED, added_rows: 0, progress: nil, progress_user: nil)
  }
}

extension tamis_encoder_info: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_encoder_options_init(_ options: UnsafeMutablePointer<tamis_encoder_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_encoder_create(
  _ handle: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<tamis_encoder_options>!,
  _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let path = try string(path, "path")
    let options = try read(options, "options")
    let out = try need(out, "out")
    let rows = try count(options.added_rows, "options->added_rows")
    try require(rows <= 1 << 20, "options->added_rows is \(rows); expected 0 to \(1 << 20)")
    let encoder = try TextEncoder(
      path: path, context: context, precision: try precision(options.precision), addedRows: rows,
      progress: progress(options.progress, options.progress_user))
    out.pointee = Handle.make(encoder, .encoder)
  }
}

private func precision(_ value: tamis_precision) throws(TamisError) -> LinearPrecision? {
  if value == TAMIS_PRECISION_STORED { return nil }
  return try choice(value, "options->precision", LinearPrecision.self, "TAMIS_PRECISION_STORED to TAMIS_PRECISION_I8")
}

@c @implementation public func tamis_encoder_destroy(_ encoder: OpaquePointer!) {
  Handle<TextEncoder>.destroy(encoder, .encoder)
}

@c @implementation public func tamis_encoder_get_info(
  _ handle: OpaquePointer!, _ info: UnsafeMutablePointer<tamis_encoder_info>!
) -> tamis_status {
  status { () throws(TamisError) in
    let encoder = try encoder(handle)
    try checkOutput(info, "info")
    let c = encoder.config
    write(
      tamis_encoder_info(
        struct_size: tamis_encoder_info.currentSize, kind: c.kind.rawValue, precision: encoder.precision.rawValue,
        layers: Int32(clamping: c.layers), hidden: Int32(clamping: c.hidden), heads: Int32(clamping: c.heads),
        vocabulary: Int32(clamping: c.vocabulary), types: Int32(clamping: c.types), max_tokens: Int32(clamping: c.maxTokens),
        pad_id: c.padId ?? -1, labels: Int32(clamping: c.labels.count), pooling: encoder.pooling.rawValue,
        normalise: encoder.normalises ? 1 : 0, embed_tokens: Int32(clamping: encoder.embedTokens),
        parameters: Int64(encoder.parameters), bytes: Int64(encoder.byteCount)), to: info)
  }
}

@c @implementation public func tamis_encoder_label(
  _ handle: OpaquePointer!, _ i: Int32, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let labels = try encoder(handle).config.labels
    try require(i >= 0 && i < labels.count, "i is \(i); expected 0 to \(labels.count - 1)")
    try write(labels[Int(i)], to: buffer, capacity, needed)
  }
}

@c @implementation public func tamis_encoder_states(
  _ handle: OpaquePointer!, _ tokens: UnsafePointer<tamis_ragged>!, _ out: UnsafePointer<tamis_tensor>!,
  _ callback: tamis_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let encoder = try encoder(handle)
    let batch = try RaggedArgument(tokens)
    let out = try batch.output(out, rows: batch.tokens.ids.count, width: encoder.config.hidden, "tokens, hidden")
    try encoder.hiddenStates(batch.tokens, types: batch.types, into: out, progress: progress(callback, user))
  }
}

@c @implementation public func tamis_encoder_classify(
  _ handle: OpaquePointer!, _ tokens: UnsafePointer<tamis_ragged>!, _ form: tamis_class_form,
  _ out: UnsafePointer<tamis_tensor>!, _ callback: tamis_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let encoder = try encoder(handle)
    let batch = try RaggedArgument(tokens)
    try require(
      form == TAMIS_CLASS_LOGITS || form == TAMIS_CLASS_PROBABILITIES,
      "form is \(form); expected TAMIS_CLASS_LOGITS or TAMIS_CLASS_PROBABILITIES")
    let labels = encoder.config.labels.count
    guard labels > 0 else {
      throw TamisError(
        .unsupported, "encoder is a model without a token classification head; expected one with classifier.weight")
    }
    let out = try batch.output(out, rows: batch.tokens.ids.count, width: labels, "tokens, labels")
    try encoder.classify(
      batch.tokens, types: batch.types, probabilities: form == TAMIS_CLASS_PROBABILITIES, into: out,
      progress: progress(callback, user))
  }
}

@c @implementation public func tamis_encoder_embed(
  _ handle: OpaquePointer!, _ tokens: UnsafePointer<tamis_ragged>!, _ pooling: tamis_pooling, _ normalise: Int32,
  _ out: UnsafePointer<tamis_tensor>!, _ callback: tamis_progress_fn!, _ user: UnsafeMutableRawPointer!
) -> tamis_status {
  status { () throws(TamisError) in
    let encoder = try encoder(handle)
    let batch = try RaggedArgument(tokens)
    let pooling =
      pooling == TAMIS_POOLING_STORED
      ? nil : try choice(pooling, "pooling", Pooling.self, "TAMIS_POOLING_STORED to TAMIS_POOLING_MAX")
    try require((-1...1).contains(normalise), "normalise is \(normalise); expected 0, 1 or -1 (as modules.json says)")
    let out = try batch.output(out, rows: batch.tokens.sequences, width: encoder.config.hidden, "sequences, hidden")
    try encoder.embed(
      batch.tokens, types: batch.types, pooling: pooling, normalise: normalise < 0 ? nil : normalise == 1, into: out,
      progress: progress(callback, user))
  }
}
