import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// A group of sequences on its way through the layers: the rows that live from region to region, and the tasks of a region.
/// Row r of each buffer belongs to token r of the group.
struct EncoderPass {
  let encoder: CPUEncoder
  /// The layer whose attention has just been done.
  var layer = 0
  let count: Int
  let rowTasks: Int

  private let ids, positions: UnsafePointer<Int32>
  private let types: UnsafePointer<Int32>?
  private let states: UnsafeMutablePointer<Float>

  /// Attention takes and gives bf16; otherwise f32.
  private let pairs: Bool
  /// [count, hidden] f32: the hidden states.
  private let x: UnsafeMutablePointer<Float>
  private let xStride: Int
  /// [count, 3 heads * headDim], f32 or bf16; strides in elements.
  private let queryKeyValue: UnsafeMutableRawPointer
  private let queryKeyValueStride: Int
  /// [count, heads * headDim], f32, or bf16 where the next product reads bf16.
  private let context: UnsafeMutableRawPointer
  private let contextStride: Int
  private let contextDType: DType
  /// The keys that each query sees: all of its sequence, [0, high).
  private let low, high: UnsafeMutablePointer<Int>

  private let tileRows: Int
  private let tiles: Int
  /// Most rows of a task.
  private let blockRows: Int

  /// Rows of a block, about: its FFN activations in f32 fill most of a second-level cache of 1 MB.
  private static let rowsWanted = 192

  init(
    _ encoder: CPUEncoder, _ memory: Scratch, count: Int, ids: UnsafePointer<Int32>, positions: UnsafePointer<Int32>,
    types: UnsafePointer<Int32>?, states: UnsafeMutablePointer<Float>
  ) {
    self.encoder = encoder
    self.count = count
    self.ids = ids
    self.positions = positions
    self.types = types
    self.states = states
    let table = encoder.backend.kernels
    let threads = encoder.backend.threads
    tileRows = Int(table.pointee.linear.tile_rows)
    tiles = (count + tileRows - 1) / tileRows
    let tilesWanted = Self.rowsWanted / tileRows
    // A whole number of tasks for each thread, so that threads end together.
    let tasks = (tiles + tilesWanted - 1) / tilesWanted
    rowTasks = min(tiles, (tasks + threads - 1) / threads * threads)
    blockRows = (tiles + rowTasks - 1) / rowTasks * tileRows

    pairs = encoder.precision != .f32 && table.pointee.prefill.scores_bf16 != nil
    contextDType = pairs && encoder.precision == .bf16 ? .bf16 : .f32
    let width = encoder.heads * encoder.headDim
    let panel = Int(table.pointee.linear.panel)
    func floats(_ n: Int) -> Int { LinearInput.stride((n + panel - 1) / panel * panel, 4) / 4 }
    xStride = floats(encoder.hidden)
    let qkvSize = pairs ? 2 : 4
    queryKeyValueStride = LinearInput.stride((3 * width + panel - 1) / panel * panel, qkvSize) / qkvSize
    contextStride = LinearInput.stride((width + panel - 1) / panel * panel, contextDType.size) / contextDType.size
    memory.reset(
      reserving: Scratch.bytes(Float.self, count * xStride) + Scratch.bytes(Int8.self, count * queryKeyValueStride * qkvSize)
        + Scratch.bytes(Int8.self, count * contextStride * contextDType.size) + 2 * Scratch.bytes(Int.self, count))
    x = memory.take(Float.self, count * xStride)
    queryKeyValue = UnsafeMutableRawPointer(memory.take(Int8.self, count * queryKeyValueStride * qkvSize))
    context = UnsafeMutableRawPointer(memory.take(Int8.self, count * contextStride * contextDType.size))
    // The padding of a row of context meets zero weights, and 0 * NaN is NaN.
    memset(context, 0, count * contextStride * contextDType.size)
    low = memory.take(Int.self, count)
    high = memory.take(Int.self, count)
  }

  // MARK: attention

  /// Attention of one sequence, tokens `range` of the group: the same work for every layer.
  func attention(_ range: Range<Int>) -> TiledAttention {
    let (heads, d) = (encoder.heads, encoder.headDim)
    let dtype: DType = pairs ? .bf16 : .f32
    func part(_ i: Int) -> TensorView {
      TensorView(
        queryKeyValue + (range.lowerBound * queryKeyValueStride + i * heads * d) * dtype.size, dtype,
        shape: [heads, range.count, d], stride: [d, queryKeyValueStride, 1])
    }
    for i in range { (low[i], high[i]) = (0, range.count) }
    let rule = AttentionRule(scale: encoder.softmaxScale)
    return TiledAttention(
      rows: AttendedRows(k: part(1), v: part(2)),
      rotation: Rotation(rule.rope, selected: 0, in: encoder.backend.shared, encoder.backend.kernels), rule: rule, q: part(0),
      out: TensorView(
        context + range.lowerBound * contextStride * contextDType.size, contextDType, shape: [heads, range.count, d],
        stride: [d, contextStride, 1]),
      lse: nil, group: 1, firstPosition: 0, low: low + range.lowerBound, high: high + range.lowerBound,
      table: encoder.backend.kernels, f32Products: false, threads: encoder.backend.threads)
  }

  // MARK: rows

  /// Embeddings of a block of tokens, their normalisation and projection, and the first layer's queries, keys and values.
  func embed(_ task: Int, _ worker: Int) {
    let rows = rows(task)
    let s = RowScratch(self, encoder.backend.workers[worker])
    let table = encoder.backend.kernels
    let width = encoder.word.width
    for r in rows {
      let e = s.sums
      encoder.word.load(Int(ids[r]), to: e, table)
      encoder.position.load(Int(positions[r]), to: s.sums + s.sumStride, table)
      table.pointee.add_scaled(e, s.sums + s.sumStride, width, 1)
      encoder.type.load(Int(types?[r] ?? 0), to: s.sums + s.sumStride, table)
      table.pointee.add_scaled(e, s.sums + s.sumStride, width, 1)
      let i = r - rows.lowerBound
      if let projection = encoder.projection {
        let to = s.wide + i * s.wideStride
        prepare(normalise(e, encoder.embeddingNorm, to, padded: projection.inputs), to, projection.inputs, i, s.narrow)
      } else {
        settle(e, encoder.embeddingNorm, r, i, s)
      }
    }
    if let projection = encoder.projection {
      let input = encoder.precision == .f32 ? s.f32(s.wide, s.wideStride) : s.narrow
      projection.apply(input, rows: rows.count, to: x + rows.lowerBound * xStride, yStride: xStride)
      for r in rows {
        let row = x + r * xStride
        if encoder.layers.isEmpty { finish(row, r) }
        prepare(largest(row), row, s.inputs, r - rows.lowerBound, s.narrow)
      }
    }
    if !encoder.layers.isEmpty { project(0, rows, s) }
  }

  /// From the context of `layer` to the queries, keys and values of the next one, or to the states.
  func transform(_ task: Int, _ worker: Int) {
    let rows = rows(task)
    let s = RowScratch(self, encoder.backend.workers[worker])
    let weights = encoder.layers[layer]
    let home = x + rows.lowerBound * xStride

    weights.attentionOutput.apply(
      contextInput(rows, s), rows: rows.count, to: s.sums, yStride: s.sumStride,
      PackedLinear.Ending(residual: UnsafePointer(home), residualStride: xStride))
    for r in rows { settle(s.sums + (r - rows.lowerBound) * s.sumStride, weights.attentionNorm, r, r - rows.lowerBound, s) }

    let wide = widen(weights.intermediate, rows, s)
    weights.output.apply(
      wide, rows: rows.count, to: s.sums, yStride: s.sumStride,
      PackedLinear.Ending(residual: UnsafePointer(home), residualStride: xStride))
    let isLast = layer + 1 == encoder.layers.count
    for r in rows {
      let sums = s.sums + (r - rows.lowerBound) * s.sumStride
      if isLast {
        _ = normalise(sums, weights.outputNorm, states + r * encoder.hidden, padded: encoder.hidden)
      } else {
        settle(sums, weights.outputNorm, r, r - rows.lowerBound, s)
      }
    }
    if !isLast { project(layer + 1, rows, s) }
  }

  private func rows(_ task: Int) -> Range<Int> {
    let first = tiles * task / rowTasks * tileRows
    return first..<min(count, tiles * (task + 1) / rowTasks * tileRows)
  }

  /// The context rows as the product reads them.
  private func contextInput(_ rows: Range<Int>, _ s: RowScratch) -> LinearInput {
    let inputs = encoder.layers[layer].attentionOutput.inputs
    let from = context + rows.lowerBound * contextStride * contextDType.size
    if encoder.precision == .f32 || contextDType == .bf16 {
      return LinearInput(rows: from, stride: contextStride * contextDType.size)
    }
    let floats = from.assumingMemoryBound(to: Float.self)
    for i in 0..<rows.count {
      let row = floats + i * contextStride
      prepare(encoder.precision == .i8 ? kernels.largest(row, inputs) : 0, row, inputs, i, s.narrow)
    }
    return s.narrow
  }

  /// act(W1 x + b1) as the next product reads it.
  private func widen(_ linear: PackedLinear, _ rows: Range<Int>, _ s: RowScratch) -> LinearInput {
    var ending = PackedLinear.Ending(activation: encoder.activation.rawValue + 1)
    let input = input(rows, s)
    switch encoder.precision {
    case .f32:
      linear.apply(input, rows: rows.count, to: s.wide, yStride: s.wideStride, ending)
      return s.f32(s.wide, s.wideStride)
    case .bf16:
      ending.rounded = s.wideNarrow.rows.assumingMemoryBound(to: UInt16.self)
      ending.roundedStride = s.wideNarrow.stride / 2
      linear.apply(input, rows: rows.count, to: s.wide, yStride: s.wideStride, ending)
    case .i8:
      ending.top = s.top
      for i in 0..<rows.count { s.top[i] = 0 }
      linear.apply(input, rows: rows.count, to: s.wide, yStride: s.wideStride, ending)
      let inputs = encoder.layers[layer].output.inputs
      for i in 0..<rows.count { prepare(s.top[i], s.wide + i * s.wideStride, inputs, i, s.wideNarrow) }
    }
    return s.wideNarrow
  }

  /// Queries, keys and values of a layer from the states.
  private func project(_ layer: Int, _ rows: Range<Int>, _ s: RowScratch) {
    let linear = encoder.layers[layer].queryKeyValue
    let input = input(rows, s)
    let first = rows.lowerBound * queryKeyValueStride
    if pairs {
      let to = queryKeyValue.assumingMemoryBound(to: UInt16.self) + first
      linear.apply(
        input, rows: rows.count, to: s.wide, yStride: s.wideStride,
        PackedLinear.Ending(rounded: to, roundedStride: queryKeyValueStride))
    } else {
      let to = queryKeyValue.assumingMemoryBound(to: Float.self) + first
      linear.apply(input, rows: rows.count, to: to, yStride: queryKeyValueStride)
    }
  }

  /// The states of a block as a product reads them; `settle` has made the narrow form.
  private func input(_ rows: Range<Int>, _ s: RowScratch) -> LinearInput {
    encoder.precision == .f32 ? s.f32(x + rows.lowerBound * xStride, xStride) : s.narrow
  }

  /// LayerNorm of a row of sums into the states, and the form that the next product reads.
  private func settle(_ sums: UnsafePointer<Float>, _ norm: PackedNorm, _ row: Int, _ i: Int, _ s: RowScratch) {
    let to = x + row * xStride
    let largest = normalise(sums, norm, to, padded: s.inputs)
    if encoder.layers.isEmpty { finish(to, row) }
    prepare(largest, to, s.inputs, i, s.narrow)
  }

  private func finish(_ row: UnsafePointer<Float>, _ r: Int) {
    (states + r * encoder.hidden).update(from: row, count: encoder.hidden)
  }

  private var kernels: tk_linear { encoder.backend.kernels.pointee.linear }

  private func largest(_ row: UnsafePointer<Float>) -> UInt32 { kernels.largest(row, encoder.hidden) }

  private func normalise(
    _ from: UnsafePointer<Float>, _ norm: PackedNorm, _ to: UnsafeMutablePointer<Float>, padded: Int
  ) -> UInt32 {
    kernels.normalise(from, norm.weight.count, padded, norm.weight.values, norm.bias.values, encoder.epsilon, to)
  }

  /// Row i of an input of n elements from f32, unless that is what the product reads.
  private func prepare(_ largest: UInt32, _ row: UnsafePointer<Float>, _ n: Int, _ i: Int, _ input: LinearInput) {
    let to = input.rows + i * input.stride
    switch encoder.precision {
    case .f32: return
    case .bf16: kernels.round_row(row, n, n, to.assumingMemoryBound(to: UInt16.self))
    case .i8: input.scale![i] = kernels.quantise_row(row, n, n, largest, to, input.offset! + i)
    }
  }

  /// What a worker works in: the rows of one block.
  private struct RowScratch {
    /// Elements of a row of states as a product reads it.
    let inputs: Int
    /// f32 sums that end in states.
    let sums: UnsafeMutablePointer<Float>
    let sumStride: Int
    /// f32 rows of the widest product.
    let wide: UnsafeMutablePointer<Float>
    let wideStride: Int
    let top: UnsafeMutablePointer<UInt32>
    /// bf16 or int8 rows of states or context, and of activations.
    let narrow, wideNarrow: LinearInput

    init(_ pass: EncoderPass, _ scratch: Scratch) {
      let encoder = pass.encoder
      let rows = pass.blockRows
      let panel = Int(encoder.backend.kernels.pointee.linear.panel)
      let size =
        switch encoder.precision {
        case .f32: 0
        case .bf16: 2
        case .i8: Int(encoder.backend.kernels.pointee.linear.i8_input_bytes)
        }
      let layers = encoder.layers
      let width = encoder.heads * encoder.headDim
      var inputs = (encoder.hidden + panel - 1) / panel * panel
      // Every input is padded to at most a panel or 16.
      inputs = max(inputs, layers.first?.queryKeyValue.inputs ?? 0)
      let widest = max(layers.map { max($0.intermediate.columns, $0.output.inputs) }.max() ?? 0, encoder.word.width + 32)
      let narrowest = max(inputs, width + 32, (encoder.projection?.inputs ?? 0))
      self.inputs = layers.first?.queryKeyValue.inputs ?? encoder.hidden
      sumStride = LinearInput.stride(max(inputs, encoder.word.width), 4) / 4
      // Where products leave rounded, the rows of sums hold one block of columns.
      let wideIsBlock = encoder.precision == .bf16 && encoder.projection == nil
      wideStride = LinearInput.stride(wideIsBlock ? PackedLinear.block : max(widest, PackedLinear.block), 4) / 4
      let narrowStride = LinearInput.stride(narrowest, size)
      let wideNarrowStride = LinearInput.stride(widest, size)
      scratch.reset(
        reserving: Scratch.bytes(Float.self, max(rows, 2) * sumStride) + Scratch.bytes(Float.self, rows * wideStride)
          + Scratch.bytes(UInt32.self, rows) + Scratch.bytes(Int8.self, rows * narrowStride)
          + Scratch.bytes(Int8.self, rows * wideNarrowStride) + 2 * Scratch.bytes(Float.self, rows)
          + 2 * Scratch.bytes(Int32.self, rows))
      sums = scratch.take(Float.self, max(rows, 2) * sumStride)
      wide = scratch.take(Float.self, rows * wideStride)
      top = scratch.take(UInt32.self, rows)
      narrow = LinearInput(
        rows: UnsafeMutableRawPointer(scratch.take(Int8.self, rows * narrowStride)), stride: narrowStride,
        scale: scratch.take(Float.self, rows), offset: scratch.take(Int32.self, rows))
      wideNarrow = LinearInput(
        rows: UnsafeMutableRawPointer(scratch.take(Int8.self, rows * wideNarrowStride)), stride: wideNarrowStride,
        scale: scratch.take(Float.self, rows), offset: scratch.take(Int32.self, rows))
    }

    func f32(_ rows: UnsafeMutablePointer<Float>, _ stride: Int) -> LinearInput {
      LinearInput(rows: UnsafeMutableRawPointer(rows), stride: stride * 4)
    }
  }
}
