import CShims
import TamisCore

/// A vector of parameters as f32.
final class ParameterVector {
  let values: UnsafeMutablePointer<Float>
  let count: Int

  init(_ view: TensorView, _ table: UnsafePointer<tk_table>) {
    count = view.shape[0]
    values = .allocate(capacity: max(count, 1))
    TensorRows.load(view.data, view.dtype, stride: view.stride[0], scale: 1, count: count, to: values, table)
  }

  deinit { values.deallocate() }
}

/// Layer normalisation of rows (arXiv 1607.06450, eq. 4).
struct PackedNorm {
  let weight, bias: ParameterVector

  init(_ view: NormView, _ table: UnsafePointer<tk_table>) {
    weight = ParameterVector(view.weight, table)
    bias = ParameterVector(view.bias, table)
  }
}

/// Rows of an embedding, kept in their own dtype.
final class EmbeddingRows {
  let width: Int
  private let dtype: DType
  private let rows: UnsafeMutableRawPointer
  private let scale: UnsafeMutablePointer<Float>?

  init(_ view: TensorView) {
    let (count, width) = (view.shape[0], view.shape[1])
    self.width = width
    dtype = view.dtype
    let size = view.dtype.size
    rows = .allocate(byteCount: max(count * width * size, 1), alignment: 64)
    scale = view.dtype == .i8 ? .allocate(capacity: max(count, 1)) : nil
    for r in 0..<count {
      let from = view.data + r * view.stride[0] * size
      let to = rows + r * width * size
      if view.stride[1] == 1 {
        to.copyMemory(from: from, byteCount: width * size)
      } else {
        for i in 0..<width { (to + i * size).copyMemory(from: from + i * view.stride[1] * size, byteCount: size) }
      }
      scale?[r] = view.matrixRowScale(r)
    }
  }

  deinit {
    rows.deallocate()
    scale?.deallocate()
  }

  func load(_ row: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
    TensorRows.load(rows + row * width * dtype.size, dtype, stride: 1, scale: scale?[row] ?? 1, count: width, to: to, table)
  }
}

/// One layer, packed. Queries, keys and values are one product; head dims are padded to a multiple of 8 with zeros.
struct PackedLayer {
  let queryKeyValue, attentionOutput, intermediate, output: PackedLinear
  let attentionNorm, outputNorm: PackedNorm

  init(_ view: EncoderLayerView, heads: Int, headDim: Int, precision: LinearPrecision, _ backend: CPUBackend) {
    let table = backend.kernels
    let d = view.query.weight.shape[0] / heads
    let width = heads * headDim
    let parts = [view.query, view.key, view.value]
    let biases = parts.map { $0.bias.map { ParameterVector($0, table) } }
    func source(_ o: Int) -> (part: Int, row: Int)? {
      let (part, head, dim) = (o / width, o % width / headDim, o % headDim)
      return dim < d ? (part, head * d + dim) : nil
    }
    queryKeyValue = PackedLinear(
      outputs: 3 * width, inputs: view.query.weight.shape[1], precision: precision, backend: backend,
      row: { o, to in source(o).flatMap { parts[$0.part].loadRow($0.row, to: to, table) } },
      bias: { o in source(o).flatMap { biases[$0.part]?.values[$0.row] } ?? 0 })
    // The padding between heads is zero in the context too.
    let out = view.attentionOutput
    let outBias = out.bias.map { ParameterVector($0, table) }
    attentionOutput = PackedLinear(
      outputs: out.weight.shape[0], inputs: width, precision: precision, backend: backend,
      row: { o, to in
        let own = out.loadRow(o, to: to, table)
        var h = heads - 1
        while headDim > d && h >= 0 {
          var i = headDim - 1
          while i >= 0 {
            to[h * headDim + i] = i < d ? to[h * d + i] : 0
            i -= 1
          }
          h -= 1
        }
        return own
      }, bias: { o in outBias?.values[o] ?? 0 })
    intermediate = PackedLinear(view.intermediate, precision: precision, backend)
    output = PackedLinear(view.output, precision: precision, backend)
    attentionNorm = PackedNorm(view.attentionNorm, table)
    outputNorm = PackedNorm(view.outputNorm, table)
  }

  var byteCount: Int { queryKeyValue.byteCount + attentionOutput.byteCount + intermediate.byteCount + output.byteCount }
}

extension LinearView {
  /// The weights of one output; returns the scale of an int8 row, whose integers are then kept.
  func loadRow(_ o: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) -> Float? {
    weight.loadMatrixRow(o, to: to, table)
    return weight.dtype == .i8 ? abs(weight.matrixRowScale(o)) : nil
  }
}

extension PackedLinear {
  convenience init(_ view: LinearView, precision: LinearPrecision, _ backend: CPUBackend) {
    let table = backend.kernels
    let bias = view.bias.map { ParameterVector($0, table) }
    self.init(
      outputs: view.weight.shape[0], inputs: view.weight.shape[1], precision: precision, backend: backend,
      row: { view.loadRow($0, to: $1, table) }, bias: { bias?.values[$0] ?? 0 })
  }
}
