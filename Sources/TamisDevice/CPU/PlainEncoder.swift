import CShims
public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// The encoder's forward as it is written, in f32, one token and one head at a time: what the packed form is compared with.
/// Weights of any precision are widened to f32.
final class PlainEncoder: EncoderProgram {
  /// y = x W + b with W [inputs][outputs], so that a row of W meets one number of x.
  private struct Linear {
    let inputs: Int
    let outputs: Int
    let weight: [Float]
    let bias: [Float]

    init(_ view: LinearView, _ table: UnsafePointer<tk_table>) {
      outputs = view.weight.shape[0]
      inputs = view.weight.shape[1]
      var transposed = [Float](repeating: 0, count: inputs * outputs)
      for o in 0..<outputs {
        let row = PlainEncoder.row(view.weight, o, table)
        for i in 0..<inputs { transposed[i * outputs + o] = row[i] }
      }
      weight = transposed
      bias = view.bias.map { PlainEncoder.vector($0, table) } ?? [Float](repeating: 0, count: outputs)
    }

    func apply(_ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
      y.update(from: bias, count: outputs)
      weight.withUnsafeBufferPointer { w in
        for i in 0..<inputs { table.pointee.add_scaled(y, w.baseAddress! + i * outputs, outputs, x[i]) }
      }
    }
  }

  private struct Norm {
    let weight: [Float]
    let bias: [Float]

    func apply(_ x: UnsafeMutablePointer<Float>, _ epsilon: Float) {
      let n = weight.count
      var mean = 0.0
      for i in 0..<n { mean += Double(x[i]) }
      mean /= Double(n)
      var variance = 0.0
      for i in 0..<n { variance += (Double(x[i]) - mean) * (Double(x[i]) - mean) }
      let scale = 1 / (variance / Double(n) + Double(epsilon)).squareRoot()
      for i in 0..<n { x[i] = Float((Double(x[i]) - mean) * scale) * weight[i] + bias[i] }
    }
  }

  private struct Layer {
    let query, key, value, attentionOutput, intermediate, output: Linear
    let attentionNorm, outputNorm: Norm
  }

  let precision: LinearPrecision
  let hidden: Int
  private let table: UnsafePointer<tk_table>
  private let word, position, type: TensorRowsCopy
  private let embeddingNorm: Norm
  private let projection: Linear?
  private let layers: [Layer]
  private let heads: Int
  private let epsilon: Float
  private let activation: EncoderActivation

  /// Rows of an embedding table, widened.
  private struct TensorRowsCopy {
    let width: Int
    let values: [Float]
    init(_ view: TensorView, _ table: UnsafePointer<tk_table>) {
      width = view.shape[1]
      values = (0..<view.shape[0]).flatMap { PlainEncoder.row(view, $0, table) }
    }
    func add(_ row: Int, to x: UnsafeMutablePointer<Float>) { for i in 0..<width { x[i] += values[row * width + i] } }
  }

  init(_ weights: EncoderWeights, precision: LinearPrecision, _ table: UnsafePointer<tk_table>) {
    func norm(_ view: NormView) -> Norm { Norm(weight: Self.vector(view.weight, table), bias: Self.vector(view.bias, table)) }
    self.precision = precision
    self.table = table
    word = TensorRowsCopy(weights.word, table)
    position = TensorRowsCopy(weights.position, table)
    type = TensorRowsCopy(weights.type, table)
    embeddingNorm = norm(weights.embeddingNorm)
    projection = weights.projection.map { Linear($0, table) }
    layers = weights.layers.map {
      Layer(
        query: Linear($0.query, table), key: Linear($0.key, table), value: Linear($0.value, table),
        attentionOutput: Linear($0.attentionOutput, table), intermediate: Linear($0.intermediate, table),
        output: Linear($0.output, table), attentionNorm: norm($0.attentionNorm), outputNorm: norm($0.outputNorm))
    }
    hidden = projection?.outputs ?? word.width
    heads = weights.heads
    epsilon = weights.epsilon
    activation = weights.activation
  }

  var byteCount: Int {
    layers.reduce(0) { sum, layer in
      sum
        + [layer.query, layer.key, layer.value, layer.attentionOutput, layer.intermediate, layer.output].reduce(0) {
          $0 + $1.weight.count * 4
        }
    }
  }

  func forward(
    _ tokens: RaggedTokens, positions: UnsafePointer<Int32>, types: UnsafePointer<Int32>?,
    into states: UnsafeMutablePointer<Float>, progress: Progress?
  ) throws(TamisError) {
    for s in 0..<tokens.sequences {
      let (first, end) = (tokens.starts[s], tokens.starts[s + 1])
      if first < end { run(tokens, first, end - first, positions, types, states + first * hidden) }
      if let progress, !progress(Double(s + 1) / Double(tokens.sequences)) {
        throw TamisError(.cancelled, "progress returned 0")
      }
    }
  }

  private func run(
    _ tokens: RaggedTokens, _ first: Int, _ n: Int, _ positions: UnsafePointer<Int32>, _ types: UnsafePointer<Int32>?,
    _ x: UnsafeMutablePointer<Float>
  ) {
    for t in 0..<n {
      var e = [Float](repeating: 0, count: word.width)
      word.add(Int(tokens.ids[first + t]), to: &e)
      position.add(Int(positions[first + t]), to: &e)
      type.add(Int(types?[first + t] ?? 0), to: &e)
      embeddingNorm.apply(&e, epsilon)
      if let projection { projection.apply(e, x + t * hidden, table) } else { (x + t * hidden).update(from: e, count: hidden) }
    }
    let wide = layers.map(\.intermediate.outputs).max() ?? 0
    let rows = 5 * n * hidden + wide
    let memory = UnsafeMutablePointer<Float>.allocate(capacity: rows)
    defer { memory.deallocate() }
    let (q, k, v) = (memory, memory + n * hidden, memory + 2 * n * hidden)
    let context = memory + 3 * n * hidden
    let y = memory + 4 * n * hidden
    let h = memory + 5 * n * hidden
    for layer in layers {
      for t in 0..<n {
        layer.query.apply(x + t * hidden, q + t * hidden, table)
        layer.key.apply(x + t * hidden, k + t * hidden, table)
        layer.value.apply(x + t * hidden, v + t * hidden, table)
      }
      attend(q, k, v, n, context)
      for t in 0..<n {
        let row = x + t * hidden
        layer.attentionOutput.apply(context + t * hidden, y, table)
        for i in 0..<hidden { row[i] += y[i] }
        layer.attentionNorm.apply(row, epsilon)
        layer.intermediate.apply(row, h, table)
        for i in 0..<layer.intermediate.outputs { h[i] = activated(h[i]) }
        layer.output.apply(h, y, table)
        for i in 0..<hidden { row[i] += y[i] }
        layer.outputNorm.apply(row, epsilon)
      }
    }
  }

  private func attend(
    _ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ v: UnsafePointer<Float>, _ n: Int, _ out: UnsafeMutablePointer<Float>
  ) {
    let d = hidden / heads
    let scale = 1 / Double(d).squareRoot()
    var p = [Double](repeating: 0, count: n)
    for h in 0..<heads {
      for i in 0..<n {
        var m = -Double.infinity
        for j in 0..<n {
          var z: Float = 0
          for c in h * d..<h * d + d { z += q[i * hidden + c] * k[j * hidden + c] }
          p[j] = Double(z) * scale
          m = max(m, p[j])
        }
        var l = 0.0
        for j in 0..<n {
          p[j] = exp(p[j] - m)
          l += p[j]
        }
        let o = out + i * hidden + h * d
        for c in 0..<d { o[c] = 0 }
        for j in 0..<n { table.pointee.add_scaled(o, v + j * hidden + h * d, d, Float(p[j] / l)) }
      }
    }
  }

  private func activated(_ x: Float) -> Float {
    let x = Double(x)
    switch activation {
    case .gelu: return Float(0.5 * x * (1 + erf(x / 2.0.squareRoot())))
    case .geluTanh: return Float(0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))))
    case .relu: return Float(max(0, x))
    }
  }

  // MARK: views to f32

  private static func row(_ view: TensorView, _ i: Int, _ table: UnsafePointer<tk_table>) -> [Float] {
    [Float](unsafeUninitializedCapacity: view.shape[1]) { to, count in
      count = view.shape[1]
      TensorRows.load(
        view.data + i * view.stride[0] * view.dtype.size, view.dtype, stride: view.stride[1],
        scale: view.scale.map { $0[i * view.scaleStride[0]] } ?? 1, count: count, to: to.baseAddress!, table)
    }
  }

  private static func vector(_ view: TensorView, _ table: UnsafePointer<tk_table>) -> [Float] {
    [Float](unsafeUninitializedCapacity: view.shape[0]) { to, count in
      count = view.shape[0]
      TensorRows.load(view.data, view.dtype, stride: view.stride[0], scale: 1, count: count, to: to.baseAddress!, table)
    }
  }
}

extension CPUBackend {
  public func makeEncoder(_ weights: EncoderWeights, precision: LinearPrecision) throws(TamisError) -> any EncoderProgram {
    PlainEncoder(weights, precision: precision, kernels)
  }
}
