import CTamis
import Tamis

/// A public struct that begins with `struct_size` and only ever grows at its end (docs/abi.md).
protocol VersionedStruct {
  var struct_size: UInt32 { get set }
  /// sizeof in the release that introduced it: the least a caller can have been compiled with.
  static var firstSize: Int { get }
  static var defaults: Self { get }
}

extension VersionedStruct {
  static var currentSize: UInt32 { UInt32(MemoryLayout<Self>.size) }
}

private let sizeLimit = 4096

/// The caller's struct over the defaults; NULL is the defaults. A struct from a newer header passes while what this library
/// does not know is zero.
func read<T: VersionedStruct>(_ pointer: UnsafePointer<T>?, _ name: StaticString) throws(TamisError) -> T {
  guard pointer != nil else { return T.defaults }
  let source = UnsafeRawPointer(try need(pointer, name))
  let size = try structSize(source, T.self, name)
  for byte in stride(from: MemoryLayout<T>.size, to: size, by: 1) {
    try require(
      source.load(fromByteOffset: byte, as: UInt8.self) == 0,
      "\(name)->struct_size is \(size) and byte \(byte) is not 0; expected 0 in fields newer than this library")
  }
  var value = T.defaults
  withUnsafeMutableBytes(of: &value) { $0.copyMemory(from: .init(start: source, count: min(size, $0.count))) }
  return value
}

/// Checks a struct that a call fills; `write` may follow once nothing can fail any more.
func checkOutput<T: VersionedStruct>(_ pointer: UnsafeMutablePointer<T>?, _ name: StaticString) throws(TamisError) {
  _ = try structSize(UnsafeRawPointer(try need(pointer, name)), T.self, name)
}

/// Fills as much of a checked struct as its caller knows. `struct_size` stays the caller's.
func write<T: VersionedStruct>(_ value: T, to pointer: UnsafeMutablePointer<T>) {
  var value = value
  value.struct_size = pointer.pointee.struct_size
  let count = min(Int(value.struct_size), MemoryLayout<T>.size)
  withUnsafeBytes(of: &value) { UnsafeMutableRawPointer(pointer).copyMemory(from: $0.baseAddress!, byteCount: count) }
}

private func structSize<T: VersionedStruct>(_ source: UnsafeRawPointer, _: T.Type, _ name: StaticString)
  throws(TamisError) -> Int
{
  let size = Int(source.load(as: UInt32.self))
  try require(
    (T.firstSize...sizeLimit).contains(size),
    "\(name)->struct_size is \(size); expected \(T.firstSize) to \(sizeLimit), as the INIT macro sets it")
  return size
}
