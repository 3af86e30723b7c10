import TamisCore
import TamisDevice

/// Finds the tensors of an encoder by their Hugging Face names and checks their shapes against the configuration.
struct EncoderTensors {
  private let source: any WeightSource
  private let path: String
  /// What stands before "embeddings.word_embeddings.weight".
  private let prefix: String
  private(set) var config: EncoderConfig

  /// - Throws: `format` for a tensor that is missing or of another shape; `unsupported` for a dtype that cannot be used.
  init(_ source: any WeightSource, config: EncoderConfig, path: String) throws(TamisError) {
    self.source = source
    self.path = path
    self.config = config
    let word = "embeddings.word_embeddings.weight"
    guard let prefix = ["", "bert.", "roberta.", "electra."].first(where: { source.shape(of: $0 + word) != nil }) else {
      throw TamisError(.format, "path: \(path) has no \"\(word)\", with or without the prefix bert., roberta. or electra.")
    }
    self.prefix = prefix
    self.config.vocabulary = try rows(of: word)
    self.config.positions = try rows(of: "embeddings.position_embeddings.weight")
    self.config.types = try rows(of: "embeddings.token_type_embeddings.weight")
    guard self.config.maxTokens > 0 else {
      throw TamisError(
        .format, "path: \(path) has \(self.config.positions) positions, none of them after the padding id's; expected more")
    }
  }

  /// Rows are the tensor's: files may hold more than config.json says, for tokens added since.
  private func rows(of name: String) throws(TamisError) -> Int {
    guard let shape = source.shape(of: prefix + name) else { throw missing(prefix + name) }
    guard shape.count == 2, shape[0] > 0, shape[0] <= EncoderConfig.countLimit else {
      throw TamisError(.format, "path: \(path): \"\(prefix + name)\" is \(shape); expected [rows, \(config.embedding)]")
    }
    return shape[0]
  }

  private func missing(_ name: String) -> TamisError { TamisError(.format, "path: \(path) has no \"\(name)\"") }

  // MARK: tensors

  /// A tensor of exactly this shape, floating or int8 with its scales.
  private func tensor(_ name: String, _ shape: [Int]) throws(TamisError) -> TensorView {
    guard let found = source.shape(of: name) else { throw missing(name) }
    guard found == shape else { throw TamisError(.format, "path: \(path): \"\(name)\" is \(found); expected \(shape)") }
    var view = try source.tensor(name)
    if view.dtype == .i8, shape.count == 2 {
      let scales = name + "_scale"
      guard source.shape(of: scales) != nil else {
        throw TamisError(.format, "path: \(path): \"\(name)\" is int8 and has no \"\(scales)\"")
      }
      let scale = try tensor(scales, [shape[0]])
      guard scale.dtype == .f32 else {
        throw TamisError(.format, "path: \(path): \"\(scales)\" is \(scale.dtype.name); expected f32")
      }
      view.scale = scale.data.assumingMemoryBound(to: Float.self)
      view.scaleStride[0] = 1
    } else if !view.dtype.isFloat {
      throw TamisError(
        .unsupported, "path: \(path): \"\(name)\" is \(view.dtype.name); expected f32, f16, bf16, or i8 with scales")
    }
    return view
  }

  private func linear(_ name: String, _ outputs: Int, _ inputs: Int) throws(TamisError) -> LinearView {
    LinearView(weight: try tensor(name + ".weight", [outputs, inputs]), bias: try tensor(name + ".bias", [outputs]))
  }

  /// Files converted from TensorFlow's may say gamma and beta.
  private func norm(_ name: String, _ width: Int) throws(TamisError) -> NormView {
    let old = source.shape(of: name + ".weight") == nil && source.shape(of: name + ".gamma") != nil
    return NormView(
      weight: try tensor(name + (old ? ".gamma" : ".weight"), [width]),
      bias: try tensor(name + (old ? ".beta" : ".bias"), [width]))
  }

  /// Everything below the head.
  func encoder() throws(TamisError) -> EncoderWeights {
    let (c, p) = (config, prefix + "embeddings.")
    var layers: [EncoderLayerView] = []
    for i in 0..<c.layers { layers.append(try layer("\(prefix)encoder.layer.\(i).")) }
    return EncoderWeights(
      word: try tensor(p + "word_embeddings.weight", [c.vocabulary, c.embedding]),
      position: try tensor(p + "position_embeddings.weight", [c.positions, c.embedding]),
      type: try tensor(p + "token_type_embeddings.weight", [c.types, c.embedding]),
      embeddingNorm: try norm(p + "LayerNorm", c.embedding),
      projection: c.embedding == c.hidden ? nil : try linear(prefix + "embeddings_project", c.hidden, c.embedding),
      layers: layers, heads: c.heads, epsilon: c.epsilon, activation: c.activation)
  }

  private func layer(_ p: String) throws(TamisError) -> EncoderLayerView {
    let (h, f) = (config.hidden, config.intermediate)
    return EncoderLayerView(
      query: try linear(p + "attention.self.query", h, h), key: try linear(p + "attention.self.key", h, h),
      value: try linear(p + "attention.self.value", h, h), attentionOutput: try linear(p + "attention.output.dense", h, h),
      attentionNorm: try norm(p + "attention.output.LayerNorm", h), intermediate: try linear(p + "intermediate.dense", f, h),
      output: try linear(p + "output.dense", h, f), outputNorm: try norm(p + "output.LayerNorm", h))
  }

  // MARK: head

  /// The head that `architectures` names; without it, a classifier if the file has one.
  func head() throws(TamisError) -> ClassificationHead? {
    let architecture = config.architecture ?? ""
    if architecture.hasSuffix("ForPreTraining"), config.kind == .electra {
      return ClassificationHead(
        hidden: try linear("discriminator_predictions.dense", config.hidden, config.hidden),
        output: try linear("discriminator_predictions.dense_prediction", 1, config.hidden), activation: config.activation,
        labels: ["replaced"])
    }
    guard
      architecture.hasSuffix("ForTokenClassification") || (architecture.isEmpty && source.shape(of: "classifier.weight") != nil)
    else { return nil }
    guard let shape = source.shape(of: "classifier.weight") else { throw missing("classifier.weight") }
    guard shape.count == 2, shape[0] > 0, shape[0] <= 1 << 16 else {
      throw TamisError(.format, "path: \(path): \"classifier.weight\" is \(shape); expected [labels, \(config.hidden)]")
    }
    guard config.labels.isEmpty || config.labels.count == shape[0] else {
      throw TamisError(
        .format,
        "path: \(path): \"classifier.weight\" has \(shape[0]) rows; expected \(config.labels.count), the labels of config.json")
    }
    return ClassificationHead(
      hidden: nil, output: try linear("classifier", shape[0], config.hidden), activation: config.activation,
      labels: config.labels.isEmpty ? (0..<shape[0]).map { "LABEL_\($0)" } : config.labels)
  }
}
