import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Pieces and their ids in flat memory: one blob of bytes, a place in it per id, and an open-addressing hash of ids.
/// Keys are bytes; Swift strings would take canonically equivalent pieces for one.
final class Vocabulary: @unchecked Sendable {
  /// Largest id + 1. Ids without a piece have length -1.
  private(set) var size = 0
  private(set) var count = 0
  /// Bytes of the longest piece.
  private(set) var longest = 0
  private struct Place {
    var offset: UInt32
    var length: Int32
  }
  private var blob: UnsafeMutablePointer<UInt8>
  private var blobCount = 0
  private var blobCapacity: Int
  private var places: UnsafeMutablePointer<Place>
  private var placeCapacity: Int

  /// (hash tag << 32 | id), or `empty`.
  private var slots: UnsafeMutablePointer<UInt64>
  private var mask: Int
  private static let empty = UInt64.max

  /// Ids beyond this are refused: a small file must not ask for gigabytes.
  static let idLimit = 1 << 24

  init(expecting pieces: Int = 1024, bytes: Int = 8192) {
    var capacity = 16
    while capacity < 2 * pieces { capacity *= 2 }
    slots = .allocate(capacity: capacity)
    slots.initialize(repeating: Self.empty, count: capacity)
    mask = capacity - 1
    blobCapacity = max(bytes, 64)
    blob = .allocate(capacity: blobCapacity)
    placeCapacity = max(pieces, 64)
    places = .allocate(capacity: placeCapacity)
  }

  deinit {
    slots.deallocate()
    blob.deallocate()
    places.deallocate()
  }

  /// The id of a piece.
  @inline(__always)
  func id(_ piece: UnsafeBufferPointer<UInt8>) -> Int32? {
    guard let base = piece.baseAddress else { return nil }
    return id(base, piece.count)
  }

  func id(_ piece: UnsafePointer<UInt8>, _ n: Int) -> Int32? {
    let slots = slots, mask = mask, places = places, blob = blob
    let hash = Self.hash(piece, n)
    let tag = hash >> 32
    var slot = Int(truncatingIfNeeded: hash) & mask
    while true {
      let entry = slots[slot]
      if entry == Self.empty { return nil }
      if entry >> 32 == tag {
        let id = Int(entry & 0xffff_ffff)
        let place = places[id]
        if Int(place.length) == n, memcmp(blob + Int(place.offset), piece, n) == 0 { return Int32(truncatingIfNeeded: id) }
      }
      slot = (slot &+ 1) & mask
    }
  }

  func id(_ piece: [UInt8]) -> Int32? { piece.withUnsafeBufferPointer { piece.isEmpty ? nil : id($0) } }
  func id(_ piece: StaticString) -> Int32? { id(piece.utf8Start, piece.utf8CodeUnitCount) }

  func hasPiece(_ id: Int) -> Bool { id >= 0 && id < size && places[id].length >= 0 }

  @inline(__always)
  private func bytes(_ id: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: blob + Int(places[id].offset), count: Int(places[id].length))
  }

  /// Calls `body` with the bytes of a piece; nil where the id has none.
  @inline(__always)
  func withPiece<R>(_ id: Int, _ body: (UnsafeBufferPointer<UInt8>) -> R) -> R? { hasPiece(id) ? body(bytes(id)) : nil }

  /// Gives `body` a function from id to piece, for as long as it runs.
  func withPieces<R>(_ body: ((Int) -> UnsafeBufferPointer<UInt8>?) -> R) -> R {
    body { self.hasPiece($0) ? self.bytes($0) : nil }
  }

  func piece(_ id: Int) -> [UInt8]? { withPiece(id) { Array($0) } }

  /// Copies a piece in under an id. A piece that stands twice keeps the later id, as in a map; an id that stands twice is
  /// refused.
  func add(_ id: Int, _ piece: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    guard id >= 0, id < Self.idLimit else {
      throw TamisError(.format, "vocabulary: an id is \(id); expected 0 to \(Self.idLimit - 1)")
    }
    guard blobCount + piece.count < Int(UInt32.max) else { throw TamisError(.format, "vocabulary: over 4 GB of pieces") }
    if id >= placeCapacity { growPlaces(id + 1) }
    while size <= id {
      places[size] = Place(offset: 0, length: -1)
      size += 1
    }
    guard places[id].length < 0 else { throw TamisError(.format, "vocabulary: the id \(id) stands twice") }
    if 4 * (count + 1) > 3 * (mask + 1) { grow() }
    if blobCount + piece.count > blobCapacity { growBlob(blobCount + piece.count) }
    if let base = piece.baseAddress { (blob + blobCount).update(from: base, count: piece.count) }
    places[id] = Place(offset: UInt32(blobCount), length: Int32(truncatingIfNeeded: piece.count))
    blobCount += piece.count
    longest = max(longest, piece.count)
    count += 1
    insert(id)
  }

  private func growPlaces(_ least: Int) {
    placeCapacity = max(2 * placeCapacity, least)
    let wider = UnsafeMutablePointer<Place>.allocate(capacity: placeCapacity)
    wider.update(from: places, count: size)
    places.deallocate()
    places = wider
  }

  private func growBlob(_ least: Int) {
    blobCapacity = max(2 * blobCapacity, least)
    let wider = UnsafeMutablePointer<UInt8>.allocate(capacity: blobCapacity)
    wider.update(from: blob, count: blobCount)
    blob.deallocate()
    blob = wider
  }

  func add(_ id: Int, _ piece: [UInt8]) throws(TamisError) {
    try piece.withUnsafeBufferPointer { (bytes) throws(TamisError) in try add(id, bytes) }
  }

  private func insert(_ id: Int) {
    let piece = bytes(id)
    let hash = piece.isEmpty ? 0 : Self.hash(piece.baseAddress!, piece.count)
    let tag = hash >> 32
    var slot = Int(truncatingIfNeeded: hash) & mask
    while slots[slot] != Self.empty {
      let entry = slots[slot]
      if entry >> 32 == tag {
        let other = bytes(Int(entry & 0xffff_ffff))
        if other.count == piece.count, piece.isEmpty || memcmp(other.baseAddress!, piece.baseAddress!, piece.count) == 0 {
          count -= 1
          break
        }
      }
      slot = (slot + 1) & mask
    }
    slots[slot] = tag << 32 | UInt64(id)
  }

  private func grow() {
    let old = slots
    let oldCapacity = mask + 1
    slots = .allocate(capacity: 2 * oldCapacity)
    slots.initialize(repeating: Self.empty, count: 2 * oldCapacity)
    mask = 2 * oldCapacity - 1
    for i in 0..<oldCapacity where old[i] != Self.empty {
      let piece = bytes(Int(old[i] & 0xffff_ffff))
      let hash = piece.isEmpty ? 0 : Self.hash(piece.baseAddress!, piece.count)
      var slot = Int(truncatingIfNeeded: hash) & mask
      while slots[slot] != Self.empty { slot = (slot + 1) & mask }
      slots[slot] = old[i]
    }
    old.deallocate()
  }

  /// Multiply and fold, eight bytes at a time.
  @inline(__always)
  static func hash(_ bytes: UnsafePointer<UInt8>, _ n: Int) -> UInt64 {
    var hash = UInt64(truncatingIfNeeded: n) &* 0x9e37_79b9_7f4a_7c15
    let raw = UnsafeRawPointer(bytes)
    var i = 0
    while i &+ 8 <= n {
      hash = fold(hash ^ raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
      i &+= 8
    }
    var last: UInt64 = 0
    var shift: UInt64 = 0
    while i < n {
      last |= UInt64(bytes[i]) << shift
      shift &+= 8
      i &+= 1
    }
    return fold(hash ^ last)
  }

  @inline(__always)
  static func fold(_ x: UInt64) -> UInt64 {
    let (high, low) = x.multipliedFullWidth(by: 0xa076_1d64_78bd_642f)
    return high ^ low
  }
}
