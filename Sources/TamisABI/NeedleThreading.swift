// include/tamis/needle_threading.h
import CTamis
import Tamis

extension tamis_needle_options: VersionedStruct {
  static var firstSize: Int { 56 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, kind: TAMIS_NEEDLE_SINGLE, pairs: 25, seed: 0, depth: 50, needles: 1,
      placement: TAMIS_NEEDLE_RANDOM, conditional_character: 0x2a, thread_length: 2, direction: TAMIS_THREAD_FORWARD,
      threads: 1)
  }
}

extension tamis_needle_view: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self { Self() }
}

extension tamis_needle_score: VersionedStruct {
  static var firstSize: Int { 56 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_needle_options_init(_ options: UnsafeMutablePointer<tamis_needle_options>!) {
  options?.initialize(to: .defaults)
}

extension NeedleOptions {
  fileprivate init(_ raw: tamis_needle_options) throws(TamisError) {
    self.init()
    kind = try choice(
      raw.kind, "options->kind", NeedleKind.self, "TAMIS_NEEDLE_SINGLE to TAMIS_NEEDLE_MULTI_THREADING")
    placement = try choice(
      raw.placement, "options->placement", NeedlePlacement.self, "TAMIS_NEEDLE_RANDOM or TAMIS_NEEDLE_CLUSTERED")
    direction = try choice(
      raw.direction, "options->direction", ThreadDirection.self, "TAMIS_THREAD_FORWARD to TAMIS_THREAD_RANDOM")
    try require(
      raw.pairs >= 1 && raw.pairs <= Int64(Self.maxPairs), "options->pairs is \(raw.pairs); expected 1 to \(Self.maxPairs)")
    pairs = Int(raw.pairs)
    seed = raw.seed
    depth = raw.depth
    needles = Int(raw.needles)
    try require(
      (0...0x7f).contains(raw.conditional_character),
      "options->conditional_character is \(raw.conditional_character); expected a visible ASCII character")
    conditionalCharacter = UInt8(raw.conditional_character)
    threadLength = Int(raw.thread_length)
    threads = Int(raw.threads)
    try validate()
  }
}

/// A task with texts that stay where they are.
private final class NeedleTaskTexts {
  let task: NeedleTask
  private let haystack: ByteStrings
  private let keys: ByteStrings
  private let answers: ByteStrings
  private let positions: UnsafeMutableBufferPointer<Int64>

  init(_ task: NeedleTask) {
    self.task = task
    haystack = ByteStrings([task.haystack])
    keys = ByteStrings(task.keys)
    answers = ByteStrings(task.answers)
    positions = .allocate(capacity: task.positions.count)
    _ = positions.initialize(from: task.positions.lazy.map { Int64($0) })
  }

  deinit { positions.deallocate() }

  var view: tamis_needle_view {
    tamis_needle_view(
      struct_size: 0, kind: task.options.kind.rawValue, haystack: haystack[0], haystack_bytes: Int64(task.haystack.count),
      keys: UnsafePointer(keys.addresses.baseAddress), n_keys: Int64(task.keys.count),
      answers: UnsafePointer(answers.addresses.baseAddress), n_answers: Int64(task.answers.count),
      positions: UnsafePointer(positions.baseAddress), n_positions: Int64(task.positions.count))
  }
}

private func texts(_ handle: OpaquePointer?) throws(TamisError) -> NeedleTaskTexts {
  try Handle<NeedleTaskTexts>.object(handle, .needle_task, "task")
}

@c @implementation public func tamis_needle_task_create(
  _ options: UnsafePointer<tamis_needle_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let out = try need(out, "out")
    let options = try NeedleOptions(try read(options, "options"))
    out.pointee = Handle.make(NeedleTaskTexts(try NeedleTask(options)), .needle_task)
  }
}

@c @implementation public func tamis_needle_task_destroy(_ task: OpaquePointer!) {
  Handle<NeedleTaskTexts>.destroy(task, .needle_task)
}

@c @implementation public func tamis_needle_task_get(
  _ handle: OpaquePointer!, _ view: UnsafeMutablePointer<tamis_needle_view>!
) -> tamis_status {
  status { () throws(TamisError) in
    let texts = try texts(handle)
    try checkOutput(view, "view")
    write(texts.view, to: view)
  }
}

@c @implementation public func tamis_needle_task_prompt(
  _ handle: OpaquePointer!, _ template: UnsafePointer<CChar>!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let task = try texts(handle).task
    let template = template == nil ? nil : Array(try string(template, "prompt_template").utf8)
    try write(bytes: try task.prompt(template), to: buffer, capacity, needed)
  }
}

@c @implementation public func tamis_needle_task_score(
  _ handle: OpaquePointer!, _ reply: UnsafePointer<CChar>!, _ length: Int, _ out: UnsafeMutablePointer<tamis_needle_score>!
) -> tamis_status {
  status { () throws(TamisError) in
    let task = try texts(handle).task
    let reply = try text(reply, length, "reply", "n_bytes")
    try checkOutput(out, "score")
    let found = task.score(reply)
    write(
      tamis_needle_score(
        struct_size: 0, correct: found.isCorrect ? 1 : 0, expected: Int64(found.expected), predicted: Int64(found.predicted),
        matched: Int64(found.matched), accuracy: found.accuracy, precision: found.precision, f1: found.f1),
      to: out)
  }
}

@c @implementation public func tamis_wilson_interval(
  _ won: Int64, _ trials: Int64, _ z: Double, _ low: UnsafeMutablePointer<Double>!, _ high: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let (low, high) = (try need(low, "low"), try need(high, "high"))
    (low.pointee, high.pointee) = try NeedleFigures.wilson(won: Int(won), trials: Int(trials), z: z)
  }
}

@c @implementation public func tamis_effective_context_length(
  _ lengths: UnsafePointer<Double>!, _ accuracies: UnsafePointer<Double>!, _ n: Int64, _ threshold: Double,
  _ length: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try count(n, "n", from: 1)
    let (x, y) = (try array(lengths, n, "lengths"), try array(accuracies, n, "accuracies"))
    try need(length, "length").pointee = try NeedleFigures.effectiveContextLength(x, y, threshold: threshold)
  }
}
