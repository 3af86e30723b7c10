import TamisCore

/// One index, many files: `weight_map` says which file holds which tensor.
final class ShardedWeights: WeightSource {
  private let shards: [String: any WeightSource]
  /// Tensor name to shard name.
  private let places: [String: String]

  /// - Throws: as `SafeTensors`; `format` for an index that is none, or names a file outside the folder.
  init(
    index path: String, folder: String, open: (String) throws(TamisError) -> any WeightSource
  ) throws(TamisError) {
    let index = try ModelFolder.json(path)
    guard let map = index["weight_map"]?.object, !map.isEmpty else {
      throw TamisError(.format, "path: \(path) has no weight_map")
    }
    var shards: [String: any WeightSource] = [:]
    var places: [String: String] = [:]
    for member in map {
      guard let file = member.value.string, ModelFolder.isPlainName(file) else {
        throw TamisError(
          .format,
          "path: \(path): weight_map.\(member.name) is \(member.value.text); expected the name of a file in this folder")
      }
      if shards[file] == nil { shards[file] = try open(folder + "/" + file) }
      places[member.name] = file
    }
    for (name, file) in places where shards[file]?.shape(of: name) == nil {
      throw TamisError(.format, "path: \(folder)/\(file) has no \"\(name)\", which \(path) says it holds")
    }
    self.shards = shards
    self.places = places
  }

  func shape(of name: String) -> [Int]? { places[name].flatMap { shards[$0]?.shape(of: name) } }

  func tensor(_ name: String) throws(TamisError) -> TensorView {
    guard let file = places[name], let shard = shards[file] else {
      throw TamisError(.notFound, "name is \"\(name)\"; the index has no such tensor")
    }
    return try shard.tensor(name)
  }
}
