import Testing

@testable import TamisCore
@testable import TamisText

#if canImport(Glibc)
import Glibc
#endif

/// What a model folder may hold, and what is refused, by which name.
@Suite struct EncoderModelTests {
  static func refusal(_ body: () throws -> Void) -> TamisError? {
    do {
      try body()
      return nil
    } catch { return error as? TamisError }
  }

  static func expectRefused(_ fixture: EncoderFixture, _ status: Status, _ word: String, _ comment: Comment? = nil) {
    fixture.writeConfig()
    fixture.writeSafetensors()
    let error = refusal { _ = try EncoderModel(path: fixture.folder.path) }
    #expect(error?.status == status, "\(error?.message ?? "accepted")")
    #expect(error?.message.contains(word) == true, "\(error?.message ?? "accepted") has no \(word)")
  }

  // MARK: what is read

  @Test(arguments: ["bert", "roberta", "xlm-roberta", "camembert", "electra"]) func everyKind(_ kind: String) throws {
    let fixture = EncoderFixture(kind).writeSafetensors()
    let model = try EncoderModel(path: fixture.folder.path)
    #expect(model.config.kind == (kind == "bert" ? .bert : kind == "electra" ? .electra : .roberta))
    #expect(model.config.firstPosition == (model.config.kind == .roberta ? 2 : 0))
    #expect(model.config.maxTokens == (model.config.kind == .roberta ? 22 : 24))
    #expect(model.config.labels == ["LABEL_0", "LABEL_1", "LABEL_2"])
    #expect(model.config.vocabulary == EncoderFixture.vocabulary && model.config.padId == 1)
    #expect(model.parameters == fixture.tensors.reduce(0) { $0 + $1.values.count })
  }

  @Test func labelsAreNamedInOrder() throws {
    let fixture = EncoderFixture()
    fixture.config["id2label"] = .members(["2": .string("c"), "0": .string("a"), "1": .string("b")])
    fixture.writeConfig()
    fixture.writeSafetensors()
    #expect(try EncoderModel(path: fixture.folder.path).config.labels == ["a", "b", "c"])
  }

  /// All weights, whatever they are stored in, are the same views: compared through the float64 program's logits.
  @Test func everyFormatHoldsTheSame() throws {
    let fixture = EncoderFixture().writeSafetensors()
    let batch = EncoderFixture.batch()
    let expected = try fixture.reference().encoder.logits(batch)
    func check(_ comment: Comment) throws { #expect(try fixture.reference().encoder.logits(batch) == expected, comment) }

    fixture.folder.remove("model.safetensors")
    fixture.folder.write("pytorch_model.bin", torchZip(fixture.tensors))
    try check("torch")
    fixture.folder.write("pytorch_model.bin", torchZip(fixture.tensors, wide: true, comment: "PK\u{5}\u{6} a comment"))
    try check("torch, zip64")
    let half = fixture.tensors.count / 2
    fixture.folder.remove("pytorch_model.bin")
    fixture.folder.write("a.bin", torchZip(Array(fixture.tensors[..<half])))
    fixture.folder.write("b.bin", torchZip(Array(fixture.tensors[half...])))
    fixture.folder.write("pytorch_model.bin.index.json", Self.index(fixture, half, "a.bin", "b.bin"))
    try check("torch, sharded")
    fixture.folder.write("a.safetensors", safetensorsFile(Array(fixture.tensors[..<half])))
    fixture.folder.write("b.safetensors", safetensorsFile(Array(fixture.tensors[half...])))
    fixture.folder.write("model.safetensors.index.json", Self.index(fixture, half, "a.safetensors", "b.safetensors"))
    fixture.folder.remove("a.bin")  // safetensors come first
    try check("safetensors, sharded")

    fixture.folder.remove("model.safetensors.index.json")
    for (i, t) in fixture.tensors.enumerated() {
      fixture.tensors[i].name = t.name.replacing("LayerNorm.weight", with: "LayerNorm.gamma").replacing(
        "LayerNorm.bias", with: "LayerNorm.beta")
    }
    fixture.writeSafetensors()
    try check("gamma and beta")
    for (i, t) in fixture.tensors.enumerated() where t.name.hasPrefix("bert.") {
      fixture.tensors[i].name = String(t.name.dropFirst(5))
    }
    fixture.tensors.append(NamedTensor(name: "pooler.dense.weight", shape: [2, 2], values: [1, 2, 3, 4]))
    fixture.tensors.append(NamedTensor(name: "embeddings.position_ids", shape: [1], values: [0]))
    fixture.writeSafetensors()
    try check("no prefix; a pooler and position ids")
  }

  static func index(_ fixture: EncoderFixture, _ half: Int, _ a: String, _ b: String) -> String {
    let map = fixture.tensors.enumerated().map { JSON.Member(name: $1.name, value: .string($0 < half ? a : b)) }
    return JSON.members(["metadata": .object([]), "weight_map": .object(map)]).text
  }

  /// int8 with scales: the same as their products in f32.
  @Test func int8() throws {
    let plain = EncoderFixture()
    let stored = EncoderFixture()
    for (i, t) in plain.tensors.enumerated() where t.shape.count == 2 {
      let width = t.shape[1]
      var levels: [Float] = []
      var scales: [Float] = []
      for row in 0..<t.shape[0] {
        let values = t.values[(row * width)..<((row + 1) * width)]
        let scale = values.map { abs($0) }.max()! / 127
        scales.append(scale)
        levels += values.map { ($0 / scale).rounded(.toNearestOrEven) }
      }
      plain.tensors[i].values = levels.enumerated().map { $1 * scales[$0 / width] }
      let k = stored.tensors.firstIndex { $0.name == t.name }!
      stored.tensors[k].values = levels
      stored.tensors[k].type = "I8"
      stored.tensors.append(NamedTensor(name: t.name + "_scale", shape: [t.shape[0]], values: scales))
    }
    // int8 data first would leave the floats unaligned.
    stored.tensors.sort { ($0.type != "I8" ? 0 : 1, $0.name) < ($1.type != "I8" ? 0 : 1, $1.name) }
    plain.writeSafetensors()
    stored.writeSafetensors()
    let batch = EncoderFixture.batch()
    #expect(largestDifference(try plain.reference().encoder.logits(batch), try stored.reference().encoder.logits(batch)) < 1e-5)
    #expect(try EncoderModel(path: stored.folder.path).stored == .i8)
    #expect(try EncoderModel(path: plain.folder.path).stored == .f32)
    stored.tensors.removeAll { $0.name.hasSuffix("1.output.dense.weight_scale") }
    Self.expectRefused(stored, .format, "1.output.dense.weight_scale")
  }

  @Test func bfloat16IsStoredAsSuch() throws {
    let fixture = EncoderFixture()
    for i in fixture.tensors.indices { fixture.tensors[i].type = "BF16" }
    fixture.writeSafetensors()
    #expect(try EncoderModel(path: fixture.folder.path).stored == .bf16)
  }

  // MARK: what is refused

  @Test func foldersWithoutFiles() {
    let fixture = EncoderFixture()
    #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.status == .notFound)
    fixture.writeSafetensors()
    fixture.folder.remove("config.json")
    #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.status == .notFound)
    #expect(Self.refusal { _ = try EncoderModel(path: "/nowhere/at/all") }?.status == .notFound)
    #expect(Self.refusal { _ = try EncoderModel(path: "") }?.status == .invalidArgument)
    #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path, addedRows: -1) }?.status == .invalidArgument)
    for text in ["", "[", "[]", "3", "{\"model_type\": \"bert\", \"model_type\": \"bert\"}"] {
      fixture.folder.write("config.json", text)
      #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.status == .format, "\(text)")
    }
  }

  @Test func configurationsOfOtherModels() {
    func with(_ name: String, _ value: JSON?, kind: String = "bert") -> EncoderFixture {
      let fixture = EncoderFixture(kind)
      fixture.config[name] = value
      return fixture
    }
    for type in ["distilbert", "xlm-roberta-xl", "deberta-v2", "mpnet", "llama"] {
      Self.expectRefused(with("model_type", .string(type)), .unsupported, type)
    }
    Self.expectRefused(with("model_type", nil), .format, "model_type")
    Self.expectRefused(with("position_embedding_type", .string("relative_key")), .unsupported, "relative_key")
    Self.expectRefused(with("is_decoder", .bool(true)), .unsupported, "is_decoder")
    Self.expectRefused(with("add_cross_attention", .bool(true)), .unsupported, "add_cross_attention")
    Self.expectRefused(with("hidden_act", .string("silu")), .unsupported, "silu")
    Self.expectRefused(with("quantization_config", .object([])), .unsupported, "quantization_config")
    Self.expectRefused(with("pruned_heads", .members(["0": .array([.integer(1)])])), .unsupported, "pruned_heads")
    for name in [
      "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings",
    ] {
      Self.expectRefused(with(name, nil), .format, name)
      for value in [JSON.integer(0), .integer(-1), .integer(.max), .number(1.5), .string("16"), .array([])] {
        Self.expectRefused(with(name, value), .format, name)
      }
    }
    Self.expectRefused(with("num_attention_heads", .integer(3)), .format, "num_attention_heads")
    Self.expectRefused(with("layer_norm_eps", .string("x")), .format, "layer_norm_eps")
    Self.expectRefused(with("layer_norm_eps", .number(-1)), .format, "layer_norm_eps")
    Self.expectRefused(with("pad_token_id", .integer(-3)), .format, "pad_token_id")
    Self.expectRefused(with("pad_token_id", .integer(200), kind: "roberta"), .format, "positions")
    Self.expectRefused(with("id2label", .members(["0": .string("a"), "2": .string("b")])), .format, "id2label")
    Self.expectRefused(with("id2label", .members(["0": .string("a"), "1": .string("b")])), .format, "classifier.weight")
    Self.expectRefused(with("num_hidden_layers", .integer(3)), .format, "layer.2")
    Self.expectRefused(with("hidden_size", .integer(32)), .format, "expected [")
  }

  @Test func tensorsThatAreMissingOrMisshapen() {
    for name in EncoderFixture().tensors.map(\.name) {
      let without = EncoderFixture()
      without.tensors.removeAll { $0.name == name }
      Self.expectRefused(without, .format, name.replacing("bert.embeddings.word", with: "embeddings.word"))
      let longer = EncoderFixture()
      longer[name].shape[longer[name].shape.count - 1] += 1
      longer[name].values = [Float](repeating: 0, count: longer[name].shape.reduce(1, *))
      Self.expectRefused(longer, .format, name)
      let deeper = EncoderFixture()
      deeper[name].shape.append(1)
      Self.expectRefused(deeper, .format, name)
    }
    let narrow = EncoderFixture("electra", embedding: 8)
    narrow.tensors.removeAll { $0.name.contains("embeddings_project") }
    Self.expectRefused(narrow, .format, "embeddings_project")
  }

  /// The classifier's bias is not optional: a file without it was cut.
  @Test func aClassifierWithoutItsBias() {
    let fixture = EncoderFixture()
    fixture.tensors.removeAll { $0.name == "classifier.bias" }
    Self.expectRefused(fixture, .format, "classifier.bias")
  }

  @Test func indicesThatLeadElsewhere() {
    let fixture = EncoderFixture()
    for name in ["../model.safetensors", "/etc/passwd", "a/b", "..", ".", ""] {
      fixture.folder.write("model.safetensors.index.json", Self.index(fixture, 3, name, "b"))
      let error = Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }
      #expect(error?.status == .format && error?.message.contains("weight_map") == true, "\(name): \(error?.message ?? "")")
    }
    for text in ["{}", "{\"weight_map\": {}}", "{\"weight_map\": 3}", "{\"weight_map\": {\"a\": 3}}", "nonsense"] {
      fixture.folder.write("model.safetensors.index.json", text)
      #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.status == .format, "\(text)")
    }
    fixture.folder.write("model.safetensors.index.json", Self.index(fixture, 3, "one.safetensors", "two.safetensors"))
    #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.status == .notFound)
    fixture.folder.write("one.safetensors", safetensorsFile([]))
    fixture.folder.write("two.safetensors", safetensorsFile(fixture.tensors))
    #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.message.contains("one.safetensors") == true)
  }

  @Test func truncatedWeights() {
    let fixture = EncoderFixture(layers: 1)
    let whole = safetensorsFile(fixture.tensors)
    for count in stride(from: 0, to: whole.count, by: 97) {
      fixture.folder.write("model.safetensors", Array(whole[..<count]))
      #expect(Self.refusal { _ = try EncoderModel(path: fixture.folder.path) }?.status == .format, "cut to \(count)")
    }
  }

  // MARK: sentence-transformers

  static func modules(_ fixture: EncoderFixture, _ types: [(String, String)]) {
    let list = types.map { JSON.members(["type": .string("sentence_transformers.models." + $0.0), "path": .string($0.1)]) }
    fixture.folder.write("modules.json", JSON.array(list).text)
  }

  @Test func modulesSayHowToPool() throws {
    let fixture = EncoderFixture(labels: nil).writeSafetensors()
    #expect(try SentenceModules(folder: fixture.folder.path).pooling == .mean)
    Self.modules(fixture, [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")])
    for (name, pooling) in [("cls_token", Pooling.cls), ("mean_tokens", .mean), ("max_tokens", .max)] {
      fixture.folder.write(
        "1_Pooling/config.json",
        "{\"word_embedding_dimension\": 16, \"pooling_mode_lasttoken\": false, \"pooling_mode_\(name)\": true}")
      let modules = try SentenceModules(folder: fixture.folder.path)
      #expect(modules.pooling == pooling && modules.normalise)
    }
    fixture.folder.write("sentence_bert_config.json", "{\"max_seq_length\": 12, \"do_lower_case\": false}")
    let (encoder, _) = try fixture.reference()
    #expect(encoder.embedTokens == 12 && encoder.normalises && encoder.pooling == .max)
    fixture.folder.write("1_Pooling/config.json", "{\"pooling_mode_weightedmean_tokens\": true}")
    #expect(Self.refusal { _ = try SentenceModules(folder: fixture.folder.path) }?.message.contains("weightedmean") == true)
    Self.modules(fixture, [("Transformer", ""), ("Dense", "2_Dense")])
    #expect(Self.refusal { _ = try SentenceModules(folder: fixture.folder.path) }?.message.contains("Dense") == true)
    Self.modules(fixture, [("Transformer", "../elsewhere")])
    #expect(Self.refusal { _ = try SentenceModules(folder: fixture.folder.path) }?.status == .format)
  }

  @Test func theEncoderMayLieInAFolderOfItsOwn() throws {
    let fixture = EncoderFixture(labels: nil)
    Self.modules(fixture, [("Transformer", "0_Transformer"), ("Pooling", "1_Pooling")])
    fixture.folder.write(
      "0_Transformer/config.json", JSON.object(fixture.config.map { JSON.Member(name: $0.key, value: $0.value) }).text)
    fixture.folder.write("0_Transformer/model.safetensors", safetensorsFile(fixture.tensors))
    fixture.folder.write("1_Pooling/config.json", "{\"pooling_mode\": \"cls\"}")
    let model = try EncoderModel(path: fixture.folder.path)
    #expect(model.modules.pooling == .cls && model.head == nil)
  }
}
