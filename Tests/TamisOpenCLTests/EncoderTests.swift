import TamisCore
import Testing

@testable import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// An encoder with random weights: its views, and its forward in f64 and plain loops over what the dtypes hold.
private final class RandomEncoder {
  struct Shape: CustomStringConvertible, Sendable {
    var embedding = 32, hidden = 32, heads = 2, wide = 48, layers = 2
    var linear = DType.f32, tables = DType.f32
    var activation = EncoderActivation.gelu
    var description: String {
      "\(embedding) > \(hidden), \(heads) heads, \(wide), linear \(linear.name), tables \(tables.name), \(activation)"
    }
  }

  struct Matrix {
    var tensor: HostTensor
    var rows: [[Double]]
  }
  struct Linear {
    var weight: Matrix
    var bias: Matrix
    var view: LinearView { LinearView(weight: weight.tensor.view, bias: bias.tensor.view) }
    func callAsFunction(_ x: [Double]) -> [Double] {
      zip(weight.rows, bias.rows[0]).map { row, b in zip(row, x).reduce(b) { $0 + $1.0 * $1.1 } }
    }
  }
  struct Norm {
    var weight, bias: Matrix
    var view: NormView { NormView(weight: weight.tensor.view, bias: bias.tensor.view) }
    func callAsFunction(_ x: [Double]) -> [Double] {
      let mean = x.reduce(0, +) / Double(x.count)
      let deviation = (x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count) + 1e-5).squareRoot()
      return x.indices.map { (x[$0] - mean) / deviation * weight.rows[0][$0] + bias.rows[0][$0] }
    }
  }
  struct Layer {
    var query, key, value, attentionOutput, intermediate, output: Linear
    var attentionNorm, outputNorm: Norm
  }

  static let vocabulary = 40, positions = 150
  let shape: Shape
  let word, position, type: Matrix
  let embeddingNorm: Norm
  let projection: Linear?
  let layers: [Layer]

  init(_ shape: Shape) {
    var random = Random(21)
    func matrix(_ rows: Int, _ columns: Int, _ scale: Float, _ dtype: DType) -> Matrix {
      let values = random.array(rows * columns).map { $0 * scale }
      let held = stored(values, rows: columns, dtype)
      return Matrix(
        tensor: HostTensor(values, [rows, columns], dtype),
        rows: (0..<rows).map { r in held[(r * columns)..<((r + 1) * columns)].map { Double($0) } })
    }
    func vector(_ n: Int, around: Float = 0) -> Matrix {
      let values = random.array(n).map { around + 0.3 * $0 }
      return Matrix(tensor: HostTensor(values, [n]), rows: [values.map { Double($0) }])
    }
    func linear(_ outputs: Int, _ inputs: Int) -> Linear {
      Linear(weight: matrix(outputs, inputs, 2 / Float(inputs).squareRoot(), shape.linear), bias: vector(outputs))
    }
    func norm(_ n: Int) -> Norm { Norm(weight: vector(n, around: 1), bias: vector(n)) }
    self.shape = shape
    let h = shape.hidden
    word = matrix(Self.vocabulary, shape.embedding, 1, shape.tables)
    position = matrix(Self.positions, shape.embedding, 1, shape.tables)
    type = matrix(2, shape.embedding, 1, shape.tables)
    embeddingNorm = norm(shape.embedding)
    projection = shape.embedding == h ? nil : linear(h, shape.embedding)
    layers = (0..<shape.layers).map { _ in
      Layer(
        query: linear(h, h), key: linear(h, h), value: linear(h, h), attentionOutput: linear(h, h),
        intermediate: linear(shape.wide, h),
        output: linear(h, shape.wide), attentionNorm: norm(h), outputNorm: norm(h))
    }
  }

  var weights: EncoderWeights {
    // Views of memory that this object owns: keep it while a program is made of them.
    EncoderWeights(
      word: word.tensor.view, position: position.tensor.view, type: type.tensor.view, embeddingNorm: embeddingNorm.view,
      projection: projection?.view,
      layers: layers.map {
        EncoderLayerView(
          query: $0.query.view, key: $0.key.view, value: $0.value.view, attentionOutput: $0.attentionOutput.view,
          attentionNorm: $0.attentionNorm.view, intermediate: $0.intermediate.view, output: $0.output.view,
          outputNorm: $0.outputNorm.view)
      }, heads: shape.heads, epsilon: 1e-5, activation: shape.activation)
  }

  private func activated(_ x: Double) -> Double {
    switch shape.activation {
    case .gelu: x * 0.5 * erfc(-x / 2.0.squareRoot())
    case .geluTanh: 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .relu: max(0, x)
    }
  }

  func forward(_ ids: ArraySlice<Int32>, _ positions: ArraySlice<Int32>, _ types: ArraySlice<Int32>) -> [Double] {
    func sum(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 + $1 } }
    var x = zip(ids, zip(positions, types)).map { id, place -> [Double] in
      let e = embeddingNorm(sum(sum(word.rows[Int(id)], position.rows[Int(place.0)]), type.rows[Int(place.1)]))
      return projection?(e) ?? e
    }
    let d = shape.hidden / shape.heads
    for layer in layers {
      let q = x.map { layer.query($0) }
      let k = x.map { layer.key($0) }
      let v = x.map { layer.value($0) }
      x = x.indices.map { i in
        var mixed = [Double](repeating: 0, count: shape.hidden)
        for h in 0..<shape.heads {
          let z = x.indices.map { j in (0..<d).reduce(0.0) { $0 + q[i][h * d + $1] * k[j][h * d + $1] } / Double(d).squareRoot()
          }
          let p = z.map { exp($0 - z.max()!) }
          let total = p.reduce(0, +)
          for j in x.indices { for e in 0..<d { mixed[h * d + e] += p[j] / total * v[j][h * d + e] } }
        }
        let y = layer.attentionNorm(sum(x[i], layer.attentionOutput(mixed)))
        return layer.outputNorm(sum(y, layer.output(layer.intermediate(y).map(activated))))
      }
    }
    return x.flatMap { $0 }
  }
}

private struct RandomBatch {
  var tokens: RaggedTokens
  var positions: [Int32]
  var types: [Int32]

  init(_ lengths: [Int]) {
    var random = Random(5)
    tokens = RaggedTokens(lengths.map { n in (0..<n).map { _ in Int32(random.below(RandomEncoder.vocabulary)) } })
    positions = lengths.flatMap { n in (0..<n).map { Int32($0 + 1) } }
    types = tokens.ids.map { _ in Int32(random.below(2)) }
  }

  func run(_ program: any EncoderProgram, types withTypes: Bool = true, progress: Progress? = nil) throws -> [Float] {
    var out = [Float](repeating: .nan, count: tokens.ids.count * program.hidden)
    try out.withUnsafeMutableBufferPointer {
      try program.forward(
        tokens, positions: positions, types: withTypes ? types : nil, into: $0.baseAddress!, progress: progress)
    }
    return out
  }

  func exact(_ encoder: RandomEncoder, types withTypes: Bool = true) -> [Double] {
    let types = withTypes ? types : types.map { _ in 0 }
    return (0..<tokens.sequences).flatMap { s -> [Double] in
      let range = tokens.starts[s]..<tokens.starts[s + 1]
      return encoder.forward(tokens.ids[range], positions[range], types[range])
    }
  }
}

extension OpenCLTests {
  @Suite(.needsDevice) struct EncoderTests {
    private static func check(
      _ shape: RandomEncoder.Shape, _ lengths: [Int] = [7, 1, 30], _ precision: LinearPrecision = .f32, within: Double = 5e-5
    ) throws {
      let encoder = RandomEncoder(shape)
      let program = try #require(Device.backend).makeEncoder(encoder.weights, precision: precision)
      let batch = RandomBatch(lengths)
      #expect(program.hidden == shape.hidden && program.precision == precision && program.byteCount > 0)
      #expect(difference(try batch.run(program), batch.exact(encoder)) < within, "\(shape)")
    }

    @Test func shapes() throws {
      try Self.check(.init())
      try Self.check(.init(embedding: 16, hidden: 64, heads: 2, wide: 130))
      try Self.check(.init(embedding: 96, hidden: 96, heads: 6, wide: 17, layers: 1))
      // Heads that are no multiple of 4, and widths that are none.
      try Self.check(.init(embedding: 30, hidden: 30, heads: 5, wide: 21))
      try Self.check(.init(embedding: 13, hidden: 22, heads: 2, wide: 9, layers: 1))
      try Self.check(.init(embedding: 256, hidden: 256, heads: 1, wide: 8, layers: 1))
    }

    @Test func longSequences() throws {
      try Self.check(.init(layers: 1), [140, 64, 65, 3], within: 1e-4)
    }

    @Test(arguments: [EncoderActivation.gelu, .geluTanh, .relu]) func activations(_ activation: EncoderActivation) throws {
      try Self.check(.init(activation: activation))
    }

    /// Products are f32 over what the file holds, whatever that is.
    @Test(arguments: [DType.f32, .f16, .bf16, .i8], [DType.f32, .f16, .bf16, .i8]) func storage(
      _ linear: DType, _ tables: DType
    ) throws {
      try Self.check(.init(layers: 1, linear: linear, tables: tables))
    }

    @Test func precisions() throws {
      try Self.check(.init(layers: 1), .bf16, within: 0.03)
      try Self.check(.init(layers: 1), .i8, within: 0.06)
      try Self.check(.init(layers: 1, linear: .bf16), .bf16)
      try Self.check(.init(layers: 1, linear: .i8), .i8)
    }

    private static func check(_ shape: RandomEncoder.Shape, _ precision: LinearPrecision, within: Double = 5e-5) throws {
      try check(shape, [7, 1, 30], precision, within: within)
    }

    @Test func withoutTypesAllAreZero() throws {
      let encoder = RandomEncoder(.init())
      let program = try #require(Device.backend).makeEncoder(encoder.weights, precision: .f32)
      let batch = RandomBatch([9])
      #expect(difference(try batch.run(program, types: false), batch.exact(encoder, types: false)) < 5e-5)
    }

    /// Same bits alone and in company; a large batch does not spoil a small one after it.
    @Test func theBatchDoesNotMatter() throws {
      let encoder = RandomEncoder(.init())
      let program = try #require(Device.backend).makeEncoder(encoder.weights, precision: .f32)
      let batch = RandomBatch([20, 5, 70, 0, 33])
      let whole = try batch.run(program)
      for s in 0..<batch.tokens.sequences {
        let range = batch.tokens.starts[s]..<batch.tokens.starts[s + 1]
        var one = batch
        one.tokens = RaggedTokens([Array(batch.tokens[s])])
        one.positions = Array(batch.positions[range])
        one.types = Array(batch.types[range])
        #expect(try one.run(program) == Array(whole[(range.lowerBound * 32)..<(range.upperBound * 32)]), "sequence \(s)")
      }
    }

    @Test func agreesWithTheCPU() throws {
      let encoder = RandomEncoder(.init(embedding: 48, hidden: 96, heads: 3, wide: 200))
      let batch = RandomBatch([33, 2, 90])
      let cpu = try CPUBackend(threads: 1).makeEncoder(encoder.weights, precision: .f32)
      let device = try #require(Device.backend).makeEncoder(encoder.weights, precision: .f32)
      #expect(difference(try batch.run(device), try batch.run(cpu).map { Double($0) }) < 1e-4)
    }

    @Test func progressAndCancel() throws {
      let encoder = RandomEncoder(.init(layers: 3))
      let program = try #require(Device.backend).makeEncoder(encoder.weights, precision: .f32)
      let batch = RandomBatch([9])
      var shares: [Double] = []
      _ = try batch.run(program) {
        shares.append($0)
        return true
      }
      #expect(shares.count == 3 && shares.last == 1 && shares == shares.sorted())
      #expect(throws: TamisError.self) { _ = try batch.run(program) { $0 < 0.5 } }
      #expect(try batch.run(program).allSatisfy { $0.isFinite })
    }

    @Test func headsThatAreTooWide() throws {
      let encoder = RandomEncoder(.init(embedding: 260, hidden: 260, heads: 1, wide: 8, layers: 1))
      #expect(throws: TamisError.self) { _ = try Device.backend?.makeEncoder(encoder.weights, precision: .f32) }
    }
  }
}
