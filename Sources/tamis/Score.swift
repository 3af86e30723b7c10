import ArgumentParser
import Glibc
import Tamis

struct Score: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Score translations against references: BLEU, chrF, TER.",
    discussion: """
      One text a line. Prints one line a metric, with sacreBLEU 2.6.0's numbers and signature. Files may be gzip or zstd; - is \
      standard input. Exit status 2 when a file cannot be read or has another number of lines.
      """)

  enum Metric: String, CaseIterable { case bleu, chrf, ter }
  enum Tokenizer: String, ExpressibleByArgument, CaseIterable {
    case v13a = "13a"
    case intl, char, zh, none
  }
  enum Smoothing: String, ExpressibleByArgument, CaseIterable {
    case exp, floor, none
    case addK = "add-k"
  }

  @Argument(help: "The texts to score.", completion: .file())
  var hypotheses: String

  @Argument(help: "One file for each reference.", completion: .file())
  var references: [String]

  @Option(help: "bleu, chrf, ter, with commas between.")
  var metrics = "bleu"

  @Option(help: "Tokenizer of BLEU: 13a, intl, char, zh, none.")
  var tokenize = Tokenizer.v13a

  @Option(help: "Smoothing of BLEU: exp, floor, add-k, none.")
  var smoothMethod = Smoothing.exp

  @Option(help: "epsilon of floor (0.1), k of add-k (1).")
  var smoothValue: Double?

  @Option(help: "Word n-grams of chrF; 2 is chrF++.")
  var chrfWordOrder = 0

  @Flag(help: "Lower case before BLEU and chrF (TER has it anyway).")
  var lowercase = false

  @Flag(help: "Print the numbers only.")
  var scoreOnly = false

  @Option(help: "Digits behind the point.")
  var width = 1

  @Option(help: "Threads; 0: all cores.")
  var threads = 0

  func validate() throws {
    guard (0...15).contains(width) else { throw ValidationError("--width is \(width); expected 0 to 15") }
    guard !references.isEmpty else { throw ValidationError("there is no reference file; expected at least one") }
    _ = try wanted()
  }

  private func wanted() throws -> [Metric] {
    try metrics.split(separator: ",").map { name in
      guard let metric = Metric(rawValue: name.lowercased()) else {
        throw ValidationError("--metrics has \"\(name)\"; expected bleu, chrf or ter, with commas between")
      }
      return metric
    }
  }

  func run() throws {
    let metrics = try wanted()
    try reportingErrors { () throws(TamisError) in
      let texts = lines(try decompressed(try readInput(hypotheses), hypotheses))
      var streams: [[ArraySlice<UInt8>]] = []
      for name in references {
        let stream = lines(try decompressed(try readInput(name), name))
        try require(
          stream.count == texts.count,
          "\(name) has \(stream.count) lines and \(hypotheses) \(texts.count); expected as many of both")
        streams.append(stream)
      }
      let context = try Context(threads: threads)
      for metric in metrics {
        let bar = ProgressLine("\(metric)", isWanted: texts.count > 5000)
        let line =
          switch metric {
          case .bleu: try bleu(texts, streams, context, bar)
          case .chrf: try chrf(texts, streams, context, bar)
          case .ter: try ter(texts, streams, context, bar)
          }
        bar.clear()
        print(line)
      }
    }
  }

  private var common: String { "nrefs:\(references.count)|case:" }
  private func fixed(_ x: Double, _ digits: Int) -> String { decimal(x, digits) }

  private func bleu(_ texts: [ArraySlice<UInt8>], _ streams: [[ArraySlice<UInt8>]], _ context: Context, _ bar: ProgressLine)
    throws(TamisError) -> String
  {
    var words = ScoringTokenizerOptions()
    words.lowercase = lowercase
    words.tokenizer =
      switch tokenize {
      case .v13a: .v13a
      case .intl: .international
      case .char: .characters
      case .zh: .chinese
      case .none: .none
      }
    var options = BLEUOptions()
    options.value = smoothValue
    options.smoothing =
      switch smoothMethod {
      case .exp: .exponential
      case .floor: .floor
      case .none: BLEUSmoothing.none
      case .addK: .addK
      }
    let bleu = try BLEU(options)
    let corpus = try TextCorpus(hypotheses: texts, references: streams, words, context: context)
    let rows = try corpus.withBatch { (batch) throws(TamisError) in
      try bleu.count(batch, context: context, progress: { bar.show($0) })
    }
    let found = bleu.details(rows.total)
    if scoreOnly { return fixed(found.score, width) }
    var smoothing = smoothMethod.rawValue
    if smoothMethod == .floor || smoothMethod == .addK {
      smoothing += "[\(fixed(smoothValue ?? (smoothMethod == .floor ? 0.1 : 1), 2))]"
    }
    let ratio = found.referenceLength > 0 ? Double(found.length) / Double(found.referenceLength) : 0
    let precisions = found.precisions.map { fixed($0, 1) }.joined(separator: "/")
    return "BLEU|\(common)\(lowercase ? "lc" : "mixed")|eff:no|tok:\(tokenize.rawValue)|smooth:\(smoothing)|version:2.6.0 = "
      + "\(fixed(found.score, width)) \(precisions) (BP = \(fixed(found.brevityPenalty, 3)) ratio = \(fixed(ratio, 3)) "
      + "hyp_len = \(found.length) ref_len = \(found.referenceLength))"
  }

  private func chrf(_ texts: [ArraySlice<UInt8>], _ streams: [[ArraySlice<UInt8>]], _ context: Context, _ bar: ProgressLine)
    throws(TamisError) -> String
  {
    var options = ChrF.Options()
    options.wordOrder = chrfWordOrder
    let metric = try ChrF(options)
    var cut = ScoringTokenizerOptions()
    cut.lowercase = lowercase
    cut.tokenizer = .visibleCodePoints
    let characters = try TextCorpus(hypotheses: texts, references: streams, cut, context: context)
    cut.tokenizer = .chrF
    let words = chrfWordOrder > 0 ? try TextCorpus(hypotheses: texts, references: streams, cut, context: context) : nil
    let rows = try characters.withBatch { (characters) throws(TamisError) in
      guard let words else {
        return try metric.count(characters: characters, words: nil, context: context, progress: { bar.show($0) })
      }
      return try words.withBatch { (words) throws(TamisError) in
        try metric.count(characters: characters, words: words, context: context, progress: { bar.show($0) })
      }
    }
    let score = fixed(metric.corpusScore(rows), width)
    if scoreOnly { return score }
    return "chrF2\(String(repeating: "+", count: chrfWordOrder))|\(common)\(lowercase ? "lc" : "mixed")|eff:yes|nc:6|nw:"
      + "\(chrfWordOrder)|space:no|version:2.6.0 = \(score)"
  }

  private func ter(_ texts: [ArraySlice<UInt8>], _ streams: [[ArraySlice<UInt8>]], _ context: Context, _ bar: ProgressLine)
    throws(TamisError) -> String
  {
    var cut = ScoringTokenizerOptions()
    cut.lowercase = true
    cut.tokenizer = .ter
    let corpus = try TextCorpus(hypotheses: texts, references: streams, cut, context: context)
    let found = try corpus.withBatch { (batch) throws(TamisError) in
      try TranslationEditRate.count(batch, context: context, progress: { bar.show($0) })
    }
    let total = TranslationEditRate.score(edits: found.edits.reduce(0, +), length: found.lengths.reduce(0, +))
    let score = fixed(total, width)
    if scoreOnly { return score }
    return "TER|\(common)lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0 = \(score)"
  }
}

/// Lines without their ends; a last line need not have one.
func lines(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
  var found = bytes.split(separator: 0x0a, omittingEmptySubsequences: false)
  if found.last?.isEmpty == true { found.removeLast() }
  return found.map { $0.last == 0x0d ? $0.dropLast() : $0 }
}

/// A number with so many digits behind the point, correctly rounded.
func decimal(_ x: Double, _ digits: Int) -> String {
  var buffer = [CChar](repeating: 0, count: 64)
  let n = withVaList([Int32(digits), x]) { vsnprintf(&buffer, buffer.count, "%.*f", $0) }
  return String(decoding: buffer.prefix(max(0, Int(n))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
