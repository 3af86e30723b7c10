import TamisCore

/// The head of a snapshot, and what of it must hold before anything else is read (docs/snapshot-format.md).
struct SnapshotHeader {
  static let size = 128
  static let trailerSize = 16
  static let version: UInt32 = 1
  /// As PNG's: a byte above 127, both line ends, and the end-of-file mark of DOS show what a careless transfer did.
  static let magic: [UInt8] = [0x89, 0x54, 0x4b, 0x56, 0x0d, 0x0a, 0x1a, 0x0a]
  static let endMagic: [UInt8] = Array("TKVEND\r\n".utf8)
  static let byteOrder: UInt32 = 0x0102_0304
  /// Bytes of the index per block: offset, size, checksum.
  static let indexEntry = 24

  var options: KVCacheOptions
  var sequences: Int
  var pages: Int
  /// Where blocks end and the catalogue (sequence table, index) begins.
  var catalogueOffset: Int
  var catalogueSize: Int
  var catalogueChecksum: UInt64

  var fileSize: Int { catalogueOffset + catalogueSize + Self.trailerSize }
  var blocks: Int { pages * options.layers }

  /// Header and trailer bytes.
  func encoded() -> (header: [UInt8], trailer: [UInt8]) {
    var out = ByteWriter()
    out.bytes = Self.magic
    out.put(Self.version)
    out.put(Self.byteOrder)
    out.put(UInt64(fileSize))
    for field in [options.layers, options.kvHeads, options.headDim] { out.put(UInt32(field)) }
    out.put(options.dtype.rawValue)
    out.put(UInt32(options.pageTokens))
    out.put(options.scoringCopy?.rawValue ?? -1)
    out.put(options.rope.style.rawValue)
    out.put(UInt32(options.rope.rotaryDims))
    out.put(options.rope.base.bitPattern)
    out.put(options.rope.scale.bitPattern)
    for field in [sequences, pages, catalogueOffset, catalogueSize] { out.put(UInt64(field)) }
    out.put(catalogueChecksum)
    out.put(UInt64(0))
    let checksum = out.bytes.withUnsafeBytes { XXH64.hash($0) }
    out.put(checksum)
    var end = ByteWriter()
    end.put(checksum)
    return (out.bytes, end.bytes + Self.endMagic)
  }

  /// Reads and checks the head, the trailer and the checksum of the catalogue. The layout of the blocks is
  /// `SnapshotCatalogue`'s.
  init(_ file: UnsafeRawBufferPointer, _ path: String) throws(TamisError) {
    func broken(_ what: String) -> TamisError { TamisError(.format, "path: \(path) \(what)") }
    guard file.count >= Self.magic.count, file.prefix(Self.magic.count).elementsEqual(Self.magic) else {
      throw broken("is no KV snapshot: it does not begin with the magic bytes")
    }
    guard file.count >= Self.size + Self.trailerSize else { throw broken("is cut off after \(file.count) bytes") }
    var reader = ByteReader(bytes: file, at: Self.magic.count)
    let version = reader.next(UInt32.self)
    guard reader.next(UInt32.self) == Self.byteOrder else { throw broken("was written on a machine of another byte order") }
    guard version == Self.version else {
      throw broken("has format version \(version); this library reads \(Self.version)")
    }
    let checksum = file.loadUnaligned(fromByteOffset: Self.size - 8, as: UInt64.self)
    guard XXH64.hash(UnsafeRawBufferPointer(rebasing: file.prefix(Self.size - 8))) == checksum else {
      throw broken("is corrupt: the checksum of its header does not match")
    }
    let fileSize = reader.next(UInt64.self)
    guard fileSize == UInt64(file.count) else {
      throw broken("has \(file.count) bytes; its header says \(fileSize)")
    }
    let end = ByteReader(bytes: file, at: file.count - Self.trailerSize)
    guard end.peek(UInt64.self) == checksum, file.suffix(Self.endMagic.count).elementsEqual(Self.endMagic) else {
      throw broken("is corrupt or cut off: its trailer does not match its header")
    }
    var options = KVCacheOptions()
    options.layers = Int(reader.next(UInt32.self))
    options.kvHeads = Int(reader.next(UInt32.self))
    options.headDim = Int(reader.next(UInt32.self))
    let dtype = DType(rawValue: reader.next(Int32.self))
    options.pageTokens = Int(reader.next(UInt32.self))
    let copy = reader.next(Int32.self)
    let style = RoPE.Style(rawValue: reader.next(Int32.self))
    guard let dtype, let style, copy == -1 || DType(rawValue: copy) != nil else {
      throw broken("has a dtype or RoPE style that is none")
    }
    options.dtype = dtype
    options.scoringCopy = DType(rawValue: copy)
    let dims = Int(reader.next(UInt32.self))
    options.rope = RoPE(
      style: style, rotaryDims: dims, base: Double(bitPattern: reader.next(UInt64.self)),
      scale: Double(bitPattern: reader.next(UInt64.self)))
    let counts = (0..<4).map { _ in Int(exactly: reader.next(UInt64.self)) ?? .max }
    (sequences, pages, catalogueOffset, catalogueSize) = (counts[0], counts[1], counts[2], counts[3])
    catalogueChecksum = reader.next(UInt64.self)
    guard reader.next(UInt64.self) == 0 else { throw broken("has a reserved field that is not 0") }
    // Every number below is bounded by the file's size before it is multiplied.
    guard pages <= Int(Int32.max), (Self.size...file.count).contains(catalogueOffset),
      catalogueSize == file.count - Self.trailerSize - catalogueOffset
    else { throw broken("is corrupt: its catalogue does not lie where the file has room") }
    options.maxTokens = max(pages, 1)
    do throws(TamisError) {
      // Page tokens are checked in here, so the capacity is set in pages first.
      options.maxTokens = try options.resolved().pageTokens * max(pages, 1)
      self.options = try options.resolved()
    } catch { throw broken("has options no cache can have: \(error.message)") }
    guard blocks <= catalogueSize / Self.indexEntry,
      sequences <= (catalogueSize - blocks * Self.indexEntry) / (8 + 8 * options.layers)
    else { throw broken("is corrupt: its catalogue is too small for its sequences and pages") }
    guard
      XXH64.hash(UnsafeRawBufferPointer(rebasing: file[catalogueOffset..<catalogueOffset + catalogueSize])) == catalogueChecksum
    else { throw broken("is corrupt: the checksum of its catalogue does not match") }
  }

  init(options: KVCacheOptions, sequences: Int, pages: Int, catalogueOffset: Int, catalogue: [UInt8]) {
    self.options = options
    self.sequences = sequences
    self.pages = pages
    self.catalogueOffset = catalogueOffset
    catalogueSize = catalogue.count
    catalogueChecksum = catalogue.withUnsafeBytes { XXH64.hash($0) }
  }
}

/// The sequence table and the index of blocks, checked.
struct SnapshotCatalogue {
  struct Block {
    var offset: Int
    var size: Int
    var checksum: UInt64
  }
  struct Sequence {
    var lengths: [Int]
    /// Numbered in the order in which the file's pages first appear.
    var pages: [Int]
  }

  var sequences: [Sequence] = []
  /// Of page p and layer l: at p * layers + l.
  var blocks: [Block] = []

  init(sequences: [Sequence]) { self.sequences = sequences }

  func encoded() -> [UInt8] {
    var out = ByteWriter()
    for sequence in sequences {
      out.put(UInt64(sequence.pages.count))
      for length in sequence.lengths { out.put(UInt64(length)) }
      for page in sequence.pages { out.put(UInt32(page)) }
    }
    for block in blocks {
      out.put(UInt64(block.offset))
      out.put(UInt64(block.size))
      out.put(block.checksum)
    }
    return out.bytes
  }

  init(_ file: UnsafeRawBufferPointer, _ header: SnapshotHeader, _ path: String) throws(TamisError) {
    func broken(_ what: String) -> TamisError { TamisError(.format, "path: \(path) is corrupt: \(what)") }
    let layers = header.options.layers
    let pageTokens = header.options.pageTokens
    let indexStart = header.catalogueOffset + header.catalogueSize - header.blocks * SnapshotHeader.indexEntry
    var reader = ByteReader(bytes: file, at: header.catalogueOffset)
    // The place of each page: the same in every sequence that shares it.
    var places = [Int](repeating: -1, count: header.pages)
    sequences.reserveCapacity(header.sequences)
    for s in 0..<header.sequences {
      guard indexStart - reader.at >= 8 + 8 * layers else { throw broken("its sequence table runs into its index") }
      let count = Int(exactly: reader.next(UInt64.self)) ?? .max
      let lengths = (0..<layers).map { _ in Int(exactly: reader.next(UInt64.self)) ?? .max }
      guard count <= (indexStart - reader.at) / 4 else { throw broken("its sequence table runs into its index") }
      guard count <= header.pages, lengths.max()! <= count * pageTokens, lengths.max()! > (count - 1) * pageTokens else {
        throw broken("sequence \(s) has \(count) pages for \(lengths.max()!) tokens")
      }
      let pages = (0..<count).map { _ in Int(reader.next(UInt32.self)) }
      for (place, page) in pages.enumerated() {
        guard page < header.pages, places[page] == -1 || places[page] == place else {
          throw broken("page \(place) of sequence \(s) is \(page), which does not belong there")
        }
        places[page] = place
      }
      sequences.append(Sequence(lengths: lengths, pages: pages))
    }
    guard reader.at == indexStart, !places.contains(-1) else { throw broken("its sequence table does not use every page") }
    var end = SnapshotHeader.size
    blocks.reserveCapacity(header.blocks)
    for _ in 0..<header.blocks {
      let offset = reader.next(UInt64.self)
      let size = Int(exactly: reader.next(UInt64.self)) ?? .max
      guard offset == UInt64(end), size <= header.catalogueOffset - end else {
        throw broken("its blocks do not lie one after another")
      }
      blocks.append(Block(offset: end, size: size, checksum: reader.next(UInt64.self)))
      end += size
    }
    guard end == header.catalogueOffset else { throw broken("its blocks do not reach its catalogue") }
  }
}

/// Appends numbers in the machine's byte order, which the header names.
struct ByteWriter {
  var bytes: [UInt8] = []
  mutating func put<T: FixedWidthInteger>(_ value: T) { withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) } }
}

/// Reads numbers one after another; the caller has checked that they are there.
struct ByteReader {
  let bytes: UnsafeRawBufferPointer
  private(set) var at: Int
  init(bytes: UnsafeRawBufferPointer, at: Int) {
    self.bytes = bytes
    self.at = at
  }
  func peek<T: FixedWidthInteger>(_ type: T.Type) -> T { bytes.loadUnaligned(fromByteOffset: at, as: type) }
  mutating func next<T: FixedWidthInteger>(_ type: T.Type) -> T {
    defer { at += MemoryLayout<T>.size }
    return peek(type)
  }
}
