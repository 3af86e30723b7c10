import TamisCore
public import TamisDevice

/// What config.json says of an encoder, and what its tensors add (vocabulary, positions, labels).
public struct EncoderConfig: Sendable, Equatable {
  public enum Kind: Int32, Sendable {
    case bert = 0
    /// roberta, xlm-roberta and camembert, which differ in vocabulary alone
    case roberta = 1
    case electra = 2
  }

  public var kind: Kind
  public var layers: Int
  public var hidden: Int
  public var heads: Int
  public var intermediate: Int
  /// Width of the embeddings; less than `hidden` in small ELECTRA models.
  public var embedding: Int
  /// Rows of the word embeddings: the file's once it is read, then with the added ones.
  public var vocabulary: Int
  /// Rows of the position embeddings.
  public var positions: Int
  public var types: Int
  public var epsilon: Float
  public var activation: EncoderActivation
  public var padId: Int32?
  /// Names of the classes; empty without a head.
  public var labels: [String]
  /// The class of `architectures`, such as BertForTokenClassification.
  var architecture: String?

  /// Position of the first token of a sequence.
  public var firstPosition: Int { kind == .roberta ? Int(padId ?? 1) + 1 : 0 }
  /// Tokens of a sequence at most, special tokens included.
  public var maxTokens: Int { max(positions - firstPosition, 0) }

  /// Largest count accepted from a file: products of two stay far below Int.max.
  static let countLimit: Int64 = 1 << 28

  /// - Throws: `format` for a field that is missing or nonsense; `unsupported`, with its name, for a model or option that
  ///   changes the forward pass in a way this library does not know.
  public init(json: JSON, path: String) throws(TamisError) {
    guard json.object != nil else { throw TamisError(.format, "path: \(path) is no JSON object") }
    let reader = ConfigReader(json: json, path: path)
    kind = try reader.kind()
    try reader.refuseUnknownOptions()
    layers = try reader.count("num_hidden_layers", 1...1000)
    hidden = try reader.count("hidden_size")
    heads = try reader.count("num_attention_heads")
    intermediate = try reader.count("intermediate_size")
    embedding = kind == .electra ? try reader.count("embedding_size", otherwise: 128) : hidden
    vocabulary = try reader.count("vocab_size")
    positions = try reader.count("max_position_embeddings")
    types = try reader.count("type_vocab_size", otherwise: 2)
    epsilon = try reader.epsilon()
    activation = try reader.activation()
    padId = try reader.padId(kind)
    labels = try reader.labels()
    architecture = json["architectures"]?.array?.first?.string
    guard hidden % heads == 0 else {
      throw TamisError(.format, "path: \(path): hidden_size is \(hidden); expected a multiple of num_attention_heads, \(heads)")
    }
  }
}

private struct ConfigReader {
  let json: JSON
  let path: String

  func broken(_ what: String) -> TamisError { TamisError(.format, "path: \(path): \(what)") }
  func refused(_ what: String) -> TamisError { TamisError(.unsupported, "path: \(path): \(what)") }

  func kind() throws(TamisError) -> EncoderConfig.Kind {
    switch json["model_type"]?.string {
    case "bert": return .bert
    case "roberta", "xlm-roberta", "camembert": return .roberta
    case "electra": return .electra
    case let other?:
      throw refused("model_type is \"\(other)\"; expected bert, roberta, xlm-roberta, camembert or electra")
    case nil: throw broken("model_type is missing; expected bert, roberta, xlm-roberta, camembert or electra")
    }
  }

  /// Options of these architectures that make another forward pass.
  func refuseUnknownOptions() throws(TamisError) {
    if let type = present("position_embedding_type"), type.string != "absolute" {
      throw refused("position_embedding_type is \(type.text); expected \"absolute\"")
    }
    for name in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
      if let value = present(name), value != .bool(false) { throw refused("\(name) is \(value.text); expected false") }
    }
    if let heads = present("pruned_heads"), heads.object?.isEmpty != true {
      throw refused("pruned_heads is \(heads.text); expected none")
    }
    for name in ["quantization_config", "rope_parameters", "rope_scaling"] {
      if present(name) != nil { throw refused("\(name) is given; expected a model without it") }
    }
  }

  /// The member, unless it is null.
  func present(_ name: String) -> JSON? {
    let value = json[name]
    return value == .null ? nil : value
  }

  func count(
    _ name: String, _ range: ClosedRange<Int64> = 1...EncoderConfig.countLimit, otherwise: Int? = nil
  ) throws(TamisError) -> Int {
    guard let value = present(name) else {
      if let otherwise { return otherwise }
      throw broken("\(name) is missing")
    }
    guard let n = value.integer, range.contains(n) else {
      throw broken("\(name) is \(value.text); expected \(range.lowerBound) to \(range.upperBound)")
    }
    return Int(n)
  }

  func epsilon() throws(TamisError) -> Float {
    guard let value = present("layer_norm_eps") else { return 1e-12 }
    let number: Double
    switch value {
    case .number(let x): number = x
    case .integer(let n): number = Double(n)
    default: throw broken("layer_norm_eps is \(value.text); expected a number")
    }
    guard number >= 0, number <= 1 else { throw broken("layer_norm_eps is \(value.text); expected 0 to 1") }
    return Float(number)
  }

  func activation() throws(TamisError) -> EncoderActivation {
    guard let value = present("hidden_act") else { return .gelu }
    switch value.string {
    case "gelu", "gelu_python": return .gelu
    case "gelu_new", "gelu_pytorch_tanh": return .geluTanh
    case "relu": return .relu
    default: throw refused("hidden_act is \(value.text); expected gelu, gelu_new, gelu_pytorch_tanh or relu")
    }
  }

  func padId(_ kind: EncoderConfig.Kind) throws(TamisError) -> Int32? {
    guard let value = present("pad_token_id") else { return kind == .roberta ? 1 : nil }
    guard let id = value.integer, id >= 0, id <= EncoderConfig.countLimit else {
      throw broken("pad_token_id is \(value.text); expected a token id")
    }
    return Int32(id)
  }

  /// id2label in the order of its numbers, 0, 1, 2, ..; empty when there is none.
  func labels() throws(TamisError) -> [String] {
    guard let members = present("id2label")?.object else { return [] }
    guard members.count <= 1 << 16 else { throw broken("id2label has \(members.count) labels; expected at most 65536") }
    var labels = [String?](repeating: nil, count: members.count)
    for member in members {
      guard let i = Int(member.name), labels.indices.contains(i), labels[i] == nil, let label = member.value.string else {
        throw broken("id2label holds \"\(member.name)\"; expected a text for every number from 0 to \(members.count - 1)")
      }
      labels[i] = label
    }
    return labels.compactMap { $0 }
  }
}
