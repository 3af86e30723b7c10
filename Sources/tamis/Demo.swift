import ArgumentParser
import Glibc

/// Becomes the haystack example, a C++ host program that is built and installed beside this one.
struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Ask a small model for needles in a long text: dense, StreamingLLM, TokenSelect.",
    discussion: """
      Runs the program tamis-haystack with the packaged model and text. Arguments pass through to it; `tamis demo --help` is \
      its help. It is looked for beside this program, in ../libexec/tamis, and in the build folders of the source tree.
      """)

  @Argument(parsing: .captureForPassthrough, help: "Arguments of tamis-haystack.")
  var arguments: [String] = []

  func run() throws {
    guard let here = Place.ofThisProgram else { throw failure("/proc/self/exe: cannot be read") }
    guard let program = here.haystack else {
      throw failure(
        "tamis-haystack is not installed: looked for it in \(here.haystackFolders.joined(separator: ", ")). "
          + "`make demo` in the source tree builds it")
    }
    var words = [program]
    let help = arguments.contains { $0 == "--help" || $0 == "-h" }
    if !help && !arguments.contains(where: { $0 == "--model" || $0.hasPrefix("--model=") }) {
      guard let model = here.model else {
        throw failure("the haystack model is not installed: looked for it in \(here.modelFolders.joined(separator: ", "))")
      }
      words += ["--model", model]
    }
    words += arguments
    var pointers = words.map { strdup($0) } + [nil]
    execv(program, &pointers)
    throw failure("\(program): \(String(cString: strerror(errno)))")
  }
}

/// Where the files of this installation are, seen from the folder of this program.
struct Place {
  let folder: String

  static var ofThisProgram: Place? {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    guard length > 0, length < buffer.count else { return nil }
    let path = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return Place(folder: parent(path))
  }

  /// The source tree, when this program lies in one of its build folders.
  var sourceTree: String? {
    var folder = folder
    while folder != "/" {
      folder = Self.parent(folder)
      if access(folder + "/Package.swift", R_OK) == 0, access(folder + "/include/tamis.h", R_OK) == 0 { return folder }
    }
    return nil
  }

  var haystackFolders: [String] {
    let built = sourceTree.map { tree in
      ["/build/examples/cpp/haystack", "/build/examples", "/build", "/.build/examples/cpp/haystack"].map { tree + $0 }
    }
    return [folder, Self.parent(folder) + "/libexec/tamis"] + (built ?? [])
  }
  var haystack: String? {
    haystackFolders.map { $0 + "/tamis-haystack" }.first { access($0, X_OK) == 0 }
  }

  var modelFolders: [String] {
    [Self.parent(folder) + "/share/tamis/Models/haystack"] + (sourceTree.map { [$0 + "/Models/haystack"] } ?? [])
  }
  var model: String? {
    modelFolders.first { access($0 + "/config.json", R_OK) == 0 }
  }

  static func parent(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }
}
