import Testing

@testable import TamisCore
@testable import TamisDevice

/// The encoder on the CPU: its forward against f64, and what the protocol promises.
struct EncoderTests {
  func run(
    _ fixture: EncoderFixture, _ batch: (tokens: RaggedTokens, positions: [Int32], types: [Int32]), threads: Int = 2,
    level: Kernels.Level = Kernels.activeLevel, precision: LinearPrecision = .f32, types: Bool = true
  ) throws -> [Float] {
    let backend = try CPUBackend(threads: threads, level: level)
    let program = try backend.makeEncoder(fixture.weights, precision: precision)
    var states = [Float](repeating: .nan, count: batch.tokens.ids.count * fixture.hidden)
    try program.forward(batch.tokens, positions: batch.positions, types: types ? batch.types : nil, into: &states, progress: nil)
    return states
  }

  func largestError(_ states: [Float], _ expected: [[Double]]) -> Double {
    zip(states, expected.joined()).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
  }

  @Test(arguments: [EncoderActivation.gelu, .geluTanh, .relu])
  func twoLayersAgainstF64(_ activation: EncoderActivation) throws {
    let fixture = EncoderFixture(hidden: 64, heads: 2, wide: 96, layers: 2, activation: activation)
    let batch = randomTokens([7, 1, 0, 33, 16], vocabulary: 50)
    let expected = fixture.forward(batch.tokens, positions: batch.positions, types: batch.types)
    for level in Kernels.available {
      #expect(try largestError(run(fixture, batch, level: level), expected) < 1e-5)
    }
  }

  @Test func projectedEmbeddingsWithoutTypes() throws {
    let fixture = EncoderFixture(embedding: 24, hidden: 64, heads: 2, wide: 80, layers: 1, embeddingDType: .i8, bias: false)
    let batch = randomTokens([20, 9], vocabulary: 50)
    let expected = fixture.forward(batch.tokens, positions: batch.positions, types: nil)
    #expect(try largestError(run(fixture, batch, types: false), expected) < 1e-5)
  }
}
