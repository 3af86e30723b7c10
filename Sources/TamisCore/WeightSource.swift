/// Named tensors of a model, wherever they are stored.
public protocol WeightSource: AnyObject {
  /// Shape of a tensor; nil where there is none of this name.
  func shape(of name: String) -> [Int]?
  /// A row-major view; it holds as long as the source does and must not be written to.
  /// - Throws: `notFound`; `unsupported` for a dtype or layout that has no view.
  func tensor(_ name: String) throws(TamisError) -> TensorView
}

extension SafeTensors: WeightSource {}

/// A file of weights of either kind, told apart by its first bytes.
public enum WeightFile {
  /// - Throws: `notFound`, `io`; `format` for what is neither safetensors nor torch.save; `unsupported` as `TorchFile`.
  public static func open(_ path: String) throws(TamisError) -> any WeightSource {
    let file = try MappedFile(path: path)
    let isTorch = withExtendedLifetime(file) {
      let bytes = file.bytes
      return ZipArchive.begins(bytes) || (bytes.count > 8 && bytes[0] == 0x80 && bytes[8] != UInt8(ascii: "{"))
    }
    return isTorch ? try TorchFile(path: path) : try SafeTensors(path: path)
  }
}
