import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// The files of a model folder, by the names Hugging Face gives them.
enum ModelFolder {
  /// Largest JSON text accepted as a configuration or an index.
  static let maxJSONBytes = 64 << 20

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// A name that cannot lead out of its folder.
  static func isPlainName(_ name: String) -> Bool {
    let bytes = name.utf8
    return !bytes.isEmpty && !bytes.contains(UInt8(ascii: "/")) && !bytes.contains(0) && name != "." && name != ".."
  }

  static func json(_ path: String) throws(TamisError) -> JSON {
    let file = try MappedFile(path: path)
    guard file.bytes.count <= maxJSONBytes else {
      throw TamisError(.format, "path: \(path) has \(file.bytes.count) bytes; expected at most \(maxJSONBytes)")
    }
    do throws(TamisError) {
      return try withExtendedLifetime(file) { () throws(TamisError) in try JSON(file.bytes) }
    } catch { throw TamisError(error.status, "path: \(path): \(error.message)") }
  }

  /// The first file of weights that is there.
  static func weights(_ folder: String) throws(TamisError) -> any WeightSource {
    let safetensors = folder + "/model.safetensors"
    if exists(safetensors) { return try SafeTensors(path: safetensors) }
    let index = safetensors + ".index.json"
    if exists(index) {
      return try ShardedWeights(index: index, folder: folder) { (path) throws(TamisError) in try SafeTensors(path: path) }
    }
    let torch = folder + "/pytorch_model.bin"
    if exists(torch) { return try TorchFile(path: torch) }
    let torchIndex = torch + ".index.json"
    if exists(torchIndex) {
      return try ShardedWeights(index: torchIndex, folder: folder) { (path) throws(TamisError) in try TorchFile(path: path) }
    }
    throw TamisError(
      .notFound,
      "path: \(folder) has no model.safetensors or pytorch_model.bin, nor the .index.json of their shards"
    )
  }
}
