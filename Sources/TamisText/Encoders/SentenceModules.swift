import TamisCore

/// What modules.json of a sentence-transformers folder says: where the encoder lies, how it pools, whether it normalises.
struct SentenceModules {
  /// The folder of config.json and weights.
  var folder: String
  var pooling = Pooling.mean
  var normalise = false
  /// max_seq_length of the encoder's module: where texts are cut.
  var maxTokens: Int?

  /// A folder without modules.json is its own encoder and pools by the mean.
  /// - Throws: `format` for nonsense; `unsupported` for a module or a pooling this library does not have, by its name.
  init(folder: String) throws(TamisError) {
    self.folder = folder
    let path = folder + "/modules.json"
    guard ModelFolder.exists(path) else { return }
    guard let modules = try ModelFolder.json(path).array else {
      throw TamisError(.format, "path: \(path) is no list of modules")
    }
    for module in modules {
      guard let type = module["type"]?.string, let name = module["path"]?.string, name.isEmpty || ModelFolder.isPlainName(name)
      else { throw TamisError(.format, "path: \(path): \(module.text) has no type, or no path inside the folder") }
      let place = name.isEmpty ? folder : folder + "/" + name
      switch type.split(separator: ".").last {
      case "Transformer":
        self.folder = place
        try readLength(place + "/sentence_bert_config.json")
      case "Pooling": try readPooling(place + "/config.json")
      case "Normalize": normalise = true
      default:
        throw TamisError(.unsupported, "path: \(path): module \(type); expected Transformer, Pooling and Normalize")
      }
    }
  }

  private mutating func readLength(_ path: String) throws(TamisError) {
    guard ModelFolder.exists(path), let value = try ModelFolder.json(path)["max_seq_length"], value != .null else { return }
    guard let n = value.integer, n > 0, n <= EncoderConfig.countLimit else {
      throw TamisError(.format, "path: \(path): max_seq_length is \(value.text); expected a number of tokens")
    }
    maxTokens = Int(n)
  }

  private mutating func readPooling(_ path: String) throws(TamisError) {
    let json = try ModelFolder.json(path)
    var modes: [String] = []
    if let mode = json["pooling_mode"]?.string { modes = [mode] }
    for member in json.object ?? [] where member.name.hasPrefix("pooling_mode_") && member.value == .bool(true) {
      modes.append(member.name)
    }
    switch modes {
    case ["pooling_mode_mean_tokens"], ["mean"]: pooling = .mean
    case ["pooling_mode_cls_token"], ["cls"]: pooling = .cls
    case ["pooling_mode_max_tokens"], ["max"]: pooling = .max
    default:
      throw TamisError(.unsupported, "path: \(path): pooling is \(modes); expected one of mean, cls and max")
    }
  }
}
