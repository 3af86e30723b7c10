import ArgumentParser
import Tamis

@main
struct TamisCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tamis",
    abstract: "Token selection for long-context language models.",
    discussion:
      "The library is used from C, C++, Python and Swift; this command shows what it is, what it found, and what it does.",
    subcommands: [Annotate.self, Compress.self, Demo.self, Eval.self, Info.self, Score.self, Snapshot.self, Version.self, Weights.self])
}

struct Version: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the version of the library.")

  func run() { print(libraryVersion) }
}
