// include/tamis/text_scores.h
import CTamis
import Tamis

// MARK: units of a text

@c @implementation public func tamis_split_text(
  _ bytes: UnsafePointer<CChar>!, _ length: Int, _ unit: tamis_unit, _ spans: UnsafeMutablePointer<tamis_span>!,
  _ capacity: Int64, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let text = try text(bytes, length, "text", "length")
    let unit = try choice(unit, "unit", TextUnits.Kind.self, "TAMIS_UNIT_WORD or TAMIS_UNIT_SENTENCE")
    let count = try need(count, "count")
    try write(try TextUnits.split(text, unit), to: spans, capacity, count)
  }
}

@c @implementation public func tamis_kept_spans(
  _ units: UnsafePointer<tamis_span>!, _ nUnits: Int64, _ indices: UnsafePointer<Int32>!, _ n: Int64,
  _ out: UnsafeMutablePointer<tamis_span>!, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let units = try spans(units, try TamisABI.count(nUnits, "n_units"), "units")
    let indices = try array(indices, try TamisABI.count(n, "n"), "indices")
    let count = try need(count, "count")
    try indices.requireSelection("indices", of: units.count)
    let kept = try units.withUnsafeBufferPointer { (units) throws(TamisError) in
      try units.requireAscending("units", apart: false)
      return KeptText.spans(units, indices)
    }
    try write(kept, to: out, Int64(kept.count), count)
  }
}

@c @implementation public func tamis_kept_text(
  _ bytes: UnsafePointer<CChar>!, _ length: Int, _ kept: UnsafePointer<tamis_span>!, _ n: Int64,
  _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let text = try text(bytes, length, "text", "length")
    let kept = try spans(kept, try TamisABI.count(n, "n"), "spans")
    let joined = try kept.withUnsafeBufferPointer { (kept) throws(TamisError) in
      try kept.requireAscending("spans", within: text.count, apart: true)
      return KeptText.joined(text, kept)
    }
    try write(bytes: joined, to: buffer, capacity, needed)
  }
}

// MARK: Selective Context

@c @implementation public func tamis_self_information(
  _ handle: OpaquePointer!, _ logits: UnsafePointer<tamis_tensor>!, _ ids: UnsafePointer<Int32>!,
  _ out: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let logits = try tensor(logits, "logits", TensorRule(dtypes: .floats, ndim: 2...2))
    let n = logits.view.shape[0]
    let ids = try array(ids, n, "ids")
    let out = try room(out, n, "out")
    // Rows are read while others are written.
    try requireApart(out, "out", UnsafeRawBufferPointer(ids), "ids")
    try requireApart(out, "out", logits)
    try SelfInformation.of(ids, logits: logits.view, into: out.baseAddress!, context: context)
  }
}

@c @implementation public func tamis_unit_scores(
  _ tokens: UnsafePointer<tamis_span>!, _ tokenScores: UnsafePointer<Float>!, _ nTokens: Int64,
  _ units: UnsafePointer<tamis_span>!, _ nUnits: Int64, _ scores: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let tokens = try spans(tokens, try TamisABI.count(nTokens, "n_tokens"), "tokens")
    let units = try spans(units, try TamisABI.count(nUnits, "n_units"), "units")
    let tokenScores = try array(tokenScores, tokens.count, "token_scores")
    let room = try room(scores, units.count, "scores")
    let found = try tokens.withUnsafeBufferPointer { (tokens) throws(TamisError) in
      try units.withUnsafeBufferPointer { (units) throws(TamisError) in
        try SelectiveContext.unitScores(tokens: tokens, scores: tokenScores, units: units)
      }
    }
    fill(room, found)
  }
}

@c @implementation public func tamis_keep_informative(
  _ scores: UnsafePointer<Float>!, _ n: Int64, _ reduceRatio: Double, _ indices: UnsafeMutablePointer<Int32>!,
  _ count: UnsafeMutablePointer<Int64>!, _ threshold: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let scores = try array(scores, try TamisABI.count(n, "n"), "scores")
    let count = try need(count, "count")
    let threshold = try allow(threshold, "threshold")
    let kept = try SelectiveContext.keep(scores, reduceRatio: reduceRatio)
    try write(kept.indices, to: indices, count)
    threshold?.pointee = kept.threshold
  }
}

// MARK: SpecPC

extension tamis_specpc_options: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, window: 64, starting_layer: 8, reduction: TAMIS_REDUCE_MAX, weighted_query: 1,
      smoothing: TAMIS_SMOOTH_MAX, kernel: 32, neighbours: -1, capacity: 1024)
  }
}

@c @implementation public func tamis_specpc_options_init(_ options: UnsafeMutablePointer<tamis_specpc_options>!) {
  options?.initialize(to: .defaults)
}

extension SpecPC.Options {
  init(_ raw: tamis_specpc_options) throws(TamisError) {
    self.init()
    window = try count(raw.window, "options->window", from: 1)
    startingLayer = try count(raw.starting_layer, "options->starting_layer")
    reduction = try choice(raw.reduction, "options->reduction", SpecPC.Reduction.self, "TAMIS_REDUCE_MAX or TAMIS_REDUCE_SUM")
    weightedQuery = try flag(raw.weighted_query, "options->weighted_query")
    budget.smoothing = try choice(
      raw.smoothing, "options->smoothing", SpecPCBudget.Smoothing.self,
      "TAMIS_SMOOTH_MAX, TAMIS_SMOOTH_MEAN or TAMIS_SMOOTH_NONE")
    budget.kernel = try count(raw.kernel, "options->kernel", from: 1)
    let neighbours = try count(raw.neighbours, "options->neighbours", from: -1)
    budget.neighbours = neighbours < 0 ? nil : neighbours
    budget.capacity = try count(raw.capacity, "options->capacity")
  }
}

@c @implementation public func tamis_specpc_create(
  _ options: UnsafePointer<tamis_specpc_options>!, _ nTokens: Int64, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let options = try SpecPC.Options(try read(options, "options"))
    let tokens = try count(nTokens, "n_tokens", from: 1)
    let out = try need(out, "out")
    out.pointee = Handle.make(try SpecPC(options, tokens: tokens), .specpc)
  }
}

@c @implementation public func tamis_specpc_destroy(_ specpc: OpaquePointer!) {
  Handle<SpecPC>.destroy(specpc, .specpc)
}

@c @implementation public func tamis_specpc_add(
  _ handle: OpaquePointer!, _ layer: Int32, _ rows: UnsafePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let specpc = try specpc(handle)
    let layer = try count(layer, "layer")
    let rows = try tensor(rows, "rows", TensorRule(dtypes: .floats, ndim: 3...3, contiguousRows: true))
    try specpc.add(layer: layer, rows: rows.view)
  }
}

@c @implementation public func tamis_specpc_add_keys(
  _ handle: OpaquePointer!, _ contextHandle: OpaquePointer!, _ layer: Int32, _ q: UnsafePointer<tamis_tensor>!,
  _ k: UnsafePointer<tamis_tensor>!, _ scale: Float
) -> tamis_status {
  status { () throws(TamisError) in
    let specpc = try specpc(handle)
    let context = try context(contextHandle)
    let layer = try count(layer, "layer")
    let q = try tensor(q, "q", TensorRule(dtypes: .floats, ndim: 3...3))
    let k = try tensor(k, "k", TensorRule(dtypes: .floats, ndim: 3...3))
    let scale = try finite(scale, "scale", from: -.greatestFiniteMagnitude)
    try specpc.add(layer: layer, q: q.view, k: k.view, scale: scale, context: context)
  }
}

@c @implementation public func tamis_specpc_scores(
  _ handle: OpaquePointer!, _ scores: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let specpc = try specpc(handle)
    let room = try room(scores, specpc.tokens, "scores")
    fill(room, try specpc.scores())
  }
}

@c @implementation public func tamis_specpc_select(
  _ handle: OpaquePointer!, _ indices: UnsafeMutablePointer<Int32>!, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let specpc = try specpc(handle)
    let count = try need(count, "count")
    try write(try specpc.select(), to: indices, count)
  }
}
