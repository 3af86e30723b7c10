import Glibc
import Tamis

/// A file, or standard input for "-".
func readInput(_ name: String) throws(TamisError) -> [UInt8] {
  let file = name == "-" ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { throw MappedFile.error("open", name) }
  defer { if name != "-" { close(file) } }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let n = read(file, &buffer, buffer.count)
    if n < 0 {
      if errno == EINTR { continue }
      throw MappedFile.error("read", name)
    }
    if n == 0 { return bytes }
    bytes += buffer[..<n]
  }
}

/// To a file, or to standard output for "-".
func writeOutput(_ bytes: [UInt8], to name: String) throws(TamisError) {
  let file = name == "-" ? STDOUT_FILENO : open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
  guard file >= 0 else { throw MappedFile.error("open", name) }
  defer { if name != "-" { close(file) } }
  guard write(bytes, to: file) else { throw MappedFile.error("write", name == "-" ? "the output" : name) }
}

/// On standard error. By descriptor: Swift 6 will not touch the C variable stderr.
func say(_ sentence: String, ending: String = "\n") { _ = write(Array((sentence + ending).utf8), to: STDERR_FILENO) }

/// All of the bytes; false with errno when they cannot be written.
private func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
  var at = 0
  while at < bytes.count {
    let n = bytes[at...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if n < 0 && errno != EINTR { return false }
    at += max(n, 0)
  }
  return true
}

/// A line on standard error that says how far long work is; nothing where that is no terminal.
final class ProgressLine {
  private let name: String
  private let isShown: Bool
  private var last = -1

  init(_ name: String, isWanted: Bool = true) {
    self.name = name
    isShown = isWanted && isatty(STDERR_FILENO) == 1
  }

  /// Takes the share done; always goes on.
  func show(_ done: Double) -> Bool {
    let percent = Int(100 * done)
    guard isShown, percent > last else { return true }
    last = percent
    let filled = percent * 40 / 100
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 40 - filled)
    say("\r\(name) [\(bar)] \(percent) %", ending: "")
    return true
  }

  func clear() { if last >= 0 { say("\r\u{1b}[K", ending: "") } }
}
