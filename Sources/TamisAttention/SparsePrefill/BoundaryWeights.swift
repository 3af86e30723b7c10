import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// The tensors of a boundary predictor by the names of the official state dict, checked against each other. The views hold as
/// long as `source`.
struct BoundaryWeights {
  static let fileName = "boundary_predictor.safetensors"

  let source: any WeightSource
  /// C and h.
  let width, hidden: Int
  let inProjection, outProjection, fuse: LinearView
  let norm: NormView
  /// [1, h] and [1]
  let last: LinearView
  /// [1, C]: halves are pooled by a softmax of its products, not by their mean.
  let gate: TensorView?
  /// What the file says of itself.
  let heads, window: Int?

  /// - Parameter path: safetensors, a torch state dict, or a folder that holds `fileName`.
  /// - Throws: `notFound`, `io`; `format` for a tensor that is missing or of another shape, or metadata that is no number;
  ///   `unsupported` for a dtype that is not floating.
  init(path: String) throws(TamisError) {
    let inFolder = path + "/" + Self.fileName
    let path = access(inFolder, F_OK) == 0 ? inFolder : path
    let source = try WeightFile.open(path)
    self.source = source

    func tensor(_ name: String, _ shape: [Int]) throws(TamisError) -> TensorView {
      guard let found = source.shape(of: name) else { throw TamisError(.format, "path: \(path) has no \"\(name)\"") }
      guard found == shape else {
        throw TamisError(.format, "path: \(path): \"\(name)\" is \(found); expected \(shape)")
      }
      let view = try source.tensor(name)
      guard view.dtype.isFloat else {
        throw TamisError(.unsupported, "path: \(path): \"\(name)\" is \(view.dtype.name); expected f32, f16 or bf16")
      }
      return view
    }
    func size(_ name: String, _ dim: Int) throws(TamisError) -> Int {
      guard let shape = source.shape(of: name) else { throw TamisError(.format, "path: \(path) has no \"\(name)\"") }
      guard shape.count == 2, (1...1 << 16).contains(shape[dim]) else {
        throw TamisError(.format, "path: \(path): \"\(name)\" is \(shape); expected two dimensions from 1 to 65536")
      }
      return shape[dim]
    }
    let c = try size("enc.mha.in_proj_weight", 1)
    let h = try size("mlp.0.weight", 0)
    (width, hidden) = (c, h)
    inProjection = LinearView(
      weight: try tensor("enc.mha.in_proj_weight", [3 * c, c]), bias: try tensor("enc.mha.in_proj_bias", [3 * c]))
    outProjection = LinearView(
      weight: try tensor("enc.mha.out_proj.weight", [c, c]), bias: try tensor("enc.mha.out_proj.bias", [c]))
    norm = NormView(weight: try tensor("enc.norm.weight", [c]), bias: try tensor("enc.norm.bias", [c]))
    fuse = LinearView(weight: try tensor("mlp.0.weight", [h, 4 * c + 1]), bias: try tensor("mlp.0.bias", [h]))
    last = LinearView(weight: try tensor("mlp.2.weight", [1, h]), bias: try tensor("mlp.2.bias", [1]))
    gate = source.shape(of: "pool.gate.weight") == nil ? nil : try tensor("pool.gate.weight", [1, c])

    let metadata = (source as? SafeTensors)?.metadata ?? [:]
    func number(_ name: String, _ most: Int) throws(TamisError) -> Int? {
      guard let text = metadata[name] else { return nil }
      guard let n = Int(text), (1...most).contains(n) else {
        throw TamisError(.format, "path: \(path): the metadata's \(name) is \"\(text.prefix(40))\"; expected 1 to \(most)")
      }
      return n
    }
    heads = try number("heads", c)
    window = try number("window", 64)
  }
}

extension TensorView {
  /// A vector, or the one row of a matrix, as f32.
  func floats() -> [Float] {
    let n = ndim == 1 ? shape[0] : shape[1]
    return [Float](unsafeUninitializedCapacity: n) { buffer, count in
      TensorRows.load(data, dtype, stride: stride[ndim - 1], scale: 1, count: n, to: buffer.baseAddress!, Kernels.active)
      count = n
    }
  }
}
