/// Numbers 1, 2, .. for the different tokens of one sequence, and the same numbers for those of another; 0 for what the first
/// lacks. Open addressing, tokens compared whole.
struct LocalAlphabet {
  private var slots: [UInt64] = []
  private var bits: UInt32 = 4
  private(set) var count = 0

  @_optimize(speed)
  mutating func number(_ ids: UnsafeBufferPointer<Int32>, into numbers: inout [Int32]) {
    bits = 4
    while 1 << Int(bits) < 2 * ids.count { bits += 1 }
    let size = 1 << Int(bits)
    slots.removeAll(keepingCapacity: true)
    slots.append(contentsOf: repeatElement(0, count: size))
    numbers.removeAll(keepingCapacity: true)
    count = 0
    for id in ids {
      var slot = place(id)
      while true {
        let entry = slots[slot]
        if entry == 0 {
          count += 1
          slots[slot] = UInt64(UInt32(bitPattern: id)) << 32 | UInt64(count)
          numbers.append(Int32(truncatingIfNeeded: count))
          break
        }
        if UInt32(truncatingIfNeeded: entry >> 32) == UInt32(bitPattern: id) {
          numbers.append(Int32(truncatingIfNeeded: entry & 0xffff_ffff))
          break
        }
        slot = (slot + 1) & (size - 1)
      }
    }
  }

  @_optimize(speed)
  func look(_ ids: UnsafeBufferPointer<Int32>, into numbers: inout [Int32]) {
    numbers.removeAll(keepingCapacity: true)
    let mask = slots.count - 1
    for id in ids {
      var slot = place(id)
      var number: Int32 = 0
      while slots[slot] != 0 {
        if UInt32(truncatingIfNeeded: slots[slot] >> 32) == UInt32(bitPattern: id) {
          number = Int32(truncatingIfNeeded: slots[slot] & 0xffff_ffff)
          break
        }
        slot = (slot + 1) & mask
      }
      numbers.append(number)
    }
  }

  @inline(__always)
  private func place(_ id: Int32) -> Int { Int((UInt32(bitPattern: id) &* 0x9e37_79b1) >> (32 - bits)) }
}
