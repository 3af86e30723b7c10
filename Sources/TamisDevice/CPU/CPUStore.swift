import CShims
public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Address space for the rows of one kind: reserved at once, physical memory taken page by page when first written.
private final class Region {
  let base: UnsafeMutableRawPointer
  let bytes: Int

  init(_ bytes: Int) throws(TamisError) {
    self.bytes = max(bytes, 1)
    let address = mmap(nil, self.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let address, address != MAP_FAILED else {
      throw TamisError(.outOfMemory, "max_tokens: the system would not reserve \(bytes) bytes of address space")
    }
    base = address
    _ = madvise(base, self.bytes, MADV_HUGEPAGE)
  }

  deinit { munmap(base, bytes) }

  /// Gives whole system pages inside [offset, offset + count) back.
  func release(_ offset: Int, _ count: Int) {
    let unit = Int(sysconf(Int32(_SC_PAGESIZE)))
    let from = (offset + unit - 1) / unit * unit
    let to = (offset + count) / unit * unit
    if to > from { _ = madvise(base + from, to - from, MADV_DONTNEED) }
  }
}

/// One layer: K and V [page][kvHeads][pageTokens][headDim] in the cache's dtype; i8 scales [page][kvHeads][pageTokens];
/// the scoring copy [page][kvHeads][pageTokens/16] tiles (docs/precision.md).
private struct LayerRegions {
  let k: Region
  let v: Region
  let kScale: Region?
  let vScale: Region?
  let tiles: Region?
  let tileScale: Region?

  init(_ layout: KVLayout) throws(TamisError) {
    let pages = layout.maxPages
    k = try Region(pages * layout.pageElements * layout.dtype.size)
    v = try Region(pages * layout.pageElements * layout.dtype.size)
    let scales = pages * layout.pageRows * 4
    kScale = layout.dtype == .i8 ? try Region(scales) : nil
    vScale = layout.dtype == .i8 ? try Region(scales) : nil
    tiles = try layout.scoringCopy.map { (dtype: DType) throws(TamisError) in
      try Region(pages * layout.pageElements * dtype.size)
    }
    tileScale = layout.scoringCopy == .i8 ? try Region(scales) : nil
  }
}

/// A KV cache's pages in host memory.
public final class CPUStore: KVStore {
  public let layout: KVLayout
  private let layers: [LayerRegions]
  private let table: UnsafePointer<tk_table>
  private let rowF32: UnsafeMutablePointer<Float>
  private let rowBits: UnsafeMutableRawPointer

  init(_ layout: KVLayout, kernels: UnsafePointer<tk_table>) throws(TamisError) {
    let (rows, overflow) = layout.maxPages.multipliedReportingOverflow(by: layout.pageRows)
    if overflow || rows > Int(Int32.max) {
      throw TamisError(.unsupported, "max_tokens times kv_heads is more than \(Int32.max) rows; the CPU cache cannot hold them")
    }
    self.layout = layout
    table = kernels
    var layers: [LayerRegions] = []
    layers.reserveCapacity(layout.layers)
    for _ in 0..<layout.layers { layers.append(try LayerRegions(layout)) }
    self.layers = layers
    rowF32 = .allocate(capacity: max(layout.headDim, 1))
    rowBits = .allocate(byteCount: max(layout.headDim * 4, 1), alignment: 64)
  }

  deinit {
    rowF32.deallocate()
    rowBits.deallocate()
  }

  // MARK: addresses

  func keys(_ layer: Int) -> UnsafeMutableRawPointer { layers[layer].k.base }
  func values(_ layer: Int) -> UnsafeMutableRawPointer { layers[layer].v.base }
  func keyScales(_ layer: Int) -> UnsafeMutablePointer<Float>? {
    layers[layer].kScale?.base.assumingMemoryBound(to: Float.self)
  }
  func valueScales(_ layer: Int) -> UnsafeMutablePointer<Float>? {
    layers[layer].vScale?.base.assumingMemoryBound(to: Float.self)
  }
  func tiles(_ layer: Int) -> UnsafeMutableRawPointer? { layers[layer].tiles?.base }
  func tileScales(_ layer: Int) -> UnsafeMutablePointer<Float>? {
    layers[layer].tileScale?.base.assumingMemoryBound(to: Float.self)
  }

  /// Number of the row of (page, head, slot).
  private func rowNumber(_ page: Int32, _ head: Int, _ slot: Int) -> Int {
    Int(page) * layout.pageRows + head * layout.pageTokens + slot
  }

  // MARK: rows in and out

  public func write(
    layer: Int, page: Int32, slot: Int, count: Int, k: TensorView, v: TensorView, from start: Int
  ) throws(TamisError) {
    let d = layout.headDim
    for head in 0..<layout.kvHeads {
      for t in 0..<count {
        let row = rowNumber(page, head, slot + t)
        store(k, head, start + t, to: keys(layer), keyScales(layer), row)
        store(v, head, start + t, to: values(layer), valueScales(layer), row)
        if layout.scoringCopy != nil { packRow(layer, row, d) }
      }
    }
  }

  private func store(
    _ x: TensorView, _ h: Int, _ t: Int, to base: UnsafeMutableRawPointer, _ scales: UnsafeMutablePointer<Float>?, _ row: Int
  ) {
    let d = layout.headDim
    let out = base + row * d * layout.dtype.size
    let unit = x.stride[2] == 1 || d == 1
    if unit && x.dtype == layout.dtype {
      out.copyMemory(from: x.row(h, t), byteCount: d * layout.dtype.size)
      scales?[row] = x.rowScale(h, t)
      return
    }
    x.loadRow(h, t, to: rowF32, table)
    if layout.dtype == .i8 {
      scales![row] = table.pointee.f32_to_i8(rowF32, out.assumingMemoryBound(to: Int8.self), d)
    } else {
      TensorRows.store(rowF32, count: d, to: out, layout.dtype, stride: 1, table)
    }
  }

  /// Key row -> its column of a tile of the scoring copy.
  private func packRow(_ layer: Int, _ row: Int, _ d: Int) {
    let from = keys(layer) + row * d * layout.dtype.size
    // Tiles lie in row order: a page is a multiple of 16 tokens, so tile and column follow from the row's number.
    let token = row % 16
    let copy = layout.scoringCopy!
    let tile = tiles(layer)! + (row - token) * d * copy.size
    if copy == .i8 {
      if layout.dtype == .i8 {
        table.pointee.pack_tile_i8(from.assumingMemoryBound(to: Int8.self), d, tile, token)
        tileScales(layer)![row] = keyScales(layer)![row]
        return
      }
      TensorRows.load(from, layout.dtype, stride: 1, scale: 1, count: d, to: rowF32, table)
      let bytes = rowBits.assumingMemoryBound(to: Int8.self)
      tileScales(layer)![row] = table.pointee.f32_to_i8(rowF32, bytes, d)
      table.pointee.pack_tile_i8(bytes, d, tile, token)
    } else {
      if layout.dtype == .bf16 {
        table.pointee.pack_tile_bf16(from.assumingMemoryBound(to: UInt16.self), d, tile, token)
        return
      }
      TensorRows.load(
        from, layout.dtype, stride: 1, scale: keyScales(layer)?[row] ?? 1, count: d, to: rowF32, table)
      let bits = rowBits.assumingMemoryBound(to: UInt16.self)
      table.pointee.f32_to_bf16(rowF32, bits, d)
      table.pointee.pack_tile_bf16(bits, d, tile, token)
    }
  }

  public func read(
    layer: Int, page: Int32, slot: Int, count: Int, k: TensorView?, v: TensorView?, at start: Int
  ) throws(TamisError) {
    for head in 0..<layout.kvHeads {
      for t in 0..<count {
        let row = rowNumber(page, head, slot + t)
        if let k { load(keys(layer), keyScales(layer), row, to: k, head, start + t) }
        if let v { load(values(layer), valueScales(layer), row, to: v, head, start + t) }
      }
    }
  }

  private func load(
    _ base: UnsafeRawPointer, _ scales: UnsafePointer<Float>?, _ row: Int, to x: TensorView, _ h: Int, _ t: Int
  ) {
    let d = layout.headDim
    let from = base + row * d * layout.dtype.size
    if x.dtype == layout.dtype && x.stride[2] == 1 && x.dtype != .i8 {
      x.row(h, t).copyMemory(from: from, byteCount: d * layout.dtype.size)
      return
    }
    TensorRows.load(from, layout.dtype, stride: 1, scale: scales?[row] ?? 1, count: d, to: rowF32, table)
    x.storeRow(h, t, from: rowF32, table)
  }

  // MARK: whole pages

  public func copyPage(from: Int32, to: Int32) throws(TamisError) {
    for layer in layers {
      copy(layer.k, from, to, layout.pageElements * layout.dtype.size)
      copy(layer.v, from, to, layout.pageElements * layout.dtype.size)
      if let r = layer.kScale { copy(r, from, to, layout.pageRows * 4) }
      if let r = layer.vScale { copy(r, from, to, layout.pageRows * 4) }
      if let r = layer.tiles { copy(r, from, to, layout.pageElements * layout.scoringCopy!.size) }
      if let r = layer.tileScale { copy(r, from, to, layout.pageRows * 4) }
    }
  }

  private func copy(_ region: Region, _ from: Int32, _ to: Int32, _ bytes: Int) {
    (region.base + Int(to) * bytes).copyMemory(from: region.base + Int(from) * bytes, byteCount: bytes)
  }

  public func exportPage(layer: Int, page: Int32, to bytes: UnsafeMutableRawPointer) throws(TamisError) {
    forCanonical(layer, page) { (offset: Int, address: UnsafeMutableRawPointer, count: Int) in
      (bytes + offset).copyMemory(from: address, byteCount: count)
    }
  }

  public func importPage(layer: Int, page: Int32, from bytes: UnsafeRawPointer) throws(TamisError) {
    forCanonical(layer, page) { (offset: Int, address: UnsafeMutableRawPointer, count: Int) in
      address.copyMemory(from: bytes + offset, byteCount: count)
    }
    if layout.scoringCopy != nil {
      let first = Int(page) * layout.pageRows
      for row in first..<first + layout.pageRows { packRow(layer, row, layout.headDim) }
    }
  }

  /// The pieces of `KVLayout.layerPageBytes` in their order.
  private func forCanonical(_ layer: Int, _ page: Int32, _ body: (Int, UnsafeMutableRawPointer, Int) -> Void) {
    let bytes = layout.pageElements * layout.dtype.size
    body(0, keys(layer) + Int(page) * bytes, bytes)
    body(bytes, values(layer) + Int(page) * bytes, bytes)
    if let k = layers[layer].kScale, let v = layers[layer].vScale {
      let scaleBytes = layout.pageRows * 4
      body(2 * bytes, k.base + Int(page) * scaleBytes, scaleBytes)
      body(2 * bytes + scaleBytes, v.base + Int(page) * scaleBytes, scaleBytes)
    }
  }

  public func releasePage(_ page: Int32) {
    let p = Int(page)
    for layer in layers {
      let bytes = layout.pageElements * layout.dtype.size
      layer.k.release(p * bytes, bytes)
      layer.v.release(p * bytes, bytes)
      let scaleBytes = layout.pageRows * 4
      layer.kScale?.release(p * scaleBytes, scaleBytes)
      layer.vScale?.release(p * scaleBytes, scaleBytes)
      if let copy = layout.scoringCopy {
        layer.tiles?.release(p * layout.pageElements * copy.size, layout.pageElements * copy.size)
      }
      layer.tileScale?.release(p * scaleBytes, scaleBytes)
    }
  }
}
