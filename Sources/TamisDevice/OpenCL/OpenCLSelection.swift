import CShims
import TamisCore

/// Scores in device memory.
final class OpenCLScores: TokenScores {
  private(set) var candidates: Range<Int> = 0..<0
  private(set) var buffer: OpenCLBuffer?
  private let memory: OpenCLScratch

  init(_ queue: OpenCLQueue) { memory = OpenCLScratch(queue) }

  func reserve(_ candidates: Range<Int>) throws(TamisError) -> OpenCLBuffer {
    // Empty until there is memory for them, so that a failure leaves nothing to read.
    self.candidates = 0..<0
    let buffer = try memory.reserve(candidates.count * 4)
    self.buffer = buffer
    self.candidates = candidates
    return buffer
  }

  func read(into host: UnsafeMutablePointer<Float>) throws(TamisError) {
    try buffer?.read(host, bytes: candidates.count * 4)
  }
}

/// Token indices in device memory; how many is known to the host.
final class OpenCLSelection: TokenSelection {
  private(set) var count = 0
  private(set) var buffer: OpenCLBuffer?
  private let memory: OpenCLScratch

  init(_ queue: OpenCLQueue) { memory = OpenCLScratch(queue) }

  func reserve(_ count: Int) throws(TamisError) -> OpenCLBuffer {
    self.count = 0
    let buffer = try memory.reserve(count * 4)
    self.buffer = buffer
    self.count = count
    return buffer
  }

  func read(into host: UnsafeMutablePointer<Int32>) throws(TamisError) { try buffer?.read(host, bytes: count * 4) }

  func assign(_ tokens: UnsafePointer<Int32>, count: Int) throws(TamisError) {
    try reserve(count).write(tokens, bytes: count * 4)
  }
}
