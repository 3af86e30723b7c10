// include/tamis/logit_metrics.h: rows of one model and of two
import CTamis
import Tamis

extension tamis_logit_options: VersionedStruct {
  static var firstSize: Int { 48 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, top_k: 1, ignore_index: -100, reserved: 0, temperature: 1, label_smoothing: 0, progress: nil,
      progress_user: nil)
  }
}

extension tamis_logit_outputs: VersionedStruct {
  static var firstSize: Int { 128 }
  static var defaults: Self { Self() }
}

extension tamis_logit_summary: VersionedStruct {
  static var firstSize: Int { 88 }
  static var defaults: Self { Self() }
}

extension tamis_divergence_outputs: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_logit_options_init(_ options: UnsafeMutablePointer<tamis_logit_options>!) {
  options?.initialize(to: .defaults)
}

/// The options, checked.
struct LogitOptions {
  let raw: tamis_logit_options
  let inverseTemperature: Double

  init(_ pointer: UnsafePointer<tamis_logit_options>?) throws(TamisError) {
    raw = try read(pointer, "options")
    try require(raw.top_k >= 1, "options->top_k is \(raw.top_k); expected at least 1")
    try require(raw.reserved == 0, "options->reserved is \(raw.reserved); expected 0")
    try require(
      raw.temperature >= 1e-6 && raw.temperature <= 1e6,
      "options->temperature is \(raw.temperature); expected 0.000001 to 1000000")
    try require(
      raw.label_smoothing >= 0 && raw.label_smoothing <= 1,
      "options->label_smoothing is \(raw.label_smoothing); expected 0 to 1")
    inverseTemperature = raw.temperature == 1 ? 1 : 1 / raw.temperature
  }

  var progress: Progress? { TamisABI.progress(raw.progress, raw.progress_user) }
}

func logitRows(
  _ pointer: UnsafePointer<tamis_tensor>?, _ name: StaticString
) throws(TamisError) -> (rows: LogitRows, argument: TensorArgument) {
  let argument = try tensor(pointer, name, TensorRule(dtypes: .floats, ndim: 2...3))
  let rows = LogitRows(argument.view)
  try require(
    rows.count <= countLimit, "\(name) is \(argument.view.dims), \(rows.count) rows; expected at most \(countLimit)")
  return (rows, argument)
}

/// Targets with -1 for rows to skip.
func checkedTargets(
  _ pointer: UnsafePointer<Int32>?, _ rows: LogitRows, ignore: Int32
) throws(TamisError) -> [Int32]? {
  if pointer == nil { return nil }
  let targets = try array(pointer, rows.count, "targets")
  let vocabulary = Int32(rows.vocabulary)
  var result = [Int32](repeating: -1, count: rows.count)
  for row in 0..<rows.count {
    let id = targets[row]
    if id == ignore { continue }
    try require(
      id >= 0 && id < vocabulary,
      "targets[\(row)] is \(id); expected 0 to \(vocabulary - 1), or \(ignore), which is ignored")
    result[row] = id
  }
  return result
}

/// Room of one output, apart from the inputs and from the outputs before it.
private struct OutputRooms {
  let rows: Int
  var taken: [(name: StaticString, bytes: Range<UInt>)]

  mutating func take<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: StaticString, count: Int? = nil)
    throws(TamisError) -> UnsafeMutablePointer<T>?
  {
    if pointer == nil { return nil }
    let room = try room(pointer, count ?? rows, name)
    guard let base = room.baseAddress else { return nil }
    let low = UInt(bitPattern: base)
    let bytes = low..<(low + UInt(room.count * MemoryLayout<T>.stride))
    for other in taken { try requireApart(bytes, other.bytes, name, other.name) }
    taken.append((name, bytes))
    return base
  }

  mutating func reserve(_ targets: UnsafePointer<Int32>?) {
    guard let targets else { return }
    let low = UInt(bitPattern: targets)
    taken.append(("targets", low..<(low + UInt(rows * 4))))
  }
}

@c @implementation public func tamis_logit_metrics(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_logit_options>!, _ logits: UnsafePointer<tamis_tensor>!,
  _ targets: UnsafePointer<Int32>!, _ outputs: UnsafeMutablePointer<tamis_logit_outputs>!,
  _ summary: UnsafeMutablePointer<tamis_logit_summary>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try LogitOptions(options)
    let (rows, argument) = try logitRows(logits, "logits")
    let ids = try checkedTargets(targets, rows, ignore: options.raw.ignore_index)
    try require(outputs != nil || summary != nil, "outputs and summary are NULL; expected one of them")
    var rooms = OutputRooms(rows: rows.count, taken: [(argument.name, argument.bytes)])
    rooms.reserve(targets)
    let writer = try LogitWriter(outputs, &rooms, hasTargets: ids != nil, smoothing: options.raw.label_smoothing)
    var sums = try LogitSummer(summary, &rooms, hasTargets: ids != nil, options.raw)
    let smoothing = options.raw.label_smoothing
    func pass(_ targets: UnsafePointer<Int32>?) throws(TamisError) {
      var job = LogitJob(rows, targets: targets, needs: writer.needs.union(sums?.needs ?? []))
      job.topK = min(Int(options.raw.top_k), rows.vocabulary)
      job.inverseTemperature = options.inverseTemperature
      try LogitPass(job, context: context, progress: options.progress).run { row, found in
        writer.write(row, found, smoothing)
        if let found { sums?.add(found, smoothing, target: targets.map { $0[row] }, topK: options.raw.top_k) }
      }
    }
    if let ids {
      try ids.withUnsafeBufferPointer { buffer throws(TamisError) in try pass(buffer.baseAddress) }
    } else {
      try pass(nil)
    }
    sums?.finish(summary)
  }
}

/// The arrays of tamis_logit_outputs.
private struct LogitWriter {
  var needs: LogitNeeds = []
  private var floats: [(UnsafeMutablePointer<Float>, (LogitMetrics, Double) -> Double)] = []
  private var ints: [(UnsafeMutablePointer<Int32>, (LogitMetrics) -> Int32, skipped: Int32)] = []

  init(
    _ pointer: UnsafeMutablePointer<tamis_logit_outputs>?, _ rooms: inout OutputRooms, hasTargets: Bool, smoothing: Double
  ) throws(TamisError) {
    if pointer == nil { return }
    let raw = try read(UnsafePointer(pointer), "outputs")
    try require(raw.reserved == 0, "outputs->reserved is \(raw.reserved); expected 0")
    func target(_ pointer: UnsafeMutableRawPointer?, _ name: StaticString) throws(TamisError) {
      try require(pointer == nil || hasTargets, "targets is NULL; expected targets for \(name)")
    }
    try target(raw.nll, "outputs->nll")
    try target(raw.loss, "outputs->loss")
    try target(raw.probability, "outputs->probability")
    try target(raw.brier, "outputs->brier")
    try target(raw.rank, "outputs->rank")
    try target(raw.ties, "outputs->ties")
    try add(raw.nll, "outputs->nll", [], &rooms) { found, _ in found.nll }
    try add(raw.loss, "outputs->loss", smoothing > 0 ? .total : [], &rooms) { $0.loss(smoothing: $1) }
    try add(raw.lse, "outputs->lse", [], &rooms) { found, _ in found.logSumExp }
    try add(raw.entropy, "outputs->entropy", .first, &rooms) { found, _ in found.entropy }
    try add(raw.varentropy, "outputs->varentropy", .allMoments, &rooms) { found, _ in found.varentropy }
    try add(raw.collision, "outputs->collision", .allMoments, &rooms) { found, _ in found.collision }
    try add(raw.confidence, "outputs->confidence", [], &rooms) { found, _ in found.confidence }
    try add(raw.margin, "outputs->margin", .largest, &rooms) { found, _ in found.margin }
    try add(raw.probability, "outputs->probability", [], &rooms) { found, _ in found.probability }
    try add(raw.brier, "outputs->brier", .allMoments, &rooms) { found, _ in found.brier }
    try add(raw.top_k_mass, "outputs->top_k_mass", .mass, &rooms) { found, _ in found.topMass }
    try add(raw.mean, "outputs->mean", .total, &rooms) { found, _ in found.mean }
    try add(raw.top, "outputs->top", .largest, &rooms, skipped: -1) { $0.top }
    try add(raw.rank, "outputs->rank", .ranks, &rooms, skipped: 0) { $0.isDefined ? $0.rank : 0 }
    try add(raw.ties, "outputs->ties", .ranks, &rooms, skipped: 0) { $0.isDefined ? $0.ties : 0 }
  }

  private mutating func add(
    _ pointer: UnsafeMutablePointer<Float>?, _ name: StaticString, _ needed: LogitNeeds, _ rooms: inout OutputRooms,
    _ value: @escaping (LogitMetrics, Double) -> Double
  ) throws(TamisError) {
    guard let base = try rooms.take(pointer, name) else { return }
    needs.formUnion(needed)
    floats.append((base, value))
  }

  private mutating func add(
    _ pointer: UnsafeMutablePointer<Int32>?, _ name: StaticString, _ needed: LogitNeeds, _ rooms: inout OutputRooms,
    skipped: Int32, _ value: @escaping (LogitMetrics) -> Int32
  ) throws(TamisError) {
    guard let base = try rooms.take(pointer, name) else { return }
    needs.formUnion(needed)
    ints.append((base, value, skipped))
  }

  func write(_ row: Int, _ found: LogitMetrics?, _ smoothing: Double) {
    for (to, value) in floats { to[row] = found.map { Float(value($0, smoothing)) } ?? 0 }
    for (to, value, skipped) in ints { to[row] = found.map { value($0) } ?? skipped }
  }
}

/// The sums of a tamis_logit_summary, added to what the caller has; written back at the end.
private struct LogitSummer {
  private var raw: tamis_logit_summary
  private let wanted: WantedSums
  private let bins: Int
  private var triples: [Double]
  private let room: UnsafeMutablePointer<Double>?
  let needs: LogitNeeds

  init?(
    _ pointer: UnsafeMutablePointer<tamis_logit_summary>?, _ rooms: inout OutputRooms, hasTargets: Bool,
    _ options: tamis_logit_options
  ) throws(TamisError) {
    if pointer == nil { return nil }
    raw = try read(UnsafePointer(pointer), "summary")
    wanted = WantedSums(rawValue: raw.sums)
    try require(
      WantedSums.all.isSuperset(of: wanted), "summary->sums is \(raw.sums); expected TAMIS_LOGIT_SUM_* or-ed together")
    try require(raw.reserved == 0, "summary->reserved is \(raw.reserved); expected 0")
    bins = try count(raw.n_bins, "summary->n_bins")
    try require(bins <= 65536, "summary->n_bins is \(bins); expected 0 to 65536")
    try require(
      bins > 0 || raw.bins == nil, "summary->bins is set and n_bins is 0; expected NULL, or the number of bins")
    try require(
      hasTargets || (bins == 0 && wanted.isSubset(of: .entropy)),
      "targets is NULL; expected targets for the sums \(raw.sums) and \(bins) bins of summary")
    for value in [raw.tokens, raw.nan_rows, raw.correct, raw.within_top_k] {
      try require(
        value >= 0 && value <= Int64.max / 2, "summary holds the count \(value); expected 0 to 2^62, as at the last call")
    }
    triples = []
    room = bins == 0 ? nil : try rooms.take(try need(raw.bins, "summary->bins"), "summary->bins", count: 3 * (bins + 1))
    if let room { triples = Array(UnsafeBufferPointer(start: room, count: 3 * (bins + 1))) }
    let own = UInt(bitPattern: pointer)
    for other in rooms.taken {
      try requireApart(own..<(own + UInt(MemoryLayout<tamis_logit_summary>.size)), other.bytes, "summary", other.name)
    }
    var needs = wanted.needs(smoothing: options.label_smoothing)
    if bins > 0 { needs.insert(.largest) }
    self.needs = needs
  }

  mutating func add(_ found: LogitMetrics, _ smoothing: Double, target: Int32?, topK: Int32) {
    if !found.isDefined {
      raw.nan_rows += 1
      return
    }
    raw.tokens += 1
    if wanted.contains(.entropy) { raw.entropy += found.entropy }
    guard let target else { return }
    if wanted.contains(.nll) { raw.nll += found.nll }
    if wanted.contains(.loss) { raw.loss += found.loss(smoothing: smoothing) }
    if wanted.contains(.brier) { raw.brier += found.brier }
    let isCorrect = found.top == target
    if wanted.contains(.correct) && isCorrect { raw.correct += 1 }
    if wanted.contains(.withinTopK) && found.rank <= topK { raw.within_top_k += 1 }
    if bins == 0 { return }
    let confidence = Float(found.confidence)
    let i = 3 * Calibration.bin(confidence, of: bins)
    triples[i] += 1
    triples[i + 1] += Double(confidence)
    if isCorrect { triples[i + 2] += 1 }
  }

  func finish(_ pointer: UnsafeMutablePointer<tamis_logit_summary>) {
    if let room { for i in triples.indices { room[i] = triples[i] } }
    write(raw, to: pointer)
  }
}

@c @implementation public func tamis_logit_divergence(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_logit_options>!, _ p: UnsafePointer<tamis_tensor>!,
  _ q: UnsafePointer<tamis_tensor>!, _ outputs: UnsafeMutablePointer<tamis_divergence_outputs>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try LogitOptions(options)
    let (p, pArgument) = try logitRows(p, "p")
    let (q, qArgument) = try logitRows(q, "q")
    try requireShape(of: qArgument, like: pArgument)
    try require(outputs != nil, "outputs is NULL; expected an address")
    let raw = try read(UnsafePointer(outputs), "outputs")
    try require(raw.reserved == 0, "outputs->reserved is \(raw.reserved); expected 0")
    var rooms = OutputRooms(
      rows: p.count, taken: [(pArgument.name, pArgument.bytes), (qArgument.name, qArgument.bytes)])
    let kl = try rooms.take(raw.kl, "outputs->kl")
    let reverse = try rooms.take(raw.reverse_kl, "outputs->reverse_kl")
    let js = try rooms.take(raw.js, "outputs->js")
    let variation = try rooms.take(raw.total_variation, "outputs->total_variation")
    var job = LogitPairJob(p, q)
    job.inverseTemperature = options.inverseTemperature
    job.needsDistance = js != nil || variation != nil
    try LogitDivergence.run(job, context: context, progress: options.progress) { row, found in
      kl?[row] = Float(found.forward)
      reverse?[row] = Float(found.backward)
      js?[row] = Float(found.jensenShannon)
      variation?[row] = Float(found.totalVariation)
    }
  }
}

@c @implementation public func tamis_contrastive_log_probs(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_logit_options>!, _ positive: UnsafePointer<tamis_tensor>!,
  _ negative: UnsafePointer<tamis_tensor>!, _ targets: UnsafePointer<Int32>!, _ beta: Double,
  _ out: UnsafeMutablePointer<Float>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try LogitOptions(options)
    let (positive, first) = try logitRows(positive, "positive")
    let (negative, second) = try logitRows(negative, "negative")
    try requireShape(of: second, like: first)
    try require(beta >= 0 && beta <= 1e6, "beta is \(beta); expected 0 to 1000000")
    _ = try need(targets, "targets")
    let ids = try checkedTargets(targets, positive, ignore: options.raw.ignore_index)!
    var rooms = OutputRooms(rows: positive.count, taken: [(first.name, first.bytes), (second.name, second.bytes)])
    rooms.reserve(targets)
    _ = try need(out, "out")
    let room = try rooms.take(out, "out")
    try ids.withUnsafeBufferPointer { buffer throws(TamisError) in
      var job = LogitJob(positive, targets: buffer.baseAddress, needs: [])
      // Without the second model its infinities do not count either.
      job.other = beta == 0 ? nil : negative
      (job.weight, job.otherWeight) = (1 + beta, beta)
      job.inverseTemperature = options.inverseTemperature
      try LogitPass(job, context: context, progress: options.progress).run { row, found in
        room?[row] = found.map { Float(-$0.nll) } ?? 0
      }
    }
  }
}
