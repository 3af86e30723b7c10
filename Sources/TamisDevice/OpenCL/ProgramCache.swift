import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Program binaries on disk, so that a kernel is compiled once per machine.
///
/// A file is named after the hash of everything the binary depends on: format version, source, options, device name, driver and
/// platform version. It holds magic, format version, that hash, the payload's length and checksum, and the payload. It is
/// written to a temporary file beside its place and renamed, so readers see a whole file or none. A file that is not what it
/// should be is ignored and replaced; a cache that cannot be written is no error.
struct ProgramCache {
  static let formatVersion: UInt32 = 1
  private static let magic: [UInt8] = Array("TAMISCLB".utf8)
  private static let headerBytes = 8 + 4 + 4 + 16 + 8 + 8

  /// nil: caching is off.
  let folder: String?

  /// $TAMIS_CACHE_DIR ("" turns the cache off), else $XDG_CACHE_HOME/tamis, else ~/.cache/tamis.
  init() {
    func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
    if let own = variable("TAMIS_CACHE_DIR") {
      folder = own.isEmpty ? nil : own
    } else if let cache = variable("XDG_CACHE_HOME"), cache.hasPrefix("/") {
      folder = cache + "/tamis"
    } else if let home = variable("HOME"), home.hasPrefix("/") {
      folder = home + "/.cache/tamis"
    } else {
      folder = nil
    }
  }

  init(folder: String?) { self.folder = folder }

  /// 128 bits over the parts, with their lengths, so that no two lists of parts run together.
  static func key(_ parts: [String]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(contentsOf: little(UInt64(formatVersion)))
    for part in parts {
      bytes.append(contentsOf: little(UInt64(part.utf8.count)))
      bytes.append(contentsOf: part.utf8)
    }
    return little(hash(bytes, seed: 0xcbf2_9ce4_8422_2325)) + little(hash(bytes, seed: 0x9e37_79b9_7f4a_7c15))
  }

  func load(_ key: [UInt8]) -> [UInt8]? {
    guard let path = path(of: key), let file = Self.contents(path), file.count >= Self.headerBytes else { return nil }
    let payload = Array(file[Self.headerBytes...])
    return Array(file[..<Self.headerBytes]) == Self.header(key, payload) ? payload : nil
  }

  /// Whether the binary is on disk now.
  @discardableResult
  func store(_ key: [UInt8], _ payload: [UInt8]) -> Bool {
    guard let folder, let path = path(of: key), Self.makeFolder(folder) else { return false }
    var template = Array((path + ".XXXXXX").utf8CString)
    let descriptor = mkstemp(&template)
    if descriptor < 0 { return false }
    let written = Self.write(descriptor, Self.header(key, payload)) && Self.write(descriptor, payload)
    let closed = close(descriptor) == 0
    if written && closed && rename(template, path) == 0 { return true }
    unlink(template)
    return false
  }

  func path(of key: [UInt8]) -> String? {
    let digits = Array("0123456789abcdef")
    return folder.map { $0 + "/" + String(key.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }) + ".clbin" }
  }

  private static func header(_ key: [UInt8], _ payload: [UInt8]) -> [UInt8] {
    magic + little(UInt64(formatVersion)) + key + little(UInt64(payload.count))
      + little(hash(payload, seed: 0xcbf2_9ce4_8422_2325))
  }

  /// FNV-1a.
  private static func hash(_ bytes: [UInt8], seed: UInt64) -> UInt64 {
    var h = seed
    bytes.withUnsafeBufferPointer { bytes in
      for byte in bytes { h = (h ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }
    return h
  }

  private static func little(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }

  private static func contents(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return nil }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_size >= 0, status.st_size < 1 << 30 else { return nil }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count <= 0 { return nil }
      done += count
    }
    return bytes
  }

  private static func write(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count <= 0 { return false }
      done += count
    }
    return true
  }

  private static func makeFolder(_ path: String) -> Bool {
    var prefix = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
      prefix += "/" + part
      if mkdir(prefix, 0o700) != 0 && errno != EEXIST { return false }
    }
    return true
  }
}
