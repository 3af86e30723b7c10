import CShims
import TamisCore

/// The weights of y = x Wᵀ + b in panels for one precision, and the product.
///
/// Outputs are padded with zero rows to whole panels and inputs with zeros to whole steps, so neither the kernels nor the
/// layers between them have edges: rows of x and y have room for the padding, and the padding is zero.
final class PackedLinear {
  let outputs: Int
  /// outputs, rounded up to whole panels.
  let columns: Int
  /// Elements of a row of x, the padding included.
  let inputs: Int
  let byteCount: Int

  private let precision: LinearPrecision
  private let kernels: tk_linear
  private let words: Int
  private let panelBytes: Int
  private let panels: UnsafeMutableRawPointer
  private let bias: UnsafeMutablePointer<Float>
  /// [columns]; int8 only.
  private let columnScale: UnsafeMutablePointer<Float>

  /// Columns of a product whose sums are finished before the next are begun: they are still in the cache then.
  static let block = 256

  /// `row(o, to)` writes the weights of output o ([inputs] f32, zeros at first) and returns the scale of an int8 row.
  /// `parallel` runs the tasks of packing.
  init(
    outputs: Int, inputs: Int, precision: LinearPrecision, kernels: tk_linear, parallel: @escaping (Int, (Int) -> Void) -> Void,
    row: (_ output: Int, _ to: UnsafeMutablePointer<Float>) -> Float?, bias biasOf: (_ output: Int) -> Float
  ) {
    self.kernels = kernels
    self.precision = precision
    self.outputs = outputs
    let panel = Int(kernels.panel)
    let count = (outputs + panel - 1) / panel
    columns = count * panel
    let perWord =
      switch precision {
      case .f32: 1
      case .bf16: 2
      case .i8: 4 / Int(kernels.i8_input_bytes)
      }
    words = (inputs + 4 * perWord - 1) / (4 * perWord) * 4
    self.inputs = words * perWord
    let rowBytes =
      switch precision {
      case .f32: Int(kernels.f32_row_bytes)
      case .bf16: Int(kernels.bf16_row_bytes)
      case .i8: Int(kernels.i8_row_bytes)
      }
    panelBytes = words * rowBytes
    byteCount = count * panelBytes + 2 * columns * 4
    panels = .allocate(byteCount: max(count * panelBytes, 1), alignment: 64)
    bias = .allocate(capacity: columns)
    columnScale = .allocate(capacity: columns)
    for o in 0..<columns { bias[o] = o < outputs ? biasOf(o) : 0 }

    parallel(count) { [panels, columnScale, words, panelBytes] p in
      let floats = UnsafeMutablePointer<Float>.allocate(capacity: max(panel * inputs, 1))
      let rows = UnsafeMutablePointer<UnsafePointer<Float>?>.allocate(capacity: panel)
      defer {
        floats.deallocate()
        rows.deallocate()
      }
      floats.update(repeating: 0, count: panel * inputs)
      for lane in 0..<panel {
        let o = p * panel + lane
        let to = floats + lane * inputs
        let own = o < outputs ? row(o, to) : nil
        rows[lane] = o < outputs ? UnsafePointer(to) : nil
        if precision == .i8 { columnScale[o] = own ?? Self.scale(to, inputs) }
      }
      let home = panels + p * panelBytes
      switch precision {
      case .f32: kernels.pack_f32(rows, inputs, words, home)
      case .bf16: kernels.pack_bf16(rows, inputs, words, home)
      case .i8: kernels.pack_i8(rows, columnScale + p * panel, inputs, words, home)
      }
    }
  }

  convenience init(
    outputs: Int, inputs: Int, precision: LinearPrecision, backend: CPUBackend,
    row: (_ output: Int, _ to: UnsafeMutablePointer<Float>) -> Float?, bias: (_ output: Int) -> Float
  ) {
    self.init(
      outputs: outputs, inputs: inputs, precision: precision, kernels: backend.kernels.pointee.linear,
      parallel: { backend.parallel($0, $1) }, row: row, bias: bias)
  }

  deinit {
    panels.deallocate()
    bias.deallocate()
    columnScale.deallocate()
  }

  private static func scale(_ row: UnsafePointer<Float>, _ n: Int) -> Float {
    var top: Float = 0
    for i in 0..<n where row[i].isFinite { top = max(top, abs(row[i])) }
    return top / 127
  }

  /// What becomes of a product besides scale and bias.
  struct Ending {
    /// 0: none; else as `tk_finish`.
    var activation: Int32 = 0
    /// f32 rows, stride in floats.
    var residual: UnsafePointer<Float>?
    var residualStride = 0
    /// [rows], raised by the largest |y|.
    var top: UnsafeMutablePointer<UInt32>?
    /// bf16 rows that receive y, stride in elements; the sums' own rows then hold one block of columns.
    var rounded: UnsafeMutablePointer<UInt16>?
    var roundedStride = 0
  }

  /// Rows of y [rows, columns], `yStride` floats apart, or `ending.rounded`.
  func apply(_ x: LinearInput, rows: Int, to y: UnsafeMutablePointer<Float>, yStride: Int, _ ending: Ending = Ending()) {
    let panel = Int(kernels.panel)
    let gemm =
      switch precision {
      case .f32: kernels.gemm_f32
      case .bf16: kernels.gemm_bf16
      case .i8: kernels.gemm_i8
      }
    var finish = tk_finish(
      row_scale: nil, column_scale: nil, row_offset: nil, bias: bias, activation: ending.activation, residual: nil,
      residual_stride: ending.residualStride, top: ending.top)
    if precision == .i8 {
      finish.row_scale = UnsafePointer(x.scale)
      finish.row_offset = UnsafePointer(x.offset)
    }
    var column = 0
    while column < columns {
      let n = min(Self.block, columns - column)
      let home = ending.rounded == nil ? y + column : y
      gemm(x.rows, x.stride, rows, panels + column / panel * panelBytes, n / panel, words, home, yStride * 4)
      finish.bias = UnsafePointer(bias + column)
      if precision == .i8 { finish.column_scale = UnsafePointer(columnScale + column) }
      finish.residual = ending.residual.map { $0 + column }
      kernels.finish(
        home, yStride * 4, rows, n, &finish, ending.rounded.map { $0 + column }, ending.roundedStride * 2)
      column += n
    }
  }
}

/// Rows in the form that the products of one precision read: f32, bf16, or int8 with a scale per row.
struct LinearInput {
  var rows: UnsafeMutableRawPointer
  /// Bytes.
  var stride: Int
  /// int8: scale, and what the product adds to each sum.
  var scale: UnsafeMutablePointer<Float>?
  var offset: UnsafeMutablePointer<Int32>?

  /// Bytes between rows of n elements: whole cache lines, and not a multiple of 4096, at which rows of a tile would all fall
  /// into one set of the first-level cache.
  static func stride(_ n: Int, _ size: Int) -> Int { ((n * size + 63) & ~63) + 64 }
}
