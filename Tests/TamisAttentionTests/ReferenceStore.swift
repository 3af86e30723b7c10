import Tamis

/// Pages as canonical bytes. A page starts as noise, as memory on a device does, so that anything that reads a token nobody
/// wrote shows.
final class ReferenceStore: KVStore {
  let layout: KVLayout
  private let backend: ReferenceBackend
  private var pages: [Int32: [[UInt8]]] = [:]
  private var noise: UInt8 = 1

  init(_ layout: KVLayout, _ backend: ReferenceBackend) {
    self.layout = layout
    self.backend = backend
  }

  var livePages: Int { pages.count }

  private func touch(_ page: Int32) {
    precondition(page >= 0 && page < layout.maxPages)
    guard pages[page] == nil else { return }
    noise = noise &* 7 &+ 13
    pages[page] = Array(repeating: Array(repeating: noise, count: layout.layerPageBytes), count: layout.layers)
  }

  private func element(_ h: Int, _ slot: Int, _ i: Int, isV: Bool) -> Int {
    ((isV ? layout.pageElements : 0) + (h * layout.pageTokens + slot) * layout.headDim + i) * layout.dtype.size
  }

  private func scaleOffset(_ h: Int, _ slot: Int, isV: Bool) -> Int {
    2 * layout.pageElements + ((isV ? layout.pageRows : 0) + h * layout.pageTokens + slot) * 4
  }

  func write(layer: Int, page: Int32, slot: Int, count: Int, k: TensorView, v: TensorView, from start: Int) throws(TamisError) {
    if let left = backend.writesUntilFailure {
      if left == 0 { throw TamisError(.device, "the device failed, as the test asked") }
      backend.writesUntilFailure = left - 1
    }
    touch(page)
    for h in 0..<layout.kvHeads {
      for t in 0..<count {
        for (x, isV) in [(k, false), (v, true)] {
          let row = (0..<layout.headDim).map { Float(get(x, h, start + t, $0)) }
          put(row, layer, page, h, slot + t, isV)
        }
      }
    }
  }

  private func put(_ row: [Float], _ layer: Int, _ page: Int32, _ h: Int, _ slot: Int, _ isV: Bool) {
    let scale = layout.dtype == .i8 ? row.filter(\.isFinite).map(abs).max().map { $0 / 127 } ?? 0 : 0
    for (i, x) in row.enumerated() {
      let at = element(h, slot, i, isV: isV)
      switch layout.dtype {
      case .f32: store(x.bitPattern, page, layer, at)
      case .f16: store(Float16(x).bitPattern, page, layer, at)
      case .bf16: store(bf16(x), page, layer, at)
      default:
        let q = x.isFinite && scale > 0 ? Int8((x / scale).rounded(.toNearestOrEven)) : 0
        store(UInt8(bitPattern: q), page, layer, at)
      }
    }
    if layout.dtype == .i8 { store(scale.bitPattern, page, layer, scaleOffset(h, slot, isV: isV)) }
  }

  private func store<T: FixedWidthInteger>(_ x: T, _ page: Int32, _ layer: Int, _ at: Int) {
    withUnsafeBytes(of: x) { bytes in for (i, b) in bytes.enumerated() { pages[page]![layer][at + i] = b } }
  }

  private func load<T: FixedWidthInteger>(_ type: T.Type, _ page: Int32, _ layer: Int, _ at: Int) -> T {
    pages[page]![layer].withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: type) }
  }

  func row(_ layer: Int, _ page: Int32, _ h: Int, _ slot: Int, isV: Bool) -> [Double] {
    (0..<layout.headDim).map { i in
      let at = element(h, slot, i, isV: isV)
      switch layout.dtype {
      case .f32: return Double(Float(bitPattern: load(UInt32.self, page, layer, at)))
      case .f16: return Double(Float16(bitPattern: load(UInt16.self, page, layer, at)))
      case .bf16: return Double(Float(bitPattern: UInt32(load(UInt16.self, page, layer, at)) << 16))
      default:
        let scale = Float(bitPattern: load(UInt32.self, page, layer, scaleOffset(h, slot, isV: isV)))
        return Double(Float(Int8(bitPattern: load(UInt8.self, page, layer, at))) * scale)
      }
    }
  }

  func values(_ keys: CachedKeys, _ token: Int, _ h: Int, isV: Bool) -> [Double] {
    precondition(token < keys.count)
    return row(keys.layer, keys.pages[token / layout.pageTokens], h, token % layout.pageTokens, isV: isV)
  }

  func scoringKey(_ keys: CachedKeys, _ token: Int, _ h: Int) -> [Double] {
    let key = values(keys, token, h, isV: false)
    switch layout.scoringCopy {
    case .bf16: return key.map { Double(Float(bitPattern: UInt32(bf16(Float($0))) << 16)) }
    case .i8:
      let scale = (key.map(abs).max() ?? 0) / 127
      return key.map { scale > 0 ? ($0 / scale).rounded() * scale : 0 }
    default: return key
    }
  }

  func read(layer: Int, page: Int32, slot: Int, count: Int, k: TensorView?, v: TensorView?, at start: Int) throws(TamisError) {
    for h in 0..<layout.kvHeads {
      for t in 0..<count {
        for (x, isV) in [(k, false), (v, true)] {
          guard let x else { continue }
          for (i, value) in row(layer, page, h, slot + t, isV: isV).enumerated() { set(x, h, start + t, i, value) }
        }
      }
    }
  }

  func copyPage(from: Int32, to: Int32) throws(TamisError) { pages[to] = pages[from] }

  func exportPage(layer: Int, page: Int32, to bytes: UnsafeMutableRawPointer) throws(TamisError) {
    pages[page]![layer].withUnsafeBytes { bytes.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
  }

  func importPage(layer: Int, page: Int32, from bytes: UnsafeRawPointer) throws(TamisError) {
    touch(page)
    pages[page]![layer] = Array(UnsafeRawBufferPointer(start: bytes, count: layout.layerPageBytes))
  }

  func releasePage(_ page: Int32) { pages[page] = nil }
}

/// Round to nearest even.
func bf16(_ x: Float) -> UInt16 {
  if x.isNaN { return UInt16(truncatingIfNeeded: x.bitPattern >> 16) | 0x40 }
  return UInt16(truncatingIfNeeded: (x.bitPattern &+ 0x7fff &+ (x.bitPattern >> 16 & 1)) >> 16)
}

func get(_ x: TensorView, _ h: Int, _ t: Int, _ i: Int) -> Double {
  let at = h * x.stride[0] + t * x.stride[1] + i * x.stride[2]
  switch x.dtype {
  case .f32: return Double(x.data.assumingMemoryBound(to: Float.self)[at])
  case .f16: return Double(x.data.assumingMemoryBound(to: Float16.self)[at])
  case .bf16: return Double(Float(bitPattern: UInt32(x.data.assumingMemoryBound(to: UInt16.self)[at]) << 16))
  case .i8: return Double(Float(x.data.assumingMemoryBound(to: Int8.self)[at]) * x.rowScale(h, t))
  case .i32: return Double(x.data.assumingMemoryBound(to: Int32.self)[at])
  }
}

func set(_ x: TensorView, _ h: Int, _ t: Int, _ i: Int, _ value: Double) {
  let at = h * x.stride[0] + t * x.stride[1] + i * x.stride[2]
  switch x.dtype {
  case .f32: x.data.assumingMemoryBound(to: Float.self)[at] = Float(value)
  case .f16: x.data.assumingMemoryBound(to: Float16.self)[at] = Float16(value)
  case .bf16: x.data.assumingMemoryBound(to: UInt16.self)[at] = bf16(Float(value))
  default: preconditionFailure("no output dtype")
  }
}

func setLSE(_ x: TensorView, _ h: Int, _ t: Int, _ value: Double) {
  x.data.assumingMemoryBound(to: Float.self)[h * x.stride[0] + t * x.stride[1]] = Float(value)
}
