import CShims
import TamisCore

/// Rows of weights on a device.
struct OpenCLMatrix {
  var dtype: DType
  var outputs, inputs: Int
  /// Elements from row to row: inputs rounded up to a multiple of 4, zeros behind them.
  var pitch: Int
  var weight: OpenCLBuffer
  /// One per row of i8; else any buffer.
  var scales: OpenCLBuffer
  var bias: OpenCLBuffer

  var bytes: Int { outputs * pitch * dtype.size }
}

struct OpenCLNorm {
  var width: Int
  var weight, bias: OpenCLBuffer
}

struct OpenCLEncoderLayer {
  /// Rows of queries, keys and values under one another, each head padded.
  let queryKeyValue: OpenCLMatrix
  let attentionOutput, intermediate, output: OpenCLMatrix
  let attentionNorm, outputNorm: OpenCLNorm

  init(_ layer: EncoderLayerView, _ packer: OpenCLPacker, heads: Int, headDim: Int) throws(TamisError) {
    let width = layer.query.weight.shape[0] / heads
    let padding = HeadPadding(width: width, padded: headDim)
    queryKeyValue = try packer.linear([layer.query, layer.key, layer.value], rows: padding)
    attentionOutput = try packer.linear([layer.attentionOutput], columns: padding)
    attentionNorm = try packer.norm(layer.attentionNorm)
    intermediate = try packer.linear([layer.intermediate])
    output = try packer.linear([layer.output])
    outputNorm = try packer.norm(layer.outputNorm)
  }

  var bytes: Int { queryKeyValue.bytes + attentionOutput.bytes + intermediate.bytes + output.bytes }
}

/// Heads of `width` laid out `padded` apart.
struct HeadPadding {
  var width, padded: Int
  static let none = HeadPadding(width: 1, padded: 1)

  func count(_ n: Int) -> Int { n / width * padded }
  func place(_ i: Int) -> Int { i / width * padded + i % width }
}

/// Brings weights into the form the kernels read, row by row.
struct OpenCLPacker {
  private let backend: OpenCLBackend
  private let precision: LinearPrecision
  private let table: UnsafePointer<tk_table>
  /// Stands where a kernel wants a buffer that it will not read.
  private let nothing: OpenCLBuffer

  init(_ backend: OpenCLBackend, precision: LinearPrecision) throws(TamisError) {
    self.backend = backend
    self.precision = precision
    table = Kernels.active
    nothing = try OpenCLBuffer(backend.queue, bytes: 64)
  }

  /// Products are f32 whatever the storage, so a smaller one that came is kept: it loses nothing.
  private func storage(_ dtype: DType) -> DType {
    switch precision {
    case .f32: dtype
    case .bf16: dtype == .f32 || dtype == .f16 ? .bf16 : dtype
    case .i8: .i8
    }
  }

  /// The linear layers under one another. `rows` spreads their outputs, `columns` their inputs.
  func linear(_ parts: [LinearView], rows: HeadPadding = .none, columns: HeadPadding = .none) throws(TamisError) -> OpenCLMatrix
  {
    let (outputs, inputs) = (parts[0].weight.shape[0], parts[0].weight.shape[1])
    let padded = rows.count(outputs)
    let width = columns.count(inputs)
    let pitch = (width + 3) & ~3
    var dtype = storage(parts[0].weight.dtype)
    for part in parts where storage(part.weight.dtype) != dtype { dtype = precision == .bf16 ? .bf16 : .f32 }
    let size = parts.count * padded
    let packed = PackedRows(rows: size, pitch: pitch, dtype: dtype)
    var bias = [Float](repeating: 0, count: size)
    var row = [Float](repeating: 0, count: pitch)
    var source = [Float](repeating: 0, count: inputs)
    for (p, part) in parts.enumerated() {
      let biases = part.bias.map { vector($0) }
      for o in 0..<outputs {
        let to = p * padded + rows.place(o)
        bias[to] = biases?[o] ?? 0
        if width == inputs {
          part.weight.loadMatrixRow(o, to: &row, table)
        } else {
          part.weight.loadMatrixRow(o, to: &source, table)
          for i in 0..<inputs { row[columns.place(i)] = source[i] }
        }
        packed.store(row, scale: dtype == .i8 && part.weight.dtype == .i8 ? part.weight.matrixRowScale(o) : nil, at: to, table)
      }
    }
    return OpenCLMatrix(
      dtype: dtype, outputs: size, inputs: width, pitch: pitch, weight: try upload(packed.memory, packed.bytes),
      scales: dtype == .i8 ? try floats(packed.scales) : nothing, bias: try floats(bias))
  }

  /// Rows as they are, in their own dtype.
  func table(_ view: TensorView) throws(TamisError) -> OpenCLMatrix {
    let (rows, width) = (view.shape[0], view.shape[1])
    let scales = view.dtype == .i8 ? try floats((0..<rows).map { view.matrixRowScale($0) }) : nothing
    return OpenCLMatrix(
      dtype: view.dtype, outputs: rows, inputs: width, pitch: width,
      weight: try upload(view.data, rows * width * view.dtype.size), scales: scales, bias: nothing)
  }

  func norm(_ view: NormView) throws(TamisError) -> OpenCLNorm {
    OpenCLNorm(width: view.weight.shape[0], weight: try floats(vector(view.weight)), bias: try floats(vector(view.bias)))
  }

  /// A table widened to f32.
  func floats(_ view: TensorView) throws(TamisError) -> OpenCLBuffer {
    var all: [Float] = []
    var row = [Float](repeating: 0, count: view.shape[1])
    for i in 0..<view.shape[0] {
      view.loadMatrixRow(i, to: &row, table)
      all += row
    }
    return try floats(all)
  }

  private func floats(_ values: [Float]) throws(TamisError) -> OpenCLBuffer {
    try values.withUnsafeBufferPointer { (values) throws(TamisError) in try upload(values.baseAddress, values.count * 4) }
  }

  private func upload(_ host: UnsafeRawPointer?, _ bytes: Int) throws(TamisError) -> OpenCLBuffer {
    let buffer = try OpenCLBuffer(backend.queue, bytes: bytes)
    if let host { try buffer.write(host, bytes: bytes) }
    return buffer
  }

  private func vector(_ view: TensorView) -> [Float] {
    var values = [Float](repeating: 0, count: view.shape[0])
    TensorRows.load(view.data, view.dtype, stride: view.stride[0], scale: 1, count: values.count, to: &values, table)
    return values
  }
}

/// Rows in host memory on their way to the device.
private final class PackedRows {
  let memory: UnsafeMutableRawPointer
  let bytes: Int
  private(set) var scales: [Float]
  private let pitch: Int
  private let dtype: DType

  init(rows: Int, pitch: Int, dtype: DType) {
    self.pitch = pitch
    self.dtype = dtype
    bytes = rows * pitch * dtype.size
    memory = .allocate(byteCount: max(bytes, 64), alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: max(bytes, 64))
    scales = [Float](repeating: 0, count: dtype == .i8 ? rows : 0)
  }

  deinit { memory.deallocate() }

  /// `scale`: that of a row which is int8 times it already.
  func store(_ row: [Float], scale: Float?, at i: Int, _ table: UnsafePointer<tk_table>) {
    let to = memory + i * pitch * dtype.size
    guard dtype == .i8 else { return TensorRows.store(row, count: pitch, to: to, dtype, stride: 1, table) }
    let levels = to.assumingMemoryBound(to: Int8.self)
    guard let scale else {
      scales[i] = table.pointee.f32_to_i8(row, levels, pitch)
      return
    }
    scales[i] = scale
    for k in 0..<pitch { levels[k] = scale == 0 ? 0 : Int8(max(-128, min(127, (row[k] / scale).rounded()))) }
  }
}
