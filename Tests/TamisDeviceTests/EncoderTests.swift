import Testing

@testable import TamisCore
@testable import TamisDevice

/// The encoder on the CPU: its forward against f64, and what the protocol promises.
struct EncoderTests {
  static let precisions: [LinearPrecision] = [.f32, .bf16, .i8]

  func run(
    _ fixture: EncoderFixture, _ batch: (tokens: RaggedTokens, positions: [Int32], types: [Int32]), threads: Int = 2,
    level: Kernels.Level = Kernels.activeLevel, precision: LinearPrecision = .f32, types: Bool = true
  ) throws -> [Float] {
    let backend = try CPUBackend(threads: threads, level: level)
    let program = try backend.makeEncoder(fixture.weights, precision: precision)
    var states = [Float](repeating: .nan, count: batch.tokens.ids.count * fixture.hidden)
    try program.forward(
      batch.tokens, positions: batch.positions, types: types ? batch.types : nil, into: &states, progress: nil)
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

  /// Head dims that are no multiple of 8 are padded, odd widths too.
  @Test(arguments: [(52, 2), (30, 3), (9, 1)]) func oddWidths(_ hidden: Int, _ heads: Int) throws {
    let fixture = EncoderFixture(hidden: hidden, heads: heads, wide: 2 * hidden + 1, layers: 2)
    let batch = randomTokens([20, 3], vocabulary: 50)
    let expected = fixture.forward(batch.tokens, positions: batch.positions, types: batch.types)
    for level in Kernels.available {
      #expect(try largestError(run(fixture, batch, level: level), expected) < 1e-5)
      #expect(try largestError(run(fixture, batch, level: level, precision: .bf16), expected) < 0.06)
      #expect(try largestError(run(fixture, batch, level: level, precision: .i8), expected) < 0.25)
    }
  }

  @Test(arguments: [(LinearPrecision.bf16, 0.04), (.i8, 0.12)]) func narrowProducts(
    _ precision: LinearPrecision, _ most: Double
  ) throws {
    let fixture = EncoderFixture(hidden: 128, heads: 4, wide: 256, layers: 2)
    let batch = randomTokens([40, 25], vocabulary: 50)
    let expected = fixture.forward(batch.tokens, positions: batch.positions, types: batch.types)
    for level in Kernels.available {
      let error = try largestError(run(fixture, batch, level: level, precision: precision), expected)
      // Bounded, and there: the narrow products are really made.
      #expect(error < most && error > 1e-4)
    }
  }

  @Test(arguments: [DType.f16, .bf16, .i8]) func storedWeights(_ dtype: DType) throws {
    let fixture = EncoderFixture(hidden: 64, heads: 2, wide: 96, layers: 1, dtype: dtype)
    let batch = randomTokens([20], vocabulary: 50)
    let expected = fixture.forward(batch.tokens, positions: batch.positions, types: batch.types)
    #expect(try largestError(run(fixture, batch), expected) < 1e-5)
  }

  /// Same bits alone and in a batch, whatever the precision and the level.
  @Test(arguments: precisions) func batchDoesNotMatter(_ precision: LinearPrecision) throws {
    let fixture = EncoderFixture(hidden: 64, heads: 2, wide: 160, layers: 2)
    let lengths = [5, 37, 1, 64, 12, 0, 33]
    let batch = randomTokens(lengths, vocabulary: 50)
    for level in Kernels.available {
      let together = try run(fixture, batch, level: level, precision: precision)
      for s in 0..<lengths.count {
        let range = batch.tokens.starts[s]..<batch.tokens.starts[s + 1]
        let alone = try run(
          fixture, (RaggedTokens([Array(batch.tokens[s])]), Array(batch.positions[range]), Array(batch.types[range])),
          level: level,
          precision: precision)
        #expect(alone == Array(together[range.lowerBound * 64..<range.upperBound * 64]))
      }
    }
  }

  @Test(arguments: precisions) func threadsDoNotMatter(_ precision: LinearPrecision) throws {
    let fixture = EncoderFixture(hidden: 64, heads: 4, wide: 100, layers: 2)
    let batch = randomTokens([70, 9, 50, 1], vocabulary: 50)
    let one = try run(fixture, batch, threads: 1, precision: precision)
    for threads in [2, 3, 7] { #expect(try run(fixture, batch, threads: threads, precision: precision) == one) }
  }

  /// More tokens than a group holds, and a sequence that is longer than one.
  @Test func groups() throws {
    let fixture = EncoderFixture(positions: 2200, hidden: 16, heads: 2, wide: 16, layers: 1)
    let lengths = [900, 900, 900, 2101, 3]
    let batch = randomTokens(lengths, vocabulary: 50)
    let together = try run(fixture, batch)
    for s in [1, 4] {
      let range = batch.tokens.starts[s]..<batch.tokens.starts[s + 1]
      let alone = try run(
        fixture, (RaggedTokens([Array(batch.tokens[s])]), Array(batch.positions[range]), Array(batch.types[range])))
      #expect(alone == Array(together[range.lowerBound * 16..<range.upperBound * 16]))
    }
    #expect(together.allSatisfy { $0.isFinite })
  }

  /// NaN and infinite parameters reach the sequences that meet them, and no other.
  @Test(arguments: precisions) func nonFiniteParameters(_ precision: LinearPrecision) throws {
    let fixture = EncoderFixture(hidden: 32, heads: 2, wide: 64, layers: 2)
    let batch = randomTokens([9, 20, 15], vocabulary: 40)
    let clean = try run(fixture, batch, precision: precision)
    for bad in [Float.nan, .infinity, -.infinity] {
      // Token 45 is in no sequence but the second.
      fixture.word.view.data.storeBytes(of: bad, toByteOffset: (45 * 32 + 7) * 4, as: Float.self)
      var spoilt = batch
      spoilt.tokens.ids[12] = 45
      for level in Kernels.available {
        let clean = level == Kernels.activeLevel ? clean : try run(fixture, batch, level: level, precision: precision)
        let states = try run(fixture, spoilt, level: level, precision: precision)
        #expect(Array(states[..<(9 * 32)]) == Array(clean[..<(9 * 32)]))
        #expect(Array(states[(29 * 32)...]) == Array(clean[(29 * 32)...]))
        #expect(states[(12 * 32)..<(13 * 32)].contains { $0.isNaN })
      }
    }
  }

  @Test func progressStops() throws {
    let fixture = EncoderFixture(hidden: 16, heads: 2, wide: 16, layers: 3)
    let batch = randomTokens([30, 30], vocabulary: 50)
    let program = try CPUBackend(threads: 2).makeEncoder(fixture.weights, precision: .f32)
    var states = [Float](repeating: 0, count: 60 * 16)
    var shares: [Double] = []
    try program.forward(batch.tokens, positions: batch.positions, types: nil, into: &states) {
      shares.append($0)
      return true
    }
    #expect(shares == shares.sorted() && shares.last == 1 && shares.count == 3)
    #expect(throws: TamisError.self) {
      try program.forward(batch.tokens, positions: batch.positions, types: nil, into: &states) { _ in false }
    }
  }

  @Test func headsTooWide() throws {
    let fixture = EncoderFixture(hidden: 300, heads: 1, wide: 8, layers: 1)
    #expect(throws: TamisError.self) { try CPUBackend(threads: 1).makeEncoder(fixture.weights, precision: .f32) }
  }

  @Test func noLayersOrTokens() throws {
    let fixture = EncoderFixture(embedding: 12, hidden: 20, heads: 2, wide: 8, layers: 0)
    let batch = randomTokens([4, 0], vocabulary: 50)
    let expected = fixture.forward(batch.tokens, positions: batch.positions, types: batch.types)
    #expect(try largestError(run(fixture, batch), expected) < 1e-5)
    #expect(try run(fixture, randomTokens([], vocabulary: 50)).isEmpty)
  }
}
