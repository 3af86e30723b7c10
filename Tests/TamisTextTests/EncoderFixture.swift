import TamisDevice

@testable import TamisCore
@testable import TamisText

/// A tiny encoder with random weights, and the folder that holds it.
final class EncoderFixture {
  let folder = ModelFolderFixture()
  var tensors: [NamedTensor]
  var config: [String: JSON]
  static let hidden = 16, vocabulary = 29, positions = 24

  init(_ kind: String = "bert", embedding: Int? = nil, labels: Int? = 3, layers: Int = 2, seed: UInt64 = 5) {
    let (h, f) = (Self.hidden, 24)
    let width = embedding ?? h
    var random = SplitMix(seed)
    var tensors: [NamedTensor] = []
    func add(_ name: String, _ shape: [Int], around: Float = 0) {
      tensors.append(
        NamedTensor(name: name, shape: shape, values: (0..<shape.reduce(1, *)).map { _ in around + 0.3 * random.unit() }))
    }
    let p = (kind == "bert" ? "bert" : kind == "electra" ? "electra" : "roberta") + "."
    add(p + "embeddings.word_embeddings.weight", [Self.vocabulary, width])
    add(p + "embeddings.position_embeddings.weight", [Self.positions, width])
    add(p + "embeddings.token_type_embeddings.weight", [2, width])
    add(p + "embeddings.LayerNorm.weight", [width], around: 1)
    add(p + "embeddings.LayerNorm.bias", [width])
    func linear(_ name: String, _ outputs: Int, _ inputs: Int) {
      add(name + ".weight", [outputs, inputs])
      add(name + ".bias", [outputs])
    }
    if width != h { linear(p + "embeddings_project", h, width) }
    for i in 0..<layers {
      let l = "\(p)encoder.layer.\(i)."
      for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
        linear(l + name, h, h)
      }
      linear(l + "intermediate.dense", f, h)
      linear(l + "output.dense", h, f)
      for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
        add(l + name + ".weight", [h], around: 1)
        add(l + name + ".bias", [h])
      }
    }
    if let labels { linear("classifier", labels, h) }
    self.tensors = tensors
    config = [
      "model_type": .string(kind), "num_hidden_layers": .integer(Int64(layers)), "hidden_size": .integer(Int64(h)),
      "num_attention_heads": .integer(2), "intermediate_size": .integer(Int64(f)),
      "vocab_size": .integer(Int64(Self.vocabulary)),
      "max_position_embeddings": .integer(Int64(Self.positions)), "type_vocab_size": .integer(2),
      "layer_norm_eps": .number(1e-5),
      "hidden_act": .string("gelu"), "pad_token_id": .integer(1),
      "architectures": .strings([labels == nil ? "BertModel" : "BertForTokenClassification"]),
    ]
    if width != h { config["embedding_size"] = .integer(Int64(width)) }
    if kind == "electra", width == h { config["embedding_size"] = .integer(Int64(h)) }
    writeConfig()
  }

  func writeConfig() {
    folder.write(
      "config.json", JSON.object(config.sorted { $0.key < $1.key }.map { JSON.Member(name: $0.key, value: $0.value) }).text)
  }

  @discardableResult func writeSafetensors(_ name: String = "model.safetensors") -> Self {
    folder.write(name, safetensorsFile(tensors))
    return self
  }

  subscript(_ suffix: String) -> NamedTensor {
    get { tensors.first { $0.name.hasSuffix(suffix) }! }
    set { tensors[tensors.firstIndex { $0.name.hasSuffix(suffix) }!] = newValue }
  }

  /// On the float64 program.
  func reference(addedRows: Int = 0, piece: Int = 8192) throws -> (encoder: TextEncoder, program: ReferenceEncoder) {
    let model = try EncoderModel(path: folder.path, addedRows: addedRows)
    let program = ReferenceEncoder(model.weights)
    return (TextEncoder(model: model, program: program, context: try Context(), piece: piece), program)
  }

  /// On the CPU backend.
  func encoder(_ precision: LinearPrecision? = nil, addedRows: Int = 0) throws -> TextEncoder {
    try TextEncoder(path: folder.path, context: try Context(threads: 2), precision: precision, addedRows: addedRows)
  }

  static func batch(_ lengths: [Int] = [5, 0, 1, 13, 20], seed: UInt64 = 9) -> RaggedTokens {
    var random = SplitMix(seed)
    return RaggedTokens(lengths.map { n in (0..<n).map { _ in Int32(2 + random.below(vocabulary - 2)) } })
  }
}

extension TextEncoder {
  func logits(_ tokens: RaggedTokens, types: [Int32]? = nil, probabilities: Bool = false) throws -> [Float] {
    var out = [Float](repeating: .nan, count: tokens.ids.count * config.labels.count)
    try out.withUnsafeMutableBufferPointer {
      try classify(tokens, types: types, probabilities: probabilities, into: $0.baseAddress!)
    }
    return out
  }

  func states(_ tokens: RaggedTokens) throws -> [Float] {
    var out = [Float](repeating: .nan, count: tokens.ids.count * config.hidden)
    try out.withUnsafeMutableBufferPointer { try hiddenStates(tokens, into: $0.baseAddress!) }
    return out
  }

  func vectors(_ tokens: RaggedTokens, _ pooling: Pooling? = nil, normalise: Bool? = nil) throws -> [[Float]] {
    var out = [Float](repeating: .nan, count: tokens.sequences * config.hidden)
    try out.withUnsafeMutableBufferPointer { try embed(tokens, pooling: pooling, normalise: normalise, into: $0.baseAddress!) }
    return (0..<tokens.sequences).map { Array(out[($0 * config.hidden)..<(($0 + 1) * config.hidden)]) }
  }
}

func largestDifference(_ a: [Float], _ b: [Float]) -> Float {
  a.count == b.count ? zip(a, b).reduce(0) { $1.0.isNaN || $1.1.isNaN ? .infinity : max($0, abs($1.0 - $1.1)) } : .infinity
}
