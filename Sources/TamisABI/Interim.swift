// Deleted at merge: the types that land from other branches.
import Tamis
private func missing() -> TamisError { TamisError(.unsupported, "not in this build") }
public enum TopK { public static func select(_ scores: UnsafePointer<Float>, count: Int, k: Int, into: UnsafeMutablePointer<Int32>) -> Int { 0 } }
public enum Convert { public static func copy(from: TensorView, to: TensorView) throws(TamisError) { throw missing() } }
extension RoPE { func apply(_ x: TensorView, positions: UnsafePointer<Int64>?, first: Int, out: TensorView) throws(TamisError) { throw missing() } }
public final class SafeTensors {
  public init(path: String) throws(TamisError) { throw missing() }
  public var names: [String] { [] }
  public func tensor(_ name: String) throws(TamisError) -> TensorView { throw missing() }
}
