import TamisCore
import TamisDevice
import Testing

@testable import TamisText

#if canImport(Glibc)
import Glibc
#endif

/// Encoders end to end: the CPU backend against the float64 program, and the rules of ragged batches.
@Suite struct TextEncoderTests {
  @Test(arguments: ["bert", "xlm-roberta", "electra"], [nil, 8]) func logits(_ kind: String, _ embedding: Int?) throws {
    if embedding != nil && kind != "electra" { return }
    let fixture = EncoderFixture(kind, embedding: embedding).writeSafetensors()
    let batch = EncoderFixture.batch()
    let expected = try fixture.reference().encoder.logits(batch)
    #expect(largestDifference(try fixture.encoder().logits(batch), expected) < 2e-5)
    // Rounding of inputs and weights: a few parts in a hundred of logits near 1.
    #expect(largestDifference(try fixture.encoder(.bf16).logits(batch), expected) < 0.05)
    #expect(largestDifference(try fixture.encoder(.i8).logits(batch), expected) < 0.1)
  }

  @Test func activations() throws {
    let batch = EncoderFixture.batch()
    var results: [[Float]] = []
    for name in ["gelu", "gelu_new", "relu"] {
      let fixture = EncoderFixture()
      for suffix in ["0.intermediate.dense.weight", "1.intermediate.dense.weight"] {
        fixture[suffix].values = fixture[suffix].values.map { $0 * 6 }
      }
      fixture.config["hidden_act"] = .string(name)
      fixture.writeConfig()
      fixture.writeSafetensors()
      results.append(try fixture.reference().encoder.logits(batch))
      #expect(largestDifference(try fixture.encoder().logits(batch), results.last!) < 5e-5, "\(name)")
    }
    #expect(largestDifference(results[0], results[1]) > 1e-4 && largestDifference(results[0], results[2]) > 1e-2)
  }

  /// Same bits alone, in another order, and in pieces.
  @Test func theBatchDoesNotMatter() throws {
    let encoder = try EncoderFixture().writeSafetensors().encoder()
    let lengths = [5, 0, 1, 13, 20, 24]
    let batch = EncoderFixture.batch(lengths)
    let whole = try encoder.states(batch)
    for s in 0..<batch.sequences where !batch[s].isEmpty {
      let h = EncoderFixture.hidden
      let alone = try encoder.states(RaggedTokens([Array(batch[s])]))
      #expect(alone == Array(whole[(batch.starts[s] * h)..<(batch.starts[s + 1] * h)]), "sequence \(s)")
    }
    let reversed = RaggedTokens((0..<batch.sequences).reversed().map { Array(batch[$0]) })
    #expect(try encoder.vectors(reversed, .mean).reversed() == encoder.vectors(batch, .mean))
  }

  @Test func longBatchesAreCutIntoPieces() throws {
    let (encoder, program) = try EncoderFixture(layers: 1).writeSafetensors().reference(piece: 100)
    let sequence = Array(EncoderFixture.batch([24])[0])
    let count = 7
    let batch = RaggedTokens([[Int32]](repeating: sequence, count: count))
    var shares: [Double] = []
    var out = [Float](repeating: .nan, count: batch.ids.count * 3)
    try out.withUnsafeMutableBufferPointer {
      try encoder.classify(batch, into: $0.baseAddress!) {
        shares.append($0)
        return true
      }
    }
    #expect(program.calls.map(\.ids.count) == [96, 72])
    #expect(shares.first == 0 && shares.last == 1 && shares == shares.sorted())
    let one = try encoder.logits(RaggedTokens([sequence]))
    for s in 0..<count { #expect(Array(out[(s * 72)..<((s + 1) * 72)]) == one) }
  }

  @Test func positions() throws {
    let (bert, bertProgram) = try EncoderFixture("bert").writeSafetensors().reference()
    _ = try bert.states(RaggedTokens([[5, 6, 7], [8], [], [9, 1, 10]]))
    #expect(bertProgram.lastPositions == [0, 1, 2, 0, 0, 1, 2])
    let (roberta, program) = try EncoderFixture("roberta").writeSafetensors().reference()
    _ = try roberta.states(RaggedTokens([[5, 6, 7], [8], [], [9, 1, 10]]))
    #expect(program.lastPositions == [2, 3, 4, 2, 2, 1, 3])
  }

  @Test func types() throws {
    let fixture = EncoderFixture().writeSafetensors()
    let batch = EncoderFixture.batch([6])
    let types: [Int32] = [0, 0, 0, 1, 1, 1]
    let expected = try fixture.reference().encoder.logits(batch, types: types)
    #expect(largestDifference(try fixture.encoder().logits(batch, types: types), expected) < 2e-5)
    #expect(largestDifference(expected, try fixture.reference().encoder.logits(batch)) > 1e-3)
  }

  @Test func probabilities() throws {
    let encoder = try EncoderFixture().writeSafetensors().encoder()
    let batch = EncoderFixture.batch()
    let z = try encoder.logits(batch)
    let p = try encoder.logits(batch, probabilities: true)
    for i in stride(from: 0, to: z.count, by: 3) {
      let e = (0..<3).map { exp(Double(z[i + $0])) }
      for j in 0..<3 { #expect(abs(Double(p[i + j]) - e[j] / e.reduce(0, +)) < 1e-6) }
    }
  }

  @Test func pooling() throws {
    let encoder = try EncoderFixture(labels: nil).writeSafetensors().encoder()
    let batch = EncoderFixture.batch()
    let states = try encoder.states(batch)
    let h = EncoderFixture.hidden
    for pooling in [Pooling.mean, .cls, .max] {
      let vectors = try encoder.vectors(batch, pooling)
      let unit = try encoder.vectors(batch, pooling, normalise: true)
      for s in 0..<batch.sequences {
        let rows = (batch.starts[s]..<batch.starts[s + 1]).map { Array(states[($0 * h)..<(($0 + 1) * h)]) }
        let expected = (0..<h).map { j -> Float in
          let column = rows.map { $0[j] }
          guard let first = column.first, let most = column.max() else { return 0 }
          return pooling == .cls
            ? first : pooling == .max ? most : Float(column.reduce(0.0) { $0 + Double($1) } / Double(column.count))
        }
        #expect(largestDifference(vectors[s], expected) < 1e-6)
        let length = expected.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        #expect(largestDifference(unit[s], expected.map { Float(Double($0) / max(length, 1e-12)) }) < 1e-6)
      }
    }
    #expect(EncoderModelTests.refusal { _ = try encoder.logits(batch) }?.status == .unsupported)
  }

  @Test func addedRowsAreTheMean() throws {
    for type in ["F32", "BF16"] {
      let fixture = EncoderFixture()
      if type == "BF16" {
        for i in fixture.tensors.indices {
          fixture.tensors[i].type = type
          fixture.tensors[i].values = fixture.tensors[i].values.map { Float(bitPattern: $0.bitPattern & 0xffff_0000) }
        }
      }
      fixture.writeSafetensors()
      let batch = RaggedTokens([[3, 29, 7, 31]])
      let added = try fixture.reference(addedRows: 3).encoder
      #expect(added.config.vocabulary == 32)
      let width = EncoderFixture.hidden
      let rows = EncoderFixture.vocabulary
      let name = "word_embeddings.weight"
      var mean = (0..<width).map { j in
        Float((0..<rows).reduce(0.0) { $0 + Double(fixture[name].values[$1 * width + j]) } / Double(rows))
      }
      if type == "BF16" {
        mean = mean.map { Float(bitPattern: ($0.bitPattern + 0x7fff + ($0.bitPattern >> 16 & 1)) & 0xffff_0000) }
      }
      fixture[name].values += mean + mean + mean
      fixture[name].shape[0] += 3
      fixture.writeSafetensors()
      #expect(largestDifference(try added.logits(batch), try fixture.reference().encoder.logits(batch)) < 1e-6, "\(type)")
      #expect(EncoderModelTests.refusal { _ = try added.logits(RaggedTokens([[32]])) }?.message.contains("31") == true)
    }
  }

  @Test func badBatches() throws {
    let (encoder, program) = try EncoderFixture("roberta").writeSafetensors().reference()
    func refused(_ tokens: RaggedTokens, types: [Int32]? = nil, _ word: String) {
      let error = EncoderModelTests.refusal {
        var out = [Float](repeating: 0, count: 4096)
        try out.withUnsafeMutableBufferPointer { try encoder.classify(tokens, types: types, into: $0.baseAddress!) }
      }
      #expect(error?.status == .invalidArgument && error?.message.contains(word) == true, "\(error?.message ?? "accepted")")
    }
    refused(RaggedTokens([[3, 29]]), "ids[1] is 29; expected 0 to 28")
    refused(RaggedTokens([[-1]]), "ids[0] is -1")
    refused(
      RaggedTokens([[Int32]](repeating: [5], count: 3) + [[Int32](repeating: 5, count: 23)]),
      "sequence 3 has 23 tokens; expected at most 22")
    refused(RaggedTokens(ids: [1, 2], starts: [0, 1]), "starts")
    refused(RaggedTokens(ids: [1, 2], starts: []), "starts")
    refused(RaggedTokens(ids: [1, 2], starts: [0, 2, 1, 2]), "starts[2]")
    refused(RaggedTokens(ids: [1, 2], starts: [0, 2, .min, 2]), "starts[2]")
    refused(RaggedTokens(ids: [1, 2], starts: [0, .max, 2]), "tokens")
    refused(RaggedTokens([[3, 4]]), types: [0], "types")
    refused(RaggedTokens([[3, 4]]), types: [0, 2], "types[1] is 2")
    #expect(program.calls.isEmpty)
  }

  @Test func cancelling() throws {
    let fixture = EncoderFixture().writeSafetensors()
    let encoder = try fixture.encoder()
    let batch = EncoderFixture.batch()
    let expected = try encoder.logits(batch)
    for stop in 0..<3 {
      var calls = 0
      var out = [Float](repeating: 0, count: batch.ids.count * 3)
      let error = EncoderModelTests.refusal {
        try out.withUnsafeMutableBufferPointer {
          try encoder.classify(batch, into: $0.baseAddress!) { _ in
            calls += 1
            return calls <= stop
          }
        }
      }
      #expect(error?.status == .cancelled && calls == stop + 1)
    }
    #expect(try encoder.logits(batch) == expected)
    #expect(
      EncoderModelTests.refusal { _ = try TextEncoder(path: fixture.folder.path, context: Context(), progress: { $0 < 0.05 }) }?
        .status
        == .cancelled)
  }

  @Test func electraDiscriminator() throws {
    let fixture = EncoderFixture("electra", embedding: 8, labels: nil)
    fixture.config["architectures"] = .strings(["ElectraForPreTraining"])
    fixture.writeConfig()
    var random = SplitMix(3)
    let h = EncoderFixture.hidden
    for (name, shape) in [
      ("dense.weight", [h, h]), ("dense.bias", [h]), ("dense_prediction.weight", [1, h]), ("dense_prediction.bias", [1]),
    ] {
      fixture.tensors.append(
        NamedTensor(
          name: "discriminator_predictions." + name, shape: shape, values: (0..<shape.reduce(1, *)).map { _ in random.unit() }))
    }
    let (encoder, _) = try fixture.writeSafetensors().reference()
    #expect(encoder.config.labels == ["replaced"])
    let batch = EncoderFixture.batch([7])
    let states = try encoder.states(batch)
    let logits = try encoder.logits(batch)
    let probabilities = try encoder.logits(batch, probabilities: true)
    for t in 0..<7 {
      var logit = Double(fixture["prediction.bias"].values[0])
      for j in 0..<h {
        var x = Double(fixture["predictions.dense.bias"].values[j])
        for k in 0..<h { x += Double(fixture["predictions.dense.weight"].values[j * h + k]) * Double(states[t * h + k]) }
        logit += Double(fixture["prediction.weight"].values[j]) * x * 0.5 * erfc(-x / 2.0.squareRoot())
      }
      #expect(abs(Double(logits[t]) - logit) < 1e-5)
      #expect(abs(Double(probabilities[t]) - 1 / (1 + exp(-logit))) < 1e-6)
    }
  }
}
