import TamisCore
import TamisDevice

/// A model folder, read and checked, before a device packs it.
final class EncoderModel {
  private(set) var config: EncoderConfig
  private(set) var weights: EncoderWeights
  let head: ClassificationHead?
  let modules: SentenceModules
  /// Dtype of the linear layers' weights.
  let stored: LinearPrecision
  let parameters: Int
  // What the views of `weights` are views of.
  private let source: any WeightSource
  private let added: AddedRows?

  init(path: String, addedRows: Int = 0) throws(TamisError) {
    try require(!path.isEmpty, "path is empty; expected the name of a folder")
    try require((0...(1 << 20)).contains(addedRows), "added_rows is \(addedRows); expected 0 to \(1 << 20)")
    modules = try SentenceModules(folder: path)
    let configPath = modules.folder + "/config.json"
    let described = try EncoderConfig(json: try ModelFolder.json(configPath), path: configPath)
    source = try ModelFolder.weights(modules.folder)
    let tensors = try EncoderTensors(source, config: described, path: modules.folder)
    config = tensors.config
    weights = try tensors.encoder()
    head = try tensors.head()
    config.labels = head?.labels ?? []
    added = addedRows > 0 ? try AddedRows(weights.word, adding: addedRows) : nil
    if let added {
      weights.word = added.view
      config.vocabulary += addedRows
    }
    switch weights.layers[0].intermediate.weight.dtype {
    case .i8: stored = .i8
    case .bf16: stored = .bf16
    default: stored = .f32
    }
    parameters = Self.parameters(weights) + (head?.parameters ?? 0)
  }

  private static func parameters(_ w: EncoderWeights) -> Int {
    func elements(_ view: TensorView) -> Int { (0..<view.ndim).reduce(1) { $0 * view.shape[$1] } }
    func linear(_ l: LinearView) -> Int { elements(l.weight) + (l.bias.map(elements) ?? 0) }
    func norm(_ n: NormView) -> Int { elements(n.weight) + elements(n.bias) }
    var sum = elements(w.word) + elements(w.position) + elements(w.type) + norm(w.embeddingNorm)
    sum += w.projection.map(linear) ?? 0
    for layer in w.layers {
      for l in [layer.query, layer.key, layer.value, layer.attentionOutput, layer.intermediate, layer.output] {
        sum += linear(l)
      }
      sum += norm(layer.attentionNorm) + norm(layer.outputNorm)
    }
    return sum
  }
}
