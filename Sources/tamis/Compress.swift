import ArgumentParser
import Tamis

struct Compress: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shorten texts: keep the words that carry the meaning.",
    discussion: """
      Reads files, or standard input when there are none, and writes the kept words in their order. Without --model the English
      compressor that comes with tamis is used; nothing is downloaded. Several files are the contexts of one prompt.
      """)

  enum Scope: String, ExpressibleByArgument, CaseIterable { case chunk, context, prompt }
  enum Protected: String, ExpressibleByArgument, CaseIterable { case code, urls, links, tables, json, speakers, all }
  enum Precision: String, ExpressibleByArgument, CaseIterable { case f32, bf16, i8, stored }

  @Argument(help: "Files to read; - or none: standard input.", completion: .file())
  var files: [String] = []

  @Option(help: "Share of the tokens to keep, 0 to 1.")
  var rate = 0.5

  @Option(help: "Tokens to keep over all files, in place of the rate.")
  var targetToken: Int?

  @Option(help: "Keep the words above this probability, in place of the rate.")
  var threshold: Double?

  @Option(
    name: .customLong("force-token"), parsing: .unconditionalSingleValue,
    help: "A token that always stays; may be repeated. \\n is a line break.")
  var forceTokens: [String] = []

  @Flag(help: "Words with a digit always stay.")
  var keepDigits = false

  @Flag(help: "A cut leaves its line break.")
  var keepLines = false

  @Option(parsing: .upToNextOption, help: "What stays well-formed; several may follow.")
  var protect: [Protected] = []

  @Option(help: "What shares a budget: a chunk, a file, or all of the prompt.")
  var scope = Scope.context

  @Option(help: "Folder of the model.", completion: .directory)
  var model: String?

  @Option(help: "Arithmetic of the linear layers (default: i8, stored with --compat).")
  var precision: Precision?

  @Option(help: "Tokenizer or .tiktoken file to count with; else the model's tokens are counted.", completion: .file())
  var counting: String?

  @Flag(help: "Decide as llmlingua 0.2.2 does.")
  var compat = false

  @Option(help: "Threads; 0: all cores.")
  var threads = 0

  @Flag(help: "Print counts and saving on standard error.")
  var report = false

  @Flag(help: "Print one JSON object instead of the text.")
  var json = false

  @Option(help: "Write a page that shows the kept and dropped words.", completion: .file())
  var html: String?

  @Option(name: .shortAndLong, help: "Write the text to this file.", completion: .file())
  var output: String?

  func run() throws {
    try reportingErrors { () throws(TamisError) in
      let names = files.isEmpty ? ["-"] : files
      var inputs: [[UInt8]] = []
      for name in names { inputs.append(try readInput(name)) }
      let context = try Context(threads: threads)
      let compressor = try PromptCompressor(
        path: model, counting: counting, context: context, precision: linearPrecision, placeholders: compat)
      let bar = ProgressLine("compress", isWanted: inputs.reduce(0) { $0 + $1.count } > 200_000)
      let result = try compressor.compress(arrays: inputs, options, progress: { bar.show($0) })
      bar.clear()
      let text = json ? Array(CompressionReport(result).json.text.utf8) + [0x0a] : result.text
      try writeOutput(text, to: output ?? "-")
      if let html {
        try writeOutput(Array(CompressionPage(names: names, texts: inputs, result: result).html.utf8), to: html)
      }
      if report { say(CompressionReport(result).line) }
    }
  }

  /// int8 where nothing is asked for: about one word in a hundred is decided otherwise than in f32.
  private var linearPrecision: LinearPrecision? {
    switch precision ?? (compat ? .stored : .i8) {
    case .stored: nil
    case .f32: .f32
    case .bf16: .bf16
    case .i8: .i8
    }
  }

  private var options: CompressionOptions {
    var options = CompressionOptions()
    options.mode = compat ? .compat : .native
    options.rate = rate
    options.targetTokens = targetToken
    options.threshold = threshold
    options.forceTokens = forceTokens.map { $0 == "\\n" ? "\n" : $0 }
    options.forceReserveDigit = keepDigits
    options.lineBreaks = keepLines ? .keep : .follow
    options.scope =
      switch scope {
      case .chunk: .chunk
      case .context: .context
      case .prompt: .prompt
      }
    for part in protect {
      switch part {
      case .code: options.protect.insert(.code)
      case .urls: options.protect.insert(.urls)
      case .links: options.protect.insert(.links)
      case .tables: options.protect.insert(.tables)
      case .json: options.protect.insert(.json)
      case .speakers: options.protect.insert(.speakers)
      case .all: options.protect = .all
      }
    }
    return options
  }
}
