// Encoders with random weights and their forward in f64, written from the formulas of TamisDevice/Encoder.swift.
import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// A tensor [rows, columns] or a vector that owns its memory; `values` is what the dtype kept, in f64.
final class Matrix {
  let rows: Int
  let columns: Int
  private(set) var values: [Double]
  private let memory: UnsafeMutableRawPointer
  private let scales: UnsafeMutablePointer<Float>
  let view: TensorView

  init(_ x: [Float], _ rows: Int, _ columns: Int, _ dtype: DType = .f32, vector: Bool = false) {
    self.rows = rows
    self.columns = columns
    memory = .allocate(byteCount: rows * columns * dtype.size + 64, alignment: 64)
    scales = .allocate(capacity: rows)
    values = []
    view = TensorView(
      memory, dtype, shape: vector ? [columns] : [rows, columns], scale: dtype == .i8 ? scales : nil,
      scaleStride: vector ? nil : [1, 0])
    for r in 0..<rows {
      let row = Array(x[r * columns..<(r + 1) * columns])
      let top = row.map { abs($0) }.max() ?? 0
      scales[r] = top / 127
      for (c, v) in row.enumerated() {
        let home = memory + (r * columns + c) * dtype.size
        switch dtype {
        case .f16:
          home.storeBytes(of: Float16(v), as: Float16.self)
          values.append(Double(Float16(v)))
        case .bf16:
          home.storeBytes(of: bf16(v), as: UInt16.self)
          values.append(Double(Float(bitPattern: UInt32(bf16(v)) << 16)))
        case .i8:
          let level = top == 0 ? 0 : max(-127, min(127, (v / scales[r]).rounded(.toNearestOrEven)))
          home.storeBytes(of: Int8(level), as: Int8.self)
          values.append(Double(level) * Double(scales[r]))
        default:
          home.storeBytes(of: v, as: Float.self)
          values.append(Double(v))
        }
      }
    }
  }

  deinit {
    memory.deallocate()
    scales.deallocate()
  }

  func row(_ r: Int) -> ArraySlice<Double> { values[r * columns..<(r + 1) * columns] }
}

/// An encoder of random weights: the views a backend packs, and its forward in f64.
final class EncoderFixture {
  struct Linear {
    let weight: Matrix
    let bias: Matrix?
    var view: LinearView { LinearView(weight: weight.view, bias: bias?.view) }

    func apply(_ x: [Double]) -> [Double] {
      (0..<weight.rows).map { o in zip(weight.row(o), x).reduce(bias?.values[o] ?? 0) { $0 + $1.0 * $1.1 } }
    }
  }
  struct Norm {
    let weight: Matrix
    let bias: Matrix
    var view: NormView { NormView(weight: weight.view, bias: bias.view) }

    func apply(_ x: [Double], _ epsilon: Double) -> [Double] {
      let mean = x.reduce(0, +) / Double(x.count)
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
      return x.indices.map { (x[$0] - mean) / (variance + epsilon).squareRoot() * weight.values[$0] + bias.values[$0] }
    }
  }
  struct Layer {
    let query, key, value, attentionOutput, intermediate, output: Linear
    let attentionNorm, outputNorm: Norm
  }

  let word, position, type: Matrix
  let embeddingNorm: Norm
  let projection: Linear?
  let layers: [Layer]
  let hidden: Int
  let heads: Int
  let epsilon = 1e-5
  let activation: EncoderActivation

  init(
    seed: UInt64 = 1, vocabulary: Int = 50, positions: Int = 80, embedding: Int? = nil, hidden: Int, heads: Int, wide: Int,
    layers count: Int, dtype: DType = .f32, embeddingDType: DType? = nil, activation: EncoderActivation = .gelu,
    bias: Bool = true
  ) {
    var noise = Noise(seed)
    let width = embedding ?? hidden
    func matrix(_ rows: Int, _ columns: Int, _ scale: Float, _ dtype: DType) -> Matrix {
      Matrix(noise.normals(rows * columns).map { $0 * scale }, rows, columns, dtype)
    }
    func vector(_ n: Int, _ scale: Float, around: Float = 0) -> Matrix {
      Matrix(noise.normals(n).map { $0 * scale + around }, 1, n, vector: true)
    }
    func linear(_ outputs: Int, _ inputs: Int) -> Linear {
      Linear(
        weight: matrix(outputs, inputs, 1 / Float(inputs).squareRoot(), dtype), bias: bias ? vector(outputs, 0.1) : nil)
    }
    func norm(_ n: Int) -> Norm { Norm(weight: vector(n, 0.2, around: 1), bias: vector(n, 0.1)) }
    self.hidden = hidden
    self.heads = heads
    self.activation = activation
    word = matrix(vocabulary, width, 1, embeddingDType ?? dtype)
    position = matrix(positions, width, 0.3, embeddingDType ?? dtype)
    type = matrix(2, width, 0.3, embeddingDType ?? dtype)
    embeddingNorm = norm(width)
    projection = width == hidden ? nil : linear(hidden, width)
    layers = (0..<count).map { _ in
      Layer(
        query: linear(hidden, hidden), key: linear(hidden, hidden), value: linear(hidden, hidden),
        attentionOutput: linear(hidden, hidden), intermediate: linear(wide, hidden), output: linear(hidden, wide),
        attentionNorm: norm(hidden), outputNorm: norm(hidden))
    }
  }

  var weights: EncoderWeights {
    EncoderWeights(
      word: word.view, position: position.view, type: type.view, embeddingNorm: embeddingNorm.view,
      projection: projection?.view,
      layers: layers.map {
        EncoderLayerView(
          query: $0.query.view, key: $0.key.view, value: $0.value.view, attentionOutput: $0.attentionOutput.view,
          attentionNorm: $0.attentionNorm.view, intermediate: $0.intermediate.view, output: $0.output.view,
          outputNorm: $0.outputNorm.view)
      }, heads: heads, epsilon: Float(epsilon), activation: activation)
  }

  func activated(_ x: Double) -> Double {
    switch activation {
    case .gelu: return x * 0.5 * erfc(-x / 2.0.squareRoot())
    case .geluTanh: return 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .relu: return max(0, x)
    }
  }

  /// [tokens][hidden]
  func forward(_ tokens: RaggedTokens, positions: [Int32], types: [Int32]?) -> [[Double]] {
    (0..<tokens.sequences).flatMap { s in
      let range = tokens.starts[s]..<tokens.starts[s + 1]
      var x = range.map { t -> [Double] in
        let sum = zip(word.row(Int(tokens.ids[t])), zip(position.row(Int(positions[t])), type.row(Int(types?[t] ?? 0)))).map {
          $0.0 + $0.1.0 + $0.1.1
        }
        let e = embeddingNorm.apply(sum, epsilon)
        return projection?.apply(e) ?? e
      }
      for layer in layers {
        let context = attend(x.map(layer.query.apply), x.map(layer.key.apply), x.map(layer.value.apply))
        x = zip(x, context).map { row, c in
          let y = layer.attentionNorm.apply(zip(row, layer.attentionOutput.apply(c)).map(+), epsilon)
          let h = layer.intermediate.apply(y).map(activated)
          return layer.outputNorm.apply(zip(y, layer.output.apply(h)).map(+), epsilon)
        }
      }
      return x
    }
  }

  private func attend(_ q: [[Double]], _ k: [[Double]], _ v: [[Double]]) -> [[Double]] {
    let d = hidden / heads
    return q.map { query in
      (0..<heads).flatMap { h -> [Double] in
        let range = h * d..<(h + 1) * d
        let z = k.map { key in range.reduce(0) { $0 + query[$1] * key[$1] } / Double(d).squareRoot() }
        let top = z.max()!
        let e = z.map { exp($0 - top) }
        let l = e.reduce(0, +)
        return range.map { c in zip(e, v).reduce(0) { $0 + $1.0 * $1.1[c] } / l }
      }
    }
  }
}

/// Random sequences of the given lengths: ids, positions 0, 1, .. and types.
func randomTokens(_ lengths: [Int], vocabulary: Int, seed: UInt64 = 9) -> (
  tokens: RaggedTokens, positions: [Int32], types: [Int32]
) {
  var noise = Noise(seed)
  let tokens = RaggedTokens(lengths.map { n in (0..<n).map { _ in Int32(noise.below(vocabulary)) } })
  return (
    tokens, lengths.flatMap { n in (0..<n).map { Int32($0) } },
    lengths.flatMap { n in (0..<n).map { _ in Int32(noise.below(2)) } }
  )
}
