#if canImport(Glibc)
import Glibc
#endif

/// A file mapped read-only. Its bytes stay valid while this lives, unless another process shortens the file meanwhile.
public final class MappedFile: @unchecked Sendable {
  public let bytes: UnsafeRawBufferPointer

  /// - Throws: `notFound`, `io`; `format` for what is no regular file. The sentence names the path.
  public init(path: String) throws(TamisError) {
    try require(!path.isEmpty, "path is empty; expected the name of a file")
    // Not blocking: opening a pipe must not wait for its writer.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw Self.error("open", path) }
    defer { close(file) }
    var info = stat()
    guard fstat(file, &info) == 0 else { throw Self.error("stat", path) }
    guard info.st_mode & S_IFMT == S_IFREG else { throw TamisError(.format, "path: \(path) is not a regular file") }
    let size = Int(info.st_size)
    if size == 0 {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let address = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0), address != MAP_FAILED else {
      throw Self.error("map", path)
    }
    bytes = UnsafeRawBufferPointer(start: address, count: size)
  }

  deinit {
    if let address = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: address), bytes.count) }
  }

  /// What the operating system said when it would not do `action`; read `errno` before anything else changes it.
  public static func error(_ action: String, _ path: String) -> TamisError {
    let code = errno
    let reason = strerror(code).map { String(cString: $0) } ?? "error \(code)"
    return TamisError(code == ENOENT && action == "open" ? .notFound : .io, "path: cannot \(action) \(path): \(reason)")
  }
}
