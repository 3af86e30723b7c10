import TamisCore
import TamisText
import Testing

/// A file of Tests/golden/tokenizers.
func golden(_ name: String, _ here: String = #filePath) -> String {
  here.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/") + "/golden/tokenizers/" + name
}

func goldenCases(_ name: String) throws -> [JSON] {
  let file = try MappedFile(path: golden("\(name).golden.json"))
  return try #require(try withExtendedLifetime(file) { try JSON(file.bytes) }["cases"]?.array)
}

func integers(_ json: JSON?) -> [Int32] { (json?.array ?? []).compactMap { $0.integer.map { Int32($0) } } }

extension Tokenizer {
  func encode(_ text: String, _ options: EncodeOptions = .init()) throws -> Encoding {
    try Array(text.utf8).withUnsafeBufferPointer { try encode($0, options) }
  }

  func encode(_ text: String, pair: String) throws -> Encoding {
    try Array(text.utf8).withUnsafeBufferPointer { text in
      try Array(pair.utf8).withUnsafeBufferPointer { try encode(text, pair: $0) }
    }
  }

  func count(_ text: String) throws -> Int {
    try Array(text.utf8).withUnsafeBufferPointer { try count($0, EncodeOptions()) }
  }

  convenience init(json text: String) throws { try self.init(Array(text.utf8), .json) }

  convenience init(_ bytes: [UInt8], _ format: TokenizerFormat, pattern: String? = nil) throws {
    let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: bytes.count)
    _ = copy.initialize(from: bytes)
    defer { copy.deallocate() }
    try self.init(UnsafeBufferPointer(copy), format: format, pattern: pattern)
  }
}
