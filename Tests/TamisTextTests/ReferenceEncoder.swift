import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// The encoder's formulas in f64 and plain loops over whatever views it is given: the oracle of every encoder program.
final class ReferenceEncoder: EncoderProgram {
  typealias Vector = [Double]
  private struct Linear {
    var rows: [Vector]
    var bias: Vector
    func callAsFunction(_ x: Vector) -> Vector { zip(rows, bias).map { row, b in zip(row, x).reduce(b) { $0 + $1.0 * $1.1 } } }
  }
  private struct Norm {
    var weight, bias: Vector
    var epsilon: Double
    func callAsFunction(_ x: Vector) -> Vector {
      let n = Double(x.count)
      let mean = x.reduce(0, +) / n
      let deviation = (x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / n + epsilon).squareRoot()
      return x.indices.map { (x[$0] - mean) / deviation * weight[$0] + bias[$0] }
    }
  }
  private struct Layer {
    var query, key, value, attentionOutput, intermediate, output: Linear
    var attentionNorm, outputNorm: Norm
  }

  let precision: LinearPrecision
  let hidden: Int
  let byteCount = 0
  private(set) var calls: [RaggedTokens] = []
  private(set) var lastPositions: [Int32] = []
  private let word, position, type: [Vector]
  private let embeddingNorm: Norm
  private let projection: Linear?
  private let layers: [Layer]
  private let heads: Int
  private let activation: EncoderActivation

  init(_ w: EncoderWeights, precision: LinearPrecision = .f32) {
    func norm(_ v: NormView) -> Norm {
      Norm(weight: Self.rows(v.weight)[0], bias: Self.rows(v.bias)[0], epsilon: Double(w.epsilon))
    }
    func linear(_ v: LinearView) -> Linear {
      Linear(rows: Self.rows(v.weight), bias: v.bias.map { Self.rows($0)[0] } ?? Vector(repeating: 0, count: v.weight.shape[0]))
    }
    self.precision = precision
    word = Self.rows(w.word)
    position = Self.rows(w.position)
    type = Self.rows(w.type)
    embeddingNorm = norm(w.embeddingNorm)
    projection = w.projection.map(linear)
    layers = w.layers.map {
      Layer(
        query: linear($0.query), key: linear($0.key), value: linear($0.value), attentionOutput: linear($0.attentionOutput),
        intermediate: linear($0.intermediate), output: linear($0.output), attentionNorm: norm($0.attentionNorm),
        outputNorm: norm($0.outputNorm))
    }
    hidden = w.layers[0].output.weight.shape[0]
    heads = w.heads
    activation = w.activation
  }

  /// Rows of a matrix; a vector is one row.
  private static func rows(_ v: TensorView) -> [Vector] {
    let (n, width) = v.ndim == 1 ? (1, v.shape[0]) : (v.shape[0], v.shape[1])
    let stride = v.ndim == 1 ? 0 : v.stride[0]
    return (0..<n).map { i in
      (0..<width).map { j in
        let at = (i * stride + j * v.stride[v.ndim - 1]) * v.dtype.size
        return switch v.dtype {
        case .f32: Double(v.data.load(fromByteOffset: at, as: Float.self))
        case .f16: Double(v.data.load(fromByteOffset: at, as: Float16.self))
        case .bf16: Double(Float(bitPattern: UInt32(v.data.load(fromByteOffset: at, as: UInt16.self)) << 16))
        case .i8: Double(v.data.load(fromByteOffset: at, as: Int8.self)) * Double(v.scale?[i] ?? 1)
        case .i32: Double(v.data.load(fromByteOffset: at, as: Int32.self))
        }
      }
    }
  }

  private func activated(_ x: Double) -> Double {
    switch activation {
    case .gelu: x * 0.5 * erfc(-x / 2.0.squareRoot())
    case .geluTanh: 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .relu: max(0, x)
    }
  }

  private static func sum(_ a: Vector, _ b: Vector) -> Vector { zip(a, b).map { $0 + $1 } }

  func forward(
    _ tokens: RaggedTokens, positions: UnsafePointer<Int32>, types: UnsafePointer<Int32>?,
    into states: UnsafeMutablePointer<Float>, progress: Progress?
  ) throws(TamisError) {
    calls.append(tokens)
    lastPositions = (0..<tokens.ids.count).map { positions[$0] }
    for s in 0..<tokens.sequences {
      var x: [Vector] = (tokens.starts[s]..<tokens.starts[s + 1]).map { i in
        let e = Self.sum(Self.sum(word[Int(tokens.ids[i])], position[Int(positions[i])]), type[Int(types?[i] ?? 0)])
        let y = embeddingNorm(e)
        return projection?(y) ?? y
      }
      for layer in layers { x = apply(layer, x) }
      for (i, row) in x.enumerated() {
        for (j, v) in row.enumerated() { states[(tokens.starts[s] + i) * hidden + j] = Float(v) }
      }
      if let progress, !progress(Double(s + 1) / Double(tokens.sequences)) {
        throw TamisError(.cancelled, "progress returned 0")
      }
    }
  }

  private func apply(_ layer: Layer, _ x: [Vector]) -> [Vector] {
    let (q, k, v) = (x.map { layer.query($0) }, x.map { layer.key($0) }, x.map { layer.value($0) })
    let d = hidden / heads
    return x.indices.map { i in
      var mixed = Vector(repeating: 0, count: hidden)
      for h in 0..<heads {
        let range = (h * d)..<((h + 1) * d)
        let logits = x.indices.map { j in range.reduce(0) { $0 + q[i][$1] * k[j][$1] } / Double(d).squareRoot() }
        let top = logits.max() ?? 0
        let p = logits.map { exp($0 - top) }
        let total = p.reduce(0, +)
        for j in x.indices { for e in range { mixed[e] += p[j] / total * v[j][e] } }
      }
      let y = layer.attentionNorm(Self.sum(x[i], layer.attentionOutput(mixed)))
      return layer.outputNorm(Self.sum(y, layer.output(layer.intermediate(y).map(activated))))
    }
  }
}
