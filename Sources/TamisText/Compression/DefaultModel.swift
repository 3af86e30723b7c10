public import TamisCore
import CShims

#if canImport(Glibc)
import Glibc
#endif

/// Where the compressor that comes with the library lies.
public enum DefaultModel {
  static let name = "compressor-en"

  /// The first of these folders that has a config.json: $TAMIS_MODELS/compressor-en; share/tamis/models/compressor-en beside
  /// the folder of the library or program, of the package that holds it, or of one above; Models/compressor-en in a folder
  /// above them.
  /// - Throws: `notFound`, with the places.
  public static func path() throws(TamisError) -> String {
    var tried: [String] = []
    for folder in candidates() {
      if access(folder + "/config.json", R_OK) == 0 { return folder }
      tried.append(folder)
    }
    throw TamisError(
      .notFound,
      "path: no \(name) in \(tried.prefix(3).joined(separator: ", ")) and beside the library; "
        + "set TAMIS_MODELS to the folder that holds it")
  }

  private static func candidates() -> [String] {
    var list: [String] = []
    if let models = getenv("TAMIS_MODELS") { list.append(String(cString: models) + "/" + name) }
    for start in [libraryFolder(), programFolder()].compactMap({ $0 }) {
      var folder = start
      for _ in 0..<8 {
        list.append("\(folder)/share/tamis/models/\(name)")
        list.append("\(folder)/models/\(name)")
        list.append("\(folder)/Models/\(name)")
        guard let slash = folder.utf8.lastIndex(of: UInt8(ascii: "/")), slash != folder.startIndex else { break }
        folder = String(folder[..<slash])
      }
    }
    return list
  }

  private static func libraryFolder() -> String? {
    guard let path = ts_object_path() else { return nil }
    return resolved(String(cString: path))
  }

  private static func programFolder() -> String? { resolved("/proc/self/exe") }

  /// The folder of a file, links followed.
  private static func resolved(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    let whole = String(cString: real)
    guard let slash = whole.utf8.lastIndex(of: UInt8(ascii: "/")) else { return nil }
    return String(whole[..<slash])
  }
}
