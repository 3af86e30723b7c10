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
    numbers.append(contentsOf: repeatElement(0, count: ids.count))
    let shift = 32 &- bits
    count = slots.withUnsafeMutableBufferPointer { slots in
      numbers.withUnsafeMutableBufferPointer { numbers in
        var count = 0
        for i in 0..<ids.count {
          let id = UInt32(bitPattern: ids[i])
          var slot = Self.place(id, shift)
          while slots[slot] != 0 && UInt32(truncatingIfNeeded: slots[slot] &>> 32) != id { slot = (slot &+ 1) & (size &- 1) }
          if slots[slot] == 0 {
            count = count &+ 1
            slots[slot] = UInt64(id) << 32 | UInt64(truncatingIfNeeded: count)
          }
          numbers[i] = Int32(truncatingIfNeeded: slots[slot] & 0xffff_ffff)
        }
        return count
      }
    }
  }

  @_optimize(speed)
  func look(_ ids: UnsafeBufferPointer<Int32>, into numbers: inout [Int32]) {
    numbers.removeAll(keepingCapacity: true)
    numbers.append(contentsOf: repeatElement(0, count: ids.count))
    let mask = slots.count - 1
    let shift = 32 &- bits
    slots.withUnsafeBufferPointer { slots in
      numbers.withUnsafeMutableBufferPointer { numbers in
        for i in 0..<ids.count {
          let id = UInt32(bitPattern: ids[i])
          var slot = Self.place(id, shift)
          while slots[slot] != 0 && UInt32(truncatingIfNeeded: slots[slot] &>> 32) != id { slot = (slot &+ 1) & mask }
          numbers[i] = Int32(truncatingIfNeeded: slots[slot] & 0xffff_ffff)
        }
      }
    }
  }

  @inline(__always)
  private static func place(_ id: UInt32, _ shift: UInt32) -> Int { Int((id &* 0x9e37_79b1) &>> shift) }
}
