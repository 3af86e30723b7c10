import ArgumentParser
import Glibc
import Tamis

struct Snapshot: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print what a KV snapshot holds.", discussion: "Only the head of the file is read and checked.")

  @Argument(help: "A file written by tamis_kv_save.", completion: .file())
  var file: String

  func run() throws {
    let (options, sequences) = try reportingErrors { () throws(TamisError) in try KVCache.snapshotInfo(file) }
    print("sequences:     \(sequences)")
    print("layers:        \(options.layers)")
    print("KV heads:      \(options.kvHeads) of \(options.headDim)")
    print("dtype:         \(options.dtype.name)")
    print("pages:         \(options.maxTokens / max(1, options.pageTokens)) of \(options.pageTokens) tokens")
    print("position:      \(options.rope.summary)")
    print("scoring copy:  \(options.scoringCopy?.name ?? "none")")
    var status = stat()
    if stat(file, &status) == 0 { print("file:          \(status.st_size) bytes") }
  }
}

extension RoPE {
  fileprivate var summary: String {
    switch style {
    case .none: "keys as given"
    case .half: "RoPE, halves, \(rotaryDims) dimensions, base \(base), scale \(scale)"
    case .interleaved: "RoPE, interleaved, \(rotaryDims) dimensions, base \(base), scale \(scale)"
    }
  }
}
