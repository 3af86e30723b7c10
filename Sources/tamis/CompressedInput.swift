import CShims
import Glibc
import Tamis

/// The content of a gzip or zstd file, told by its first bytes; anything else as it is.
func decompressed(_ bytes: [UInt8], _ name: String) throws(TamisError) -> [UInt8] {
  if bytes.starts(with: [0x1f, 0x8b]) { return try Inflate.gzip(bytes, name) }
  guard bytes.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) else { return bytes }
  var size = 0
  let content = bytes.withUnsafeBytes { ts_zstd_decode_all($0.baseAddress!, $0.count, &size) }
  guard let content else { throw TamisError(.format, "\(name) is a damaged or truncated zstd file") }
  defer { free(content) }
  return Array(UnsafeRawBufferPointer(start: content, count: size))
}

/// gzip (RFC 1952) and DEFLATE (RFC 1951).
private struct Inflate {
  private let bytes: [UInt8]
  private var at: Int
  private var bits: UInt32 = 0
  private var count = 0
  private var out: [UInt8] = []
  private struct Damaged: Error {}

  static func gzip(_ bytes: [UInt8], _ name: String) throws(TamisError) -> [UInt8] {
    do {
      var inflate = Inflate(bytes: bytes, at: 0)
      while inflate.at < bytes.count { try inflate.member() }
      return inflate.out
    } catch {
      throw TamisError(.format, "\(name) is a damaged or truncated gzip file")
    }
  }

  private init(bytes: [UInt8], at: Int) {
    self.bytes = bytes
    self.at = at
  }

  private mutating func byte() throws -> UInt8 {
    guard at < bytes.count else { throw Damaged() }
    at += 1
    return bytes[at - 1]
  }

  private mutating func take(_ n: Int) throws -> Int {
    while count < n {
      bits |= UInt32(try byte()) << UInt32(count)
      count += 8
    }
    let value = Int(bits & ((1 << UInt32(n)) - 1))
    bits >>= UInt32(n)
    count -= n
    return value
  }

  private mutating func member() throws {
    guard try byte() == 0x1f, try byte() == 0x8b, try byte() == 8 else { throw Damaged() }
    let flags = try byte()
    for _ in 0..<6 { _ = try byte() }
    if flags & 4 != 0 {
      let extra = Int(try byte()) | Int(try byte()) << 8
      for _ in 0..<extra { _ = try byte() }
    }
    if flags & 8 != 0 { while try byte() != 0 {} }
    if flags & 16 != 0 { while try byte() != 0 {} }
    if flags & 2 != 0 { for _ in 0..<2 { _ = try byte() } }
    let start = out.count
    while try !block() {}
    (bits, count) = (0, 0)
    var check: UInt32 = 0
    for i in 0..<4 { check |= UInt32(try byte()) << UInt32(8 * i) }
    var size: UInt32 = 0
    for i in 0..<4 { size |= UInt32(try byte()) << UInt32(8 * i) }
    guard size == UInt32(truncatingIfNeeded: out.count - start), check == Self.crc(out[start...]) else { throw Damaged() }
  }

  /// Returns whether it was the last one.
  private mutating func block() throws -> Bool {
    let isLast = try take(1) == 1
    switch try take(2) {
    case 0:
      (bits, count) = (0, 0)
      let length = Int(try byte()) | Int(try byte()) << 8
      let complement = Int(try byte()) | Int(try byte()) << 8
      guard length ^ 0xffff == complement, at + length <= bytes.count else { throw Damaged() }
      out += bytes[at..<at + length]
      at += length
    case 1:
      var lengths = [Int](repeating: 8, count: 288)
      for i in 144..<256 { lengths[i] = 9 }
      for i in 256..<280 { lengths[i] = 7 }
      try codes(try Huffman(lengths), try Huffman([Int](repeating: 5, count: 30)))
    case 2:
      let (literals, distances, orders) = (try take(5) + 257, try take(5) + 1, try take(4) + 4)
      var lengths = [Int](repeating: 0, count: 19)
      for i in 0..<orders { lengths[[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15][i]] = try take(3) }
      let outer = try Huffman(lengths)
      var all: [Int] = []
      while all.count < literals + distances {
        switch try symbol(outer) {
        case let length where length < 16: all.append(length)
        case 16:
          guard let last = all.last else { throw Damaged() }
          all += [Int](repeating: last, count: 3 + (try take(2)))
        case 17: all += [Int](repeating: 0, count: 3 + (try take(3)))
        default: all += [Int](repeating: 0, count: 11 + (try take(7)))
        }
      }
      guard all.count == literals + distances else { throw Damaged() }
      try codes(try Huffman(Array(all[..<literals])), try Huffman(Array(all[literals...])))
    default: throw Damaged()
    }
    return isLast
  }

  private mutating func codes(_ literals: Huffman, _ distances: Huffman) throws {
    while true {
      let code = try symbol(literals)
      if code < 256 {
        out.append(UInt8(code))
        continue
      }
      if code == 256 { return }
      guard code < 286 else { throw Damaged() }
      let i = code - 257
      let length = i < 8 ? 3 + i : i == 28 ? 258 : (4 + i % 4) << (i / 4 - 1) + 3 + (try take(i / 4 - 1))
      let d = try symbol(distances)
      guard d < 30 else { throw Damaged() }
      let distance = d < 2 ? 1 + d : (2 + d % 2) << (d / 2 - 1) + 1 + (try take(d / 2 - 1))
      guard distance <= out.count else { throw Damaged() }
      for _ in 0..<length { out.append(out[out.count - distance]) }
    }
  }

  /// A canonical code: how many codes have each length, and the symbols in order of their codes.
  private struct Huffman {
    var counts = [Int](repeating: 0, count: 16)
    var symbols: [Int] = []

    init(_ lengths: [Int]) throws {
      for length in lengths where length > 0 { counts[length] += 1 }
      for length in 1..<16 { for (i, l) in lengths.enumerated() where l == length { symbols.append(i) } }
      var left = 1
      for length in 1..<16 {
        left = left * 2 - counts[length]
        if left < 0 { throw Damaged() }
      }
    }
  }

  private mutating func symbol(_ code: Huffman) throws -> Int {
    var (value, first, index) = (0, 0, 0)
    for length in 1..<16 {
      value |= try take(1)
      let n = code.counts[length]
      if value - first < n { return code.symbols[index + value - first] }
      index += n
      first = (first + n) << 1
      value <<= 1
    }
    throw Damaged()
  }

  private static let table: [UInt32] = (0..<256).map { i in
    (0..<8).reduce(UInt32(i)) { c, _ in c & 1 != 0 ? 0xedb8_8320 ^ c >> 1 : c >> 1 }
  }

  private static func crc(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    ~bytes.reduce(~UInt32(0)) { table[Int(($0 ^ UInt32($1)) & 0xff)] ^ $0 >> 8 }
  }
}
