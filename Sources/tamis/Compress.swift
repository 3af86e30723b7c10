import ArgumentParser
import Glibc
import Tamis

struct Compress: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shorten texts: keep the words that carry the meaning.",
    discussion: """
      Reads files, or standard input when there are none, and writes the kept words in their order. Without --model the English
      compressor that comes with tamis is used; nothing is downloaded. Several files are the contexts of one prompt.
      """)

  @Argument(help: "Files to read; - or none: standard input.", completion: .file())
  var files: [String] = []

  @Option(help: "Share of the tokens to keep, 0 to 1.")
  var rate = 0.5

  @Option(help: "Tokens to keep over all files, in place of the rate.")
  var targetToken: Int?

  @Option(help: "Keep the words above this probability, in place of the rate.")
  var threshold: Double?

  @Option(name: .customLong("force-token"), parsing: .unconditionalSingleValue, help: "A token that always stays; may be repeated. \\n is a line break.")
  var forceTokens: [String] = []

  @Flag(help: "Words with a digit always stay.")
  var keepDigits = false

  @Flag(help: "A cut leaves its line break.")
  var keepLines = false

  @Option(parsing: .upToNextOption, help: "What stays well-formed: code, urls, links, tables, json, all.")
  var protect: [String] = []

  @Option(help: "What shares the budget: chunk, context or prompt.")
  var scope = "context"

  @Option(help: "Folder of the model.", completion: .directory)
  var model: String?

  @Option(help: "Arithmetic of the linear layers: f32, bf16, i8, or stored.")
  var precision: String?

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
      let options = try wishes()
      let names = files.isEmpty ? ["-"] : files
      var inputs: [[UInt8]] = []
      for name in names { inputs.append(try readInput(name)) }
      let context = try Context(threads: threads)
      let compressor = try PromptCompressor(
        path: model, counting: counting, context: context, precision: try linearPrecision(), placeholders: compat)
      let bar = ProgressLine(bytes: inputs.reduce(0) { $0 + $1.count })
      let result = try compressor.compress(arrays: inputs, options, progress: { bar.show($0) })
      bar.clear()
      let text = json ? Array(CompressionReport(result).json.utf8) + [0x0a] : result.text
      try writeOutput(text, to: output ?? "-")
      if let html {
        try writeOutput(Array(CompressionPage(names: names, texts: inputs, result: result).html.utf8), to: html)
      }
      if report { try writeOutput(Array((CompressionReport(result).line + "\n").utf8), descriptor: STDERR_FILENO) }
    }
  }

  /// int8 where nothing is asked for: about one word in a hundred is decided otherwise than in f32.
  private func linearPrecision() throws(TamisError) -> LinearPrecision? {
    switch precision {
    case nil: compat ? nil : .i8
    case "stored": nil
    case "f32": .f32
    case "bf16": .bf16
    case "i8": .i8
    case let other?: throw .invalid("--precision is \(other); expected f32, bf16, i8 or stored")
    }
  }

  private func wishes() throws(TamisError) -> CompressionOptions {
    var options = CompressionOptions()
    options.mode = compat ? .compat : .native
    options.rate = rate
    if let targetToken {
      try require(targetToken >= 0, "--target-token is \(targetToken); expected at least 0")
      options.targetTokens = targetToken
    }
    options.threshold = threshold
    options.forceTokens = forceTokens.map { $0 == "\\n" ? "\n" : $0 }
    options.forceReserveDigit = keepDigits
    options.lineBreaks = keepLines ? .keep : .follow
    switch scope {
    case "chunk": options.scope = .chunk
    case "context": options.scope = .context
    case "prompt": options.scope = .prompt
    default: throw .invalid("--scope is \(scope); expected chunk, context or prompt")
    }
    for name in protect {
      switch name {
      case "code": options.protect.insert(.code)
      case "urls": options.protect.insert(.urls)
      case "links": options.protect.insert(.links)
      case "tables": options.protect.insert(.tables)
      case "json": options.protect.insert(.json)
      case "all": options.protect = .all
      default: throw .invalid("--protect is \(name); expected code, urls, links, tables, json or all")
      }
    }
    return options
  }
}

/// A file, or standard input for "-".
private func readInput(_ name: String) throws(TamisError) -> [UInt8] {
  let file = name == "-" ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { throw MappedFile.error("open", name) }
  defer { if name != "-" { close(file) } }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let n = read(file, &buffer, buffer.count)
    if n < 0 {
      if errno == EINTR { continue }
      throw MappedFile.error("read", name)
    }
    if n == 0 { return bytes }
    bytes += buffer[..<n]
  }
}

private func writeOutput(_ bytes: [UInt8], to name: String) throws(TamisError) {
  if name == "-" { return try writeOutput(bytes, descriptor: STDOUT_FILENO) }
  let file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
  guard file >= 0 else { throw MappedFile.error("open", name) }
  defer { close(file) }
  try writeOutput(bytes, descriptor: file)
}

private func writeOutput(_ bytes: [UInt8], descriptor: Int32) throws(TamisError) {
  var at = 0
  while at < bytes.count {
    let n = bytes[at...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if n < 0 {
      if errno == EINTR { continue }
      throw MappedFile.error("write", "the output")
    }
    at += n
  }
}

/// A line on standard error that says how far long input is; nothing where that is no terminal.
final class ProgressLine {
  private let shows: Bool
  private var last = -1

  init(bytes: Int) { shows = bytes > 200_000 && isatty(STDERR_FILENO) == 1 }

  func show(_ done: Double) -> Bool {
    let percent = Int(100 * done)
    guard shows, percent > last else { return true }
    last = percent
    let filled = percent * 40 / 100
    say("\rcompress [\(String(repeating: "#", count: filled))\(String(repeating: ".", count: 40 - filled))] \(percent) %")
    return true
  }

  func clear() { if shows, last >= 0 { say("\r\u{1b}[K") } }

  private func say(_ text: String) {
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
