// Deleted at merge: the types that land from other branches.
import Tamis
private func missing() -> TamisError { TamisError(.unsupported, "not in this build") }
public enum Convert { public static func copy(from: TensorView, to: TensorView) throws(TamisError) { throw missing() } }
extension RoPE { func apply(_ x: TensorView, positions: UnsafePointer<Int64>?, first: Int, out: TensorView) throws(TamisError) { throw missing() } }
