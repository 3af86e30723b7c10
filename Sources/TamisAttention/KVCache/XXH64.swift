/// XXH64 with seed 0, as its specification has it (github.com/Cyan4973/xxHash, doc/xxhash_spec.md): the checksum of snapshots.
package enum XXH64 {
  private static let p1: UInt64 = 0x9e37_79b1_85eb_ca87
  private static let p2: UInt64 = 0xc2b2_ae3d_27d4_eb4f
  private static let p3: UInt64 = 0x1656_67b1_9e37_79f9
  private static let p4: UInt64 = 0x85eb_ca77_c2b2_ae63
  private static let p5: UInt64 = 0x27d4_eb2f_1656_67c5

  package static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    let n = bytes.count
    var i = 0
    var h: UInt64
    if n >= 32 {
      var a = p1 &+ p2
      var b = p2
      var c: UInt64 = 0
      var d = 0 &- p1
      while i <= n - 32 {
        a = round(a, word(bytes, i))
        b = round(b, word(bytes, i + 8))
        c = round(c, word(bytes, i + 16))
        d = round(d, word(bytes, i + 24))
        i += 32
      }
      h = rotate(a, 1) &+ rotate(b, 7) &+ rotate(c, 12) &+ rotate(d, 18)
      h = merge(merge(merge(merge(h, a), b), c), d)
    } else {
      h = p5
    }
    h &+= UInt64(n)
    while i <= n - 8 {
      h = rotate(h ^ round(0, word(bytes, i)), 27) &* p1 &+ p4
      i += 8
    }
    if i <= n - 4 {
      let half = UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt32.self)))
      h = rotate(h ^ (half &* p1), 23) &* p2 &+ p3
      i += 4
    }
    while i < n {
      h = rotate(h ^ (UInt64(bytes[i]) &* p5), 11) &* p1
      i += 1
    }
    h = (h ^ (h >> 33)) &* p2
    h = (h ^ (h >> 29)) &* p3
    return h ^ (h >> 32)
  }

  @inline(__always) private static func word(_ bytes: UnsafeRawBufferPointer, _ i: Int) -> UInt64 {
    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self))
  }
  @inline(__always) private static func rotate(_ x: UInt64, _ by: UInt64) -> UInt64 { x &<< by | x &>> (64 &- by) }
  @inline(__always) private static func round(_ h: UInt64, _ x: UInt64) -> UInt64 { rotate(h &+ x &* p2, 31) &* p1 }
  @inline(__always) private static func merge(_ h: UInt64, _ x: UInt64) -> UInt64 { (h ^ round(0, x)) &* p1 &+ p4 }
}
