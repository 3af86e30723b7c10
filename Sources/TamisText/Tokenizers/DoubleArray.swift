/// A trie of byte strings in one array (J. Aoe, 1989, in the XOR form): the child of a node by byte c stands at base ^ c and
/// carries c. A step is one load.
///
/// A unit: 30 bits base, 1 bit "occupied", 8 bits label, 25 bits value + 1.
final class DoubleArray: @unchecked Sendable {
  private(set) var units: UnsafeMutablePointer<UInt64>
  private(set) var count: Int
  private(set) var rootBase: Int = 0

  private static let valueMask: UInt64 = (1 << 25) - 1
  private static let matchMask: UInt64 = 0x1ff << 25
  private static let occupied: UInt64 = 1 << 33
  static let valueLimit = 1 << 24

  deinit { units.deallocate() }

  /// The base after a step from `base` by a byte, and the value there (-1: none); nil: no such child.
  @inline(__always)
  static func step(_ units: UnsafePointer<UInt64>, _ base: inout Int, _ byte: UInt8) -> Int32? {
    let unit = units[base ^ Int(byte)]
    guard unit & matchMask == occupied | UInt64(byte) &<< 25 else { return nil }
    base = Int(truncatingIfNeeded: unit &>> 34)
    return Int32(truncatingIfNeeded: unit & valueMask) &- 1
  }

  /// The longest key at the start of the bytes.
  @inline(__always)
  func longestMatch(_ bytes: UnsafePointer<UInt8>, _ n: Int) -> (value: Int32, length: Int)? {
    var base = rootBase
    var found: (value: Int32, length: Int)?
    for i in 0..<n {
      guard let value = Self.step(units, &base, bytes[i]) else { break }
      if value >= 0 { found = (value, i &+ 1) }
    }
    return found
  }

  /// Keys are distinct and not empty; values are from 0 to `valueLimit` - 1.
  init(_ keys: [(bytes: UnsafeBufferPointer<UInt8>, value: Int32)]) {
    var builder = Builder(keys)
    rootBase = builder.build()
    count = builder.units.count
    units = .allocate(capacity: count)
    builder.units.withUnsafeBufferPointer { units.initialize(from: $0.baseAddress!, count: $0.count) }
  }

  private struct Builder {
    let keys: [(bytes: UnsafeBufferPointer<UInt8>, value: Int32)]
    var order: [Int32]
    var spare: [Int32]
    var units: [UInt64] = []
    /// Bases are unique: then a label tells whose child a unit is.
    var baseTaken: [Bool] = []
    /// Circular list of the free units; the head is unit 0, which is never free.
    var nextFree: [Int32] = []
    var previousFree: [Int32] = []

    init(_ keys: [(bytes: UnsafeBufferPointer<UInt8>, value: Int32)]) {
      self.keys = keys
      order = (0..<keys.count).map { Int32($0) }
      spare = order
      units.reserveCapacity(4 * keys.count + 512)
      nextFree.append(0)
      previousFree.append(0)
      addBlock()
      baseTaken[0] = true
    }

    mutating func addBlock() {
      let first = units.count
      units.append(contentsOf: repeatElement(0, count: 256))
      baseTaken.append(contentsOf: repeatElement(false, count: 256))
      for unit in max(first, 1)..<first + 256 {
        let last = previousFree[0]
        nextFree.append(0)
        previousFree.append(last)
        nextFree[Int(last)] = Int32(unit)
        previousFree[0] = Int32(unit)
      }
    }

    mutating func build() -> Int {
      guard !keys.isEmpty else { return 0 }
      // Nodes still to be given children: the unit that holds the node (-1: root), its keys and their common length.
      var open: [(unit: Int, low: Int, high: Int, depth: Int)] = [(-1, 0, keys.count, 0)]
      var rootBase = 0
      var labels: [UInt8] = []
      var groups: [Int] = []
      while let node = open.popLast() {
        var low = node.low
        let depth = node.depth
        sort(low, node.high, depth)
        if node.unit >= 0, keys[Int(order[low])].bytes.count == depth {
          units[node.unit] |= UInt64(keys[Int(order[low])].value + 1)
          low += 1
        }
        if low == node.high { continue }
        labels.removeAll(keepingCapacity: true)
        groups.removeAll(keepingCapacity: true)
        for i in low..<node.high {
          let byte = keys[Int(order[i])].bytes[depth]
          if labels.last != byte {
            labels.append(byte)
            groups.append(i)
          }
        }
        groups.append(node.high)
        let base = place(labels[...])
        if node.unit < 0 { rootBase = base } else { units[node.unit] |= UInt64(base) << 34 }
        for (i, label) in labels.enumerated() {
          open.append((base ^ Int(label), groups[i], groups[i + 1], depth + 1))
        }
      }
      return rootBase
    }

    /// Orders keys [low, high) by the byte at `depth`, the one that ends there first.
    mutating func sort(_ low: Int, _ high: Int, _ depth: Int) {
      func byte(_ key: Int32) -> Int {
        let bytes = keys[Int(key)].bytes
        return bytes.count == depth ? 0 : Int(bytes[depth]) + 1
      }
      if high - low < 2 { return }
      if high - low <= 24 {
        for i in low + 1..<high {
          let key = order[i]
          let rank = byte(key)
          var j = i
          while j > low, byte(order[j - 1]) > rank {
            order[j] = order[j - 1]
            j -= 1
          }
          order[j] = key
        }
        return
      }
      var counts = [Int](repeating: 0, count: 258)
      for i in low..<high { counts[byte(order[i]) + 1] += 1 }
      for i in 1..<258 { counts[i] += counts[i - 1] }
      for i in low..<high {
        let rank = byte(order[i])
        spare[low + counts[rank]] = order[i]
        counts[rank] += 1
      }
      for i in low..<high { order[i] = spare[i] }
    }

    /// A base at which every label's unit is free; takes them. Looks among the newest units, where there is room, and opens a
    /// block when it finds none: gaps further back are few and their bases mostly taken.
    mutating func place(_ labels: ArraySlice<UInt8>) -> Int {
      let first = Int(labels[labels.startIndex])
      var unit = Int(previousFree[0])
      var tries = 0
      while unit != 0, tries < 64 {
        let base = unit ^ first
        if !baseTaken[base], fits(base, labels) { return take(base, labels) }
        unit = Int(previousFree[unit])
        tries += 1
      }
      let block = units.count
      addBlock()
      return take(block, labels)
    }

    private func fits(_ base: Int, _ labels: ArraySlice<UInt8>) -> Bool {
      for label in labels where !isFree(base ^ Int(label)) { return false }
      return true
    }

    func isFree(_ unit: Int) -> Bool { unit != 0 && units[unit] & DoubleArray.occupied == 0 }

    mutating func take(_ base: Int, _ labels: ArraySlice<UInt8>) -> Int {
      baseTaken[base] = true
      for label in labels {
        let unit = base ^ Int(label)
        units[unit] = DoubleArray.occupied | UInt64(label) << 25
        let next = nextFree[unit]
        let previous = previousFree[unit]
        nextFree[Int(previous)] = next
        previousFree[Int(next)] = previous
      }
      return base
    }
  }
}
