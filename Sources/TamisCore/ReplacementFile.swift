#if canImport(Glibc)
import Glibc
#endif

/// A new file that takes the place of `path` in one step: written beside it, synced, renamed, and the folder synced. Until
/// `commit` nothing is seen of it, and without it nothing stays.
public final class ReplacementFile {
  private let path: String
  private let temporary: String
  private let file: Int32
  private var isCommitted = false

  public init(_ path: String) throws(TamisError) {
    self.path = path
    var attempt = 0
    while true {
      let name = "\(path).\(getpid()).\(attempt).tmp"
      let opened = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      if opened >= 0 {
        temporary = name
        file = opened
        return
      }
      guard errno == EEXIST && attempt < 1000 else {
        let error = MappedFile.error("create", name)
        throw error
      }
      attempt += 1
    }
  }

  deinit {
    close(file)
    if !isCommitted { unlink(temporary) }
  }

  public func write(_ count: Int, of bytes: [UInt8]) throws(TamisError) {
    var failure: TamisError?
    bytes.withUnsafeBytes { raw in
      do throws(TamisError) { try write(UnsafeRawBufferPointer(rebasing: raw.prefix(count))) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  public func write(_ bytes: UnsafeRawBufferPointer) throws(TamisError) {
    var done = 0
    while done < bytes.count {
      let n = Glibc.write(file, bytes.baseAddress! + done, bytes.count - done)
      if n < 0 {
        if errno == EINTR { continue }
        throw MappedFile.error("write", temporary)
      }
      done += n
    }
  }

  public func overwriteStart(_ bytes: [UInt8]) throws(TamisError) {
    guard lseek(file, 0, SEEK_SET) == 0 else { throw MappedFile.error("seek in", temporary) }
    try write(bytes.count, of: bytes)
  }

  public func commit() throws(TamisError) {
    guard fsync(file) == 0 else { throw MappedFile.error("sync", temporary) }
    guard rename(temporary, path) == 0 else { throw MappedFile.error("replace", path) }
    isCommitted = true
    let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw MappedFile.error("open the folder of", path) }
    defer { close(directory) }
    // Some file systems cannot sync a folder and say EINVAL; they have nothing to sync then.
    guard fsync(directory) == 0 || errno == EINVAL else { throw MappedFile.error("sync the folder of", path) }
  }
}
