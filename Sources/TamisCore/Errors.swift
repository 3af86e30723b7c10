/// Status codes of the C ABI (include/tamis/core.h); never renumbered.
public enum Status: Int32, Sendable {
  case invalidArgument = -1
  case unsupported = -2
  case outOfMemory = -3
  case bufferTooSmall = -4
  case cacheFull = -10
  case notFound = -11
  case io = -20
  case format = -21
  case noDevice = -30
  case device = -31
  case cancelled = -40
  case internalError = -99
}

/// The one error type of the library: a status and a sentence that names the argument, its value and what was expected.
public struct TamisError: Error, Sendable, CustomStringConvertible {
  public let status: Status
  public let message: String

  public init(_ status: Status, _ message: String) {
    self.status = status
    self.message = message
  }

  public var description: String { message }

  public static func invalid(_ message: String) -> TamisError { TamisError(.invalidArgument, message) }
}

/// Throws `invalidArgument` with the sentence unless the condition holds.
@inline(__always)
public func require(_ condition: Bool, _ message: @autoclosure () -> String) throws(TamisError) {
  if !condition { throw .invalid(message()) }
}
