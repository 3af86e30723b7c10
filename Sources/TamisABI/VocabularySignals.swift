// include/tamis/vocabulary_signals.h
import CTamis
import Tamis

extension tamis_key_options: VersionedStruct {
  static var firstSize: Int { 24 }
  static var defaults: Self { Self(struct_size: currentSize, reserved: 0, main: 10, top: 100) }
}

extension tamis_key_report: VersionedStruct {
  static var firstSize: Int { 88 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_key_options_init(_ options: UnsafeMutablePointer<tamis_key_options>!) {
  options?.initialize(to: .defaults)
}

// MARK: function tokens

@c @implementation public func tamis_token_counts(
  _ lists: UnsafePointer<tamis_token_lists>!, _ vocabulary: Int64, _ counts: UnsafeMutablePointer<UInt64>!,
  _ documents: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let lists = try tokenLists(lists, "lists")
    let vocabulary = try count(vocabulary, "vocabulary", from: 1)
    let counts = try optionalRoom(counts, vocabulary, "counts")
    let documents = try optionalRoom(documents, vocabulary, "documents")
    try require(counts != nil || documents != nil, "counts and documents are NULL; expected one of them")
    let found = try FunctionTokens.count(lists, vocabulary: vocabulary)
    if let counts { fill(counts, found.counts) }
    if let documents { fill(documents, found.documents) }
  }
}

@c @implementation public func tamis_function_tokens(
  _ counts: UnsafePointer<UInt64>!, _ vocabulary: Int64, _ share: Double, _ flags: UnsafeMutablePointer<UInt8>!,
  _ n: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let vocabulary = try count(vocabulary, "vocabulary", from: 1)
    let flags = try room(flags, vocabulary, "flags")
    let n = try allow(n, "n")
    let found = try FunctionTokens.flags(counts: try array(counts, vocabulary, "counts"), share: share)
    fill(flags, found.flags)
    n?.pointee = Int64(found.count)
  }
}

@c @implementation public func tamis_function_nll(
  _ lists: UnsafePointer<tamis_token_lists>!, _ flags: UnsafePointer<UInt8>!, _ vocabulary: Int64,
  _ nll: UnsafePointer<Double>!, _ mask: UnsafePointer<UInt8>!, _ sums: UnsafeMutablePointer<Double>!,
  _ counts: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let lists = try tokenLists(lists, "lists")
    let flags = try array(flags, try count(vocabulary, "vocabulary", from: 1), "flags")
    let sums = try room(sums, 4, "sums")
    let counts = try room(counts, 4, "counts")
    let found = try FunctionTokens.groups(
      lists, flags: flags, nll: try array(nll, lists.extent, "nll"), mask: try optionalArray(mask, lists.extent, "mask"))
    for g in 0..<4 {
      sums[g] += found.sums[g]
      counts[g] &+= found.counts[g]
    }
  }
}

// MARK: Text2Token

@c @implementation public func tamis_inverse_document_frequency(
  _ documents: UnsafePointer<Int64>!, _ vocabulary: Int64, _ n: Int64, _ idf: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let vocabulary = try count(vocabulary, "vocabulary", from: 1)
    let idf = try room(idf, vocabulary, "idf")
    fill(idf, try TextTargets.inverseDocumentFrequency(documents: try array(documents, vocabulary, "documents"), of: n))
  }
}

@c @implementation public func tamis_text_target(
  _ ids: UnsafePointer<Int32>!, _ n: Int64, _ idf: UnsafePointer<Double>!, _ excluded: UnsafePointer<UInt8>!,
  _ vocabulary: Int64, _ targets: UnsafeMutablePointer<Int32>!, _ q: UnsafeMutablePointer<Double>!,
  _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try TamisABI.count(n, "n")
    let vocabulary = try TamisABI.count(vocabulary, "vocabulary", from: 1)
    let (targets, q) = (try room(targets, n, "targets"), try room(q, n, "q"))
    let count = try need(count, "count")
    let found = try TextTargets.ofText(
      try array(ids, n, "ids"), idf: try array(idf, vocabulary, "idf"),
      excluded: try optionalArray(excluded, vocabulary, "excluded"))
    fill(targets, found.tokens)
    fill(q, found.q)
    count.pointee = Int64(found.tokens.count)
  }
}

private let logitRows = TensorRule(dtypes: .floats, ndim: 2...2)

@c @implementation public func tamis_model_target(
  _ handle: OpaquePointer!, _ logits: UnsafePointer<tamis_tensor>!, _ rows: UnsafePointer<UInt8>!,
  _ excluded: UnsafePointer<UInt8>!, _ k: Int64, _ targets: UnsafeMutablePointer<Int32>!, _ q: UnsafeMutablePointer<Double>!,
  _ count: UnsafeMutablePointer<Int64>!, _ mean: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let view = try tensor(logits, "logits", logitRows).view
    let k = try TamisABI.count(k, "k", from: 1)
    let most = min(k, view.shape[1])
    let (targets, q) = (try room(targets, most, "targets"), try room(q, most, "q"))
    let count = try need(count, "count")
    let mean = try optionalRoom(mean, view.shape[1], "mean")
    let found = try TextTargets.ofModel(
      logits: view, rows: try optionalArray(rows, view.shape[0], "rows"),
      excluded: try optionalArray(excluded, view.shape[1], "excluded"), k: k, context: context)
    fill(targets, found.tokens)
    fill(q, found.q)
    count.pointee = Int64(found.tokens.count)
    if let mean { fill(mean, found.mean) }
  }
}

private func sparseTargets(
  _ pointer: UnsafePointer<tamis_sparse_targets>?, _ name: StaticString
) throws(TamisError) -> SparseTargets {
  let raw = try need(pointer, name).pointee
  do throws(TamisError) {
    let rows = try count(raw.rows, "rows")
    let starts = try array(raw.starts, rows + 1, "starts")
    try require(starts[0] >= 0, "starts[0] is \(starts[0]); expected at least 0")
    for i in 0..<rows {
      try require(
        starts[i + 1] >= starts[i] && starts[i + 1] <= Int64(countLimit),
        "starts[\(i + 1)] is \(starts[i + 1]) after \(starts[i]); expected ascending offsets up to \(countLimit)")
    }
    let entries = Int(starts[rows])
    return try SparseTargets(
      tokens: try array(raw.tokens, entries, "tokens"), q: try array(raw.q, entries, "q"), starts: starts)
  } catch {
    throw TamisError(error.status, "\(name)->\(error.message)")
  }
}

@c @implementation public func tamis_mix_targets(
  _ a: UnsafePointer<tamis_sparse_targets>!, _ b: UnsafePointer<tamis_sparse_targets>!, _ lambda: Double,
  _ targets: UnsafeMutablePointer<Int32>!, _ q: UnsafeMutablePointer<Double>!, _ starts: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let (a, b) = (try sparseTargets(a, "a"), try sparseTargets(b, "b"))
    let found = try TextTargets.mix(a, b, lambda: lambda)
    let targets = try room(targets, found.tokens.count, "targets")
    let q = try room(q, found.q.count, "q")
    let starts = try room(starts, found.starts.count, "starts")
    fill(targets, found.tokens)
    fill(q, found.q)
    fill(starts, found.starts)
  }
}

@c @implementation public func tamis_target_kl(
  _ handle: OpaquePointer!, _ logits: UnsafePointer<tamis_tensor>!, _ targets: UnsafePointer<tamis_sparse_targets>!,
  _ losses: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let view = try tensor(logits, "logits", logitRows).view
    let targets = try sparseTargets(targets, "targets")
    let losses = try room(losses, view.shape[0], "losses")
    fill(losses, try TextTargets.divergence(logits: view, targets: targets, context: context))
  }
}

@c @implementation public func tamis_text_overlap(
  _ handle: OpaquePointer!, _ logits: UnsafePointer<tamis_tensor>!, _ texts: UnsafePointer<tamis_token_lists>!, _ k: Int64,
  _ overlap: UnsafeMutablePointer<Double>!, _ mass: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let view = try tensor(logits, "logits", logitRows).view
    let texts = try tokenLists(texts, "texts")
    let overlap = try optionalRoom(overlap, view.shape[0], "overlap")
    let mass = try optionalRoom(mass, view.shape[0], "mass")
    let found = try TextTargets.overlap(logits: view, texts: texts, k: try count(k, "k", from: 1), context: context)
    if let overlap { fill(overlap, found.overlap) }
    if let mass { fill(mass, found.mass) }
  }
}

// MARK: KeyNavi, ICN

@c @implementation public func tamis_key_diagnostic(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_key_options>!, _ logits: UnsafePointer<tamis_tensor>!,
  _ clusters: UnsafePointer<Int32>!, _ keys: UnsafePointer<tamis_tensor>!, _ correct: UnsafePointer<UInt8>!,
  _ ranked: UnsafeMutablePointer<Int32>!, _ report: UnsafeMutablePointer<tamis_key_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try read(options, "options")
    try require(options.reserved == 0, "options->reserved is \(options.reserved); expected 0")
    let view = try tensor(logits, "logits", TensorRule(dtypes: .floats, ndim: 1...1)).view
    let keys = try optionalTensor(keys, "keys", logitRows)
    let top = try count(options.top, "options->top", from: 1)
    let main = try count(options.main, "options->main", from: 1)
    let ranked = try optionalRoom(ranked, top, "ranked")
    try checkOutput(report, "report")
    let clusters = try array(clusters, view.shape[0], "clusters")
    let correct = try optionalArray(correct, view.shape[0], "correct")
    let found = try context.withLock { () throws(TamisError) in
      try KeyClusters.diagnose(logits: view, clusters: clusters, keys: keys?.view, correct: correct, main: main, top: top)
    }
    if let ranked { fill(ranked, found.ranked) }
    write(
      tamis_key_report(
        struct_size: 0, reserved: 0, inside: Int64(found.inside), outside: Int64(found.outside), share: found.share,
        inside_rank: found.insideRank, outside_rank: found.outsideRank, inside_accuracy: found.insideAccuracy,
        outside_accuracy: found.outsideAccuracy, precision: found.precision, entropy: found.entropy,
        correlation: found.correlation),
      to: report)
  }
}

@c @implementation public func tamis_key_neighbors(
  _ handle: OpaquePointer!, _ keys: UnsafePointer<tamis_tensor>!, _ ids: UnsafePointer<Int32>!, _ n: Int64, _ m: Int64,
  _ neighbors: UnsafeMutablePointer<Int32>!, _ cosines: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let view = try tensor(keys, "keys", logitRows).view
    let (n, m) = (try count(n, "n"), try count(m, "m", from: 1))
    try require(n * m <= countLimit, "n is \(n) and m is \(m); expected a product of at most \(countLimit)")
    let neighbors = try room(neighbors, n * m, "neighbors")
    let cosines = try optionalRoom(cosines, n * m, "cosines")
    let found = try KeyClusters.neighbors(keys: view, of: try array(ids, n, "ids"), m: m, context: context)
    fill(neighbors, found.tokens)
    if let cosines { fill(cosines, found.cosines) }
  }
}

@c @implementation public func tamis_decorrelated_rank(
  _ ranked: UnsafePointer<Int32>!, _ n: Int64, _ clusters: UnsafePointer<Int32>!, _ vocabulary: Int64,
  _ order: UnsafeMutablePointer<Int32>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n")
    let order = try room(order, n, "order")
    let clusters = try array(clusters, try count(vocabulary, "vocabulary", from: 1), "clusters")
    fill(order, try KeyClusters.decorrelated(try array(ranked, n, "ranked"), clusters: clusters))
  }
}

@c @implementation public func tamis_unused_token(
  _ logits: UnsafePointer<tamis_tensor>!, _ used: UnsafePointer<UInt8>!, _ token: UnsafeMutablePointer<Int32>!
) -> tamis_status {
  status { () throws(TamisError) in
    let view = try tensor(logits, "logits", TensorRule(dtypes: .floats, ndim: 1...1)).view
    let token = try need(token, "token")
    token.pointee = try KeyClusters.unused(logits: view, used: try array(used, view.shape[0], "used"))
  }
}
