import TamisCore
import TamisText
import Testing

/// A file of Tests/golden/tokenizers.
func golden(_ name: String, _ here: String = #filePath) -> String {
  here.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/") + "/golden/tokenizers/" + name
}

func goldenCases(_ name: String) throws -> [JSON] {
  let file = try MappedFile(path: golden("\(name).golden.json"))
  return try #require(try JSON(file.bytes)["cases"]?.array)
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

/// Random numbers that are the same on every run.
struct SplitMix {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  mutating func below(_ n: Int) -> Int { Int(next() % UInt64(n)) }
}
