#if canImport(Glibc)
import Glibc
#endif

/// A file of the test's own that goes when the test does.
final class ScratchFile {
  let path: String

  init() { path = Self.folder() + "/file" }

  deinit {
    unlink(path)
    rmdir(String(path.dropLast(5)))
  }

  var bytes: [UInt8] {
    get { Self.read(path) }
    set {
      let file = fopen(path, "w")!
      fwrite(newValue, 1, newValue.count, file)
      fclose(file)
    }
  }

  static func read(_ path: String) -> [UInt8] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: ftell(file))
    rewind(file)
    return fread(&bytes, 1, bytes.count, file) == bytes.count ? bytes : []
  }

  /// A new, empty folder.
  static func folder() -> String {
    var name = Array("\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/tamis-test-XXXXXX".utf8CString)
    return String(cString: mkdtemp(&name))
  }

  static func names(_ folder: String) -> [String] {
    guard let handle = opendir(folder) else { return [] }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = Glibc.readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }

  static func golden(_ name: String) -> String {
    #filePath.split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" } + "/golden/" + name
  }

  static var writesGolden: Bool { getenv("TAMIS_WRITE_GOLDEN") != nil }
}
