/// The entries of a zip file (PKWARE APPNOTE 6.3.10) as ranges of its mapped bytes. Stored entries only, which is what PyTorch
/// writes; sizes beyond 4 GB (zip64) are read. Every offset is checked against the file before use.
struct ZipArchive {
  struct Entry {
    /// Of the data in the file.
    var range: Range<Int>
    var crc: UInt32
    var method: UInt16
    var encrypted: Bool
  }

  let file: MappedFile
  private(set) var entries: [String: Entry] = [:]
  private let path: String

  static let maxEntries = 1 << 20

  static func begins(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count >= 4 && bytes.loadUnaligned(as: UInt32.self).littleEndian == 0x0403_4b50
  }

  /// - Throws: `format` for a directory that does not fit the file.
  init(_ file: MappedFile, path: String) throws(TamisError) {
    self.file = file
    self.path = path
    let reader = LittleEndian(file.bytes)
    var directory = try Self.findDirectory(reader, path)
    while directory.left > 0 {
      directory.left -= 1
      try readEntry(reader, &directory.at, end: directory.end)
    }
  }

  private struct Directory {
    var at: Int
    var end: Int
    var left: Int
  }

  private static func broken(_ path: String, _ what: String) -> TamisError {
    TamisError(.format, "path: \(path) is no valid zip file: \(what)")
  }

  /// The end record lies in the last 64 KB, behind it only a comment.
  private static func findDirectory(_ reader: LittleEndian, _ path: String) throws(TamisError) -> Directory {
    let count = reader.bytes.count
    var at = count - 22
    let lowest = max(0, at - 0xffff)
    while at >= lowest, reader.u32(at) != 0x0605_4b50 || at + 22 + Int(reader.u16(at + 20) ?? 0) != count { at -= 1 }
    guard at >= lowest, at >= 0, let n = reader.u16(at + 10), let size = reader.u32(at + 12), let offset = reader.u32(at + 16)
    else { throw broken(path, "it has no end record; it may be cut off") }
    var entries = UInt64(n)
    var bytes = UInt64(size)
    var start = UInt64(offset)
    var end = at
    if n == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff {
      guard at >= 20, reader.u32(at - 20) == 0x0706_4b50, let place = reader.u64(at - 12), place <= UInt64(count),
        let zip64 = Optional(Int(place)), reader.u32(zip64) == 0x0606_4b50, let n = reader.u64(zip64 + 32),
        let size = reader.u64(zip64 + 40), let offset = reader.u64(zip64 + 48)
      else { throw broken(path, "its zip64 end record is missing") }
      (entries, bytes, start, end) = (n, size, offset, zip64)
    }
    guard entries <= UInt64(maxEntries) else { throw broken(path, "it has \(entries) entries; expected at most \(maxEntries)") }
    guard start <= UInt64(end), bytes <= UInt64(end) - start else { throw broken(path, "its directory lies outside the file") }
    return Directory(at: Int(start), end: Int(start + bytes), left: Int(entries))
  }

  private mutating func readEntry(_ reader: LittleEndian, _ at: inout Int, end: Int) throws(TamisError) {
    func broken(_ what: String) -> TamisError { Self.broken(path, what) }
    guard at <= end - 46, reader.u32(at) == 0x0201_4b50, let flags = reader.u16(at + 8), let method = reader.u16(at + 10),
      let crc = reader.u32(at + 16), let packed32 = reader.u32(at + 20), let size32 = reader.u32(at + 24),
      let nameLength = reader.u16(at + 28), let extraLength = reader.u16(at + 30), let commentLength = reader.u16(at + 32),
      let local32 = reader.u32(at + 42)
    else { throw broken("its directory ends early") }
    let nameStart = at + 46
    let extraStart = nameStart + Int(nameLength)
    let extraEnd = extraStart + Int(extraLength)
    guard extraEnd + Int(commentLength) <= end else { throw broken("its directory ends early") }
    guard let name = String(validating: reader.bytes[nameStart..<extraStart], as: UTF8.self) else {
      throw broken("a name is not UTF-8")
    }
    at = extraEnd + Int(commentLength)
    var wide = Zip64Field(reader, extraStart..<extraEnd)
    guard let size = size32 == .max ? wide.next() : UInt64(size32),
      let packed = packed32 == .max ? wide.next() : UInt64(packed32),
      let local = local32 == .max ? wide.next() : UInt64(local32)
    else { throw broken("the zip64 sizes of \"\(name)\" are missing") }
    if method == 0 && size != packed { throw broken("\"\(name)\" is stored, but its two sizes differ") }
    // The local header's own name and extra field say where the data begin.
    guard local <= UInt64(reader.bytes.count), reader.u32(Int(local)) == 0x0403_4b50,
      let localName = reader.u16(Int(local) + 26), let localExtra = reader.u16(Int(local) + 28)
    else { throw broken("the header of \"\(name)\" lies outside the file") }
    let start = Int(local) + 30 + Int(localName) + Int(localExtra)
    guard start <= reader.bytes.count, packed <= UInt64(reader.bytes.count - start) else {
      throw broken("the data of \"\(name)\" pass the end of the file")
    }
    let entry = Entry(range: start..<(start + Int(packed)), crc: crc, method: method, encrypted: flags & 1 != 0)
    guard entries.updateValue(entry, forKey: name) == nil else { throw broken("\"\(name)\" is there twice") }
  }

  /// Bytes of an entry; nil where there is none.
  /// - Throws: `unsupported` for an entry that is compressed or encrypted; `format` when `checked` and the checksum does
  ///   not fit.
  func bytes(_ name: String, checked: Bool = false) throws(TamisError) -> UnsafeRawBufferPointer? {
    guard let entry = entries[name] else { return nil }
    guard entry.method == 0, !entry.encrypted else {
      let how = entry.encrypted ? "encrypted" : "compressed by method \(entry.method)"
      throw TamisError(.unsupported, "path: \(path): \"\(name)\" is \(how); expected it stored")
    }
    let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[entry.range])
    if checked, CRC32.of(bytes) != entry.crc { throw Self.broken(path, "the checksum of \"\(name)\" does not fit") }
    return bytes
  }
}

/// The 64-bit sizes of an extra field (id 1), in the order in which the 32-bit ones are all ones.
private struct Zip64Field {
  private let reader: LittleEndian
  private var at = 0
  private var end = 0

  init(_ reader: LittleEndian, _ range: Range<Int>) {
    self.reader = reader
    var field = range.lowerBound
    while field + 4 <= range.upperBound, let id = reader.u16(field), let size = reader.u16(field + 2) {
      let stop = field + 4 + Int(size)
      if stop > range.upperBound { return }
      if id == 1 {
        at = field + 4
        end = stop
        return
      }
      field = stop
    }
  }

  mutating func next() -> UInt64? {
    guard at + 8 <= end else { return nil }
    at += 8
    return reader.u64(at - 8)
  }
}

/// Numbers at byte offsets; nil outside.
struct LittleEndian {
  let bytes: UnsafeRawBufferPointer
  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  @inline(__always) private func load<T: FixedWidthInteger>(_ at: Int, _: T.Type) -> T? {
    guard at >= 0, at <= bytes.count - MemoryLayout<T>.size else { return nil }
    return T(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: T.self))
  }

  func u16(_ at: Int) -> UInt16? { load(at, UInt16.self) }
  func u32(_ at: Int) -> UInt32? { load(at, UInt32.self) }
  func u64(_ at: Int) -> UInt64? { load(at, UInt64.self) }
}

/// CRC-32 of IEEE 802.3, as zip files use it.
enum CRC32 {
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
  }

  static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    table.withUnsafeBufferPointer { table in
      ~bytes.reduce(UInt32.max) { crc, byte in crc >> 8 ^ table[Int((crc ^ UInt32(byte)) & 0xff)] }
    }
  }
}
