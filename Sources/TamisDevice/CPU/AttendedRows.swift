import CShims
import TamisCore

/// Where the keys and values of an attended list lie: the list's places 0 ..< count as rows of a KV cache or of tensors.
/// The tile source of every attention driver: it says which rows a run of places is, and turns keys to where they stand.
///
/// A list is [0, sinks) ++ selected ++ recent. Runs of consecutive tokens stream without a row list as long as a page has at
/// least `AttendedRows.block` tokens; other places go through row numbers that are computed once per call.
struct AttendedRows {
  /// Most places a block holds.
  static let block = 64

  /// Rows of one kind: row r of head h at base + h * head + r * row elements.
  struct Plane {
    var base: UnsafeRawPointer
    var head: Int
    var row: Int
    var scale: UnsafePointer<Float>?
    var scaleHead: Int
    var scaleRow: Int
  }

  let dtype: DType
  let headDim: Int
  let k: Plane
  let v: Plane

  let count: Int
  let sinks: Int
  let selected: UnsafePointer<Int32>?
  let selectedCount: Int
  let recent: Range<Int>

  /// nil: row number = token.
  let pages: UnsafePointer<Int32>?
  let pageTokens: Int
  let pageRows: Int
  /// Row numbers of places firstListed ..< firstListed + listedCount.
  private(set) var rows: UnsafePointer<Int32>?
  private(set) var firstListed = 0
  private(set) var listedCount = 0

  /// All rows of two tensors [heads, n, d].
  init(k: TensorView, v: TensorView) {
    dtype = k.dtype
    headDim = k.shape[2]
    self.k = Plane(tensor: k)
    self.v = Plane(tensor: v)
    count = k.shape[1]
    sinks = 0
    selected = nil
    selectedCount = 0
    recent = 0..<k.shape[1]
    pages = nil
    pageTokens = Int.max
    pageRows = 0
  }

  /// Rows `tokens`, ascending, of two tensors [heads, n, d].
  init(k: TensorView, v: TensorView, tokens: UnsafeBufferPointer<Int32>) {
    dtype = k.dtype
    headDim = k.shape[2]
    self.k = Plane(tensor: k)
    self.v = Plane(tensor: v)
    count = tokens.count
    sinks = 0
    selected = tokens.baseAddress
    selectedCount = tokens.count
    recent = 0..<0
    pages = nil
    pageTokens = Int.max
    pageRows = 0
    listedCount = tokens.count
  }

  init(_ keys: CachedKeys, _ store: CPUStore, _ tokens: AttendedTokens, selected: UnsafePointer<Int32>?, selectedCount: Int) {
    let layout = store.layout
    dtype = layout.dtype
    headDim = layout.headDim
    let head = layout.pageTokens * layout.headDim
    k = Plane(
      base: store.keys(keys.layer), head: head, row: layout.headDim, scale: store.keyScales(keys.layer).map { UnsafePointer($0) },
      scaleHead: layout.pageTokens, scaleRow: 1)
    v = Plane(
      base: store.values(keys.layer), head: head, row: layout.headDim,
      scale: store.valueScales(keys.layer).map { UnsafePointer($0) }, scaleHead: layout.pageTokens, scaleRow: 1)
    sinks = tokens.sinks
    self.selected = selected
    self.selectedCount = selectedCount
    recent = tokens.recent
    count = tokens.sinks + selectedCount + tokens.recent.count
    pages = keys.pages
    pageTokens = layout.pageTokens
    pageRows = layout.pageRows
    if layout.pageTokens < Self.block {
      listedCount = count
    } else {
      firstListed = sinks
      listedCount = selectedCount
    }
  }

  /// Fills the row numbers; `room` has `listedCount` places and must live as long as this.
  mutating func listRows(in room: UnsafeMutablePointer<Int32>) {
    for i in 0..<listedCount { room[i] = Int32(truncatingIfNeeded: rowNumber(token(at: firstListed + i))) }
    rows = UnsafePointer(room)
  }

  @inline(__always) private func rowNumber(_ token: Int) -> Int {
    guard let pages else { return token }
    return Int(pages[token / pageTokens]) &* pageRows &+ token % pageTokens
  }

  /// The token at a place.
  @inline(__always) func token(at place: Int) -> Int {
    if place < sinks { return place }
    if place < sinks + selectedCount { return Int(selected![place - sinks]) }
    return recent.lowerBound + place - sinks - selectedCount
  }

  /// How many places hold a token before `limit`: the list is ascending, so they come first.
  func places(before limit: Int) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if token(at: middle) < limit { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// A run of places that one kernel call covers.
  struct Block {
    var count: Int
    /// First row of a contiguous run, or the row numbers.
    var firstRow: Int
    var rows: UnsafePointer<Int32>?
    /// Places of a selection, whose tokens need not be consecutive.
    var isSelected: Bool
  }

  /// The longest run at `place` that ends before `end`, of at most `most` places.
  func block(at place: Int, before end: Int, most: Int) -> Block {
    let isSelected = place >= sinks && place < sinks + selectedCount
    let segmentEnd = place < sinks ? sinks : isSelected ? sinks + selectedCount : count
    var n = min(min(most, end - place), segmentEnd - place)
    if let rows, place >= firstListed, place < firstListed + listedCount {
      return Block(count: n, firstRow: 0, rows: rows + (place - firstListed), isSelected: isSelected)
    }
    let token = token(at: place)
    if pages != nil { n = min(n, pageTokens - token % pageTokens) }
    return Block(count: n, firstRow: rowNumber(token), rows: nil, isSelected: isSelected)
  }

  func keyRows(_ b: Block, head h: Int) -> tk_rows { k.rows(b, head: h, dtype.size) }
  func valueRows(_ b: Block, head h: Int) -> tk_rows { v.rows(b, head: h, dtype.size) }
}

extension AttendedRows.Plane {
  init(tensor x: TensorView) {
    base = UnsafeRawPointer(x.data)
    head = x.stride[0]
    row = x.stride[1]
    scale = x.scale.map { UnsafePointer($0) }
    scaleHead = x.scaleStride[0]
    scaleRow = x.scaleStride[1]
  }

  @inline(__always) func rows(_ b: AttendedRows.Block, head h: Int, _ size: Int) -> tk_rows {
    tk_rows(
      base: base + (h &* head &+ b.firstRow &* row) &* size, rows: b.rows, stride: row,
      scale: scale.map { $0 + (h &* scaleHead &+ b.firstRow &* scaleRow) }, scale_stride: scaleRow, ahead: nil, ahead_count: 0)
  }
}
