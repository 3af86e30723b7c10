import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Finds out what a path holds and reads it.
enum TokenizerFiles {
  /// Names a SentencePiece model goes by in the folder of a published model.
  private static let sentencePieceNames = ["tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "spm.model"]

  static func open(_ path: String) throws(TamisError) -> TokenizerParts {
    try require(!path.isEmpty, "path is empty; expected the name of a file or folder")
    if isFolder(path) { return try openFolder(path) }
    let folder = path.lastSlash.map { String(path[..<$0]) } ?? "."
    let name = path.lastSlash.map { String(path[path.index(after: $0)...]) } ?? path
    let file = try MappedFile(path: path)
    // The bytes are the file's: it must outlive the reading.
    return try withExtendedLifetime(file) { () throws(TamisError) in
      try read(file.bytes.bindMemory(to: UInt8.self), name, in: folder)
    }
  }

  private static func read(
    _ bytes: UnsafeBufferPointer<UInt8>, _ name: String, in folder: String
  ) throws(TamisError) -> TokenizerParts {
    if name.hasSuffix(".json") {
      // vocab.json is told from tokenizer.json by the merges beside it.
      if name.hasSuffix("vocab.json"), exists(folder + "/merges.txt") {
        let merges = try MappedFile(path: folder + "/merges.txt")
        return try withExtendedLifetime(merges) { () throws(TamisError) in
          try VocabularyFiles.byteLevel(bytes, merges: merges.bytes)
        }
      }
      return try TokenizerJSON.read(bytes)
    }
    if name.hasSuffix(".model") || name.hasSuffix(".spm") { return try SentencePieceFile.read(bytes) }
    if name.hasSuffix(".tiktoken") {
      guard let known = Tiktoken.Known(fileName: name) else {
        throw TamisError(
          .unsupported, "path: \(name) is none of r50k_base, p50k_base, cl100k_base, o200k_base; give the bytes and a pattern")
      }
      return try Tiktoken.read(bytes, known.pattern, known.specials)
    }
    if name.hasSuffix(".txt") { return try VocabularyFiles.wordPiece(bytes, lowercase: lowercase(folder)) }
    throw TamisError(.unsupported, "path: \(name); expected a name in .json, .model, .txt or .tiktoken")
  }

  private static func openFolder(_ folder: String) throws(TamisError) -> TokenizerParts {
    if exists(folder + "/tokenizer.json") { return try open(folder + "/tokenizer.json") }
    for name in sentencePieceNames where exists(folder + "/" + name) { return try open(folder + "/" + name) }
    if exists(folder + "/vocab.json"), exists(folder + "/merges.txt") { return try open(folder + "/vocab.json") }
    if exists(folder + "/vocab.txt") { return try open(folder + "/vocab.txt") }
    throw TamisError(.notFound, "path: \(folder) holds no tokenizer.json, .model, vocab.json with merges.txt, or vocab.txt")
  }

  /// `do_lower_case` of the tokenizer_config.json in a folder; nil where it says nothing.
  private static func lowercase(_ folder: String) throws(TamisError) -> Bool? {
    guard exists(folder + "/tokenizer_config.json") else { return nil }
    let file = try MappedFile(path: folder + "/tokenizer_config.json")
    let config = try withExtendedLifetime(file) { () throws(TamisError) in try JSON(file.bytes) }
    guard case .bool(let value)? = config["do_lower_case"] else { return nil }
    return value
  }

  private static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  private static func isFolder(_ path: String) -> Bool {
    var info = stat()
    return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
  }
}

extension String {
  fileprivate var lastSlash: String.Index? { lastIndex(of: "/") }
}
