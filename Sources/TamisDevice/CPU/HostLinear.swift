import CShims
public import TamisCore

/// `PackedLinear` over rows of f32: what it reads of another precision is made row by row.
final class HostLinear: LinearProgram, @unchecked Sendable {
  let precision: LinearPrecision
  let inputs, outputs: Int
  private let packed: PackedLinear
  private let kernels: tk_linear

  /// - Throws: `unsupported` for int8 products of more than 2^16 inputs, which int32 sums could not hold.
  init(
    _ layer: LinearView, precision: LinearPrecision, _ table: UnsafePointer<tk_table>,
    parallel: @escaping (Int, (Int) -> Void) -> Void
  ) throws(TamisError) {
    let inputs = layer.weight.shape[1]
    if precision == .i8 && inputs > 1 << 16 {
      throw TamisError(.unsupported, "a linear layer has \(inputs) inputs; int8 products take at most 65536")
    }
    self.precision = precision
    self.inputs = inputs
    outputs = layer.weight.shape[0]
    kernels = table.pointee.linear
    let bias = layer.bias.map { ParameterVector($0, table) }
    packed = PackedLinear(
      outputs: outputs, inputs: inputs, precision: precision, kernels: kernels, parallel: parallel,
      row: { layer.loadRow($0, to: $1, table) }, bias: { bias?.values[$0] ?? 0 })
  }

  var paddedInputs: Int { precision == .f32 ? packed.inputs : inputs }
  var paddedOutputs: Int { packed.columns }
  var byteCount: Int { packed.byteCount }

  func apply(
    _ x: UnsafePointer<Float>, stride: Int, rows: Int, activation: EncoderActivation?, to y: UnsafeMutablePointer<Float>,
    stride yStride: Int
  ) {
    if rows <= 0 { return }
    let ending = PackedLinear.Ending(activation: activation.map { $0.rawValue + 1 } ?? 0)
    if precision == .f32 {
      let input = LinearInput(rows: UnsafeMutableRawPointer(mutating: x), stride: stride * 4)
      packed.apply(input, rows: rows, to: y, yStride: yStride, ending)
      return
    }
    let narrow = LinearInput.stride(packed.inputs, precision == .bf16 ? 2 : Int(kernels.i8_input_bytes))
    withUnsafeTemporaryAllocation(byteCount: rows * (narrow + 8), alignment: 64) { memory in
      let home = memory.baseAddress!
      let scale = (home + rows * narrow).assumingMemoryBound(to: Float.self)
      let offset = (home + rows * (narrow + 4)).assumingMemoryBound(to: Int32.self)
      for r in 0..<rows {
        let (row, to) = (x + r * stride, home + r * narrow)
        if precision == .bf16 {
          kernels.round_row(row, inputs, packed.inputs, to.assumingMemoryBound(to: UInt16.self))
        } else {
          scale[r] = kernels.quantise_row(row, inputs, packed.inputs, kernels.largest(row, inputs), to, offset + r)
        }
      }
      packed.apply(
        LinearInput(rows: home, stride: narrow, scale: scale, offset: offset), rows: rows, to: y, yStride: yStride, ending)
    }
  }
}

extension CPUBackend {
  public func makeLinear(_ layer: LinearView, precision: LinearPrecision) throws(TamisError) -> any LinearProgram {
    try HostLinear(layer, precision: precision, kernels) { self.parallel($0, $1) }
  }
}
