public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// A reply against the answers of a task.
public struct NeedleScore: Sendable, Equatable {
  public var expected = 0
  /// Values read in the reply; conditional: different ones.
  public var predicted = 0
  public var matched = 0
  public var isCorrect = false
  public init() {}

  public var accuracy: Double { Double(matched) / Double(expected) }
  public var precision: Double { predicted == 0 ? 0 : Double(matched) / Double(predicted) }
  public var f1: Double { matched == 0 ? 0 : 2 * precision * accuracy / (precision + accuracy) }
}

extension NeedleTask {
  /// Prompt of our own wording, with {haystack}, {keys} and {character} to be replaced.
  public static func template(_ kind: NeedleKind) -> String {
    let intro = "Below is a JSON object whose keys and values are UUIDs.\n\n{haystack}\n\n"
    let one = " Reply with the value alone.\nValue:"
    let list = " Reply with a list of quoted values in brackets, separated by commas.\nValues:"
    let chain =
      "Where a value is itself a key of the object, go on to the value of that key, until you reach a value that is no key."
    switch kind {
    case .single: return intro + "What is the value of the key {keys}?" + one
    case .multiple: return intro + "What are the values of these keys, in this order: {keys}?" + list
    case .conditional: return intro + "What are the values of all keys that contain the character {character}?" + list
    case .threading: return intro + "Start at the key {keys}. " + chain + " Which value is it?" + one
    case .multiThreading:
      return intro + "Start at each of these keys: {keys}. " + chain + " Which values are they, in that order?" + list
    }
  }

  /// The prompt; `template` nil: our own wording. Braces of anything else stay.
  /// - Throws: `invalidArgument`: more than 2^31 - 1 bytes.
  public func prompt(_ template: [UInt8]? = nil) throws(TamisError) -> [UInt8] {
    let template = template ?? Array(Self.template(options.kind).utf8)
    let quoted = keys.map { [UInt8(ascii: "\"")] + $0 + [UInt8(ascii: "\"")] }
    let parts: [(name: [UInt8], text: [UInt8])] = [
      (Array("{haystack}".utf8), haystack), (Array("{keys}".utf8), Array(quoted.joined(separator: [0x2c, 0x20]))),
      (Array("{character}".utf8), [options.conditionalCharacter]),
    ]
    var prompt: [UInt8] = []
    var i = 0
    while i < template.count {
      try require(
        prompt.count <= Int(Int32.max) - haystack.count,
        "prompt_template makes a prompt of more than \(prompt.count) bytes; expected at most \(Int32.max)")
      if template[i] == UInt8(ascii: "{"), let part = parts.first(where: { template[i...].starts(with: $0.name) }) {
        prompt += part.text
        i += part.name.count
      } else {
        prompt.append(template[i])
        i += 1
      }
    }
    return prompt
  }

  public func score(_ reply: UnsafeBufferPointer<UInt8>) -> NeedleScore {
    let reply = Array(reply)
    var score = NeedleScore()
    score.expected = answers.count
    switch options.kind {
    case .single, .threading:
      let said = NeedleReply.literal(reply[...])
      score.predicted = said.isEmpty ? 0 : 1
      score.matched = said.starts(with: answers[0]) ? 1 : 0
      score.isCorrect = score.matched == 1
    case .multiple, .multiThreading:
      let said = NeedleReply.values(reply)
      score.predicted = said.count
      for (value, answer) in zip(said, answers) where value.starts(with: answer) { score.matched += 1 }
      score.isCorrect = score.matched == score.expected
    case .conditional:
      let gold = Set(answers)
      // As with the others, what follows the first 36 characters does not count.
      let said = Set(NeedleReply.values(reply).map { Array($0.prefix(answers[0].count)) })
      score.predicted = said.count
      score.matched = said.intersection(gold).count
      score.isCorrect = score.matched == score.expected && score.predicted == score.matched
    }
    return score
  }
}

/// Values in the words of a model.
enum NeedleReply {
  /// Without white space at the ends, and without a pair of quotes around it.
  static func literal(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let text = stripped(text)
    guard text.count >= 2, let quote = text.first, quote == text.last, quote == 0x22 || quote == 0x27 else { return text }
    return text.dropFirst().dropLast()
  }

  private static func stripped(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    text.withUnsafeBufferPointer { bytes in
      let words = WordSpans(bytes)
      guard words.count > 0 else { return text.prefix(0) }
      return text[text.startIndex + words.starts[0]..<text.startIndex + words.ends[words.count - 1]]
    }
  }

  /// What stands between the first [ and its ], else all of it, at commas and line ends; empty values do not count.
  static func values(_ reply: [UInt8]) -> [ArraySlice<UInt8>] {
    var list = reply[...]
    if let open = reply.firstIndex(of: UInt8(ascii: "[")) {
      list = reply[(open + 1)...]
      if let close = list.firstIndex(of: UInt8(ascii: "]")) { list = list[..<close] }
    }
    return list.split { $0 == UInt8(ascii: ",") || $0 == 0x0a || $0 == 0x0d }.map(literal).filter { !$0.isEmpty }
  }
}

/// Figures of a run of tasks.
public enum NeedleFigures {
  /// Wilson score interval of a share; (0, 1) of no trials.
  public static func wilson(won: Int, trials: Int, z: Double = 1.96) throws(TamisError) -> (low: Double, high: Double) {
    try require(trials >= 0, "trials is \(trials); expected at least 0")
    try require((0...trials).contains(won), "won is \(won); expected 0 to trials, \(trials)")
    try require(z >= 0 && z.isFinite, "z is \(z); expected a finite number of at least 0")
    if trials == 0 { return (0, 1) }
    let n = Double(trials)
    let p = Double(won) / n
    let zz = z * (z / n)
    guard zz.isFinite else { return (0, 1) }
    let middle = (p + zz / 2) / (1 + zz)
    let half = (z * (p * (1 - p) / n + zz / (4 * n)).squareRoot()) / (1 + zz)
    // The ends are exact where nothing or everything was won.
    return (won == 0 ? 0 : max(0, middle - half), won == trials ? 1 : min(1, middle + half))
  }

  /// Where accuracy first falls below the threshold, linear over the logarithm of the length; 0: below it at the smallest;
  /// the largest length: never (PROPOSED).
  /// - Parameters:
  ///   - lengths: [n] above 0, ascending, in one unit; characters compare between tokenizers.
  ///   - accuracies: [n] 0 to 1.
  public static func effectiveContextLength(
    _ lengths: some RandomAccessCollection<Double>, _ accuracies: some RandomAccessCollection<Double>, threshold: Double = 0.75
  ) throws(TamisError) -> Double {
    let (x, y) = (Array(lengths), Array(accuracies))
    try require(!x.isEmpty, "n is 0; expected at least 1")
    try require(x.count == y.count, "accuracies has \(y.count) numbers; expected \(x.count), one a length")
    try require(threshold >= 0 && threshold <= 1, "threshold is \(threshold); expected 0 to 1")
    for i in x.indices {
      try require(
        x[i] > (i == 0 ? 0 : x[i - 1]) && x[i].isFinite,
        "lengths[\(i)] is \(x[i]); expected finite numbers above 0 that ascend")
      try require(y[i] >= 0 && y[i] <= 1, "accuracies[\(i)] is \(y[i]); expected 0 to 1")
    }
    if y[0] < threshold { return 0 }
    for i in x.indices.dropFirst() where y[i] < threshold {
      let share = (y[i - 1] - threshold) / (y[i - 1] - y[i])
      return min(x[i - 1] * exp(share * (log(x[i]) - log(x[i - 1]))), x[i])
    }
    return x[x.count - 1]
  }
}
