import CShims
import CTamis
import Tamis

/// Runs the body of an exported function: an error becomes its status and the thread's last-error sentence.
@inline(__always)
func status(_ body: () throws(TamisError) -> Void) -> tamis_status {
  do {
    try body()
    return TAMIS_OK
  } catch {
    remember(error)
    return error.status.rawValue
  }
}

private func remember(_ error: TamisError) {
  var message = error.message
  message.withUTF8 { bytes in
    bytes.withMemoryRebound(to: CChar.self) { ts_set_last_error($0.baseAddress, $0.count) }
  }
}

/// A pointer that must be there and be aligned to its element.
@inline(__always)
func need<T>(_ pointer: UnsafePointer<T>?, _ name: StaticString) throws(TamisError) -> UnsafePointer<T> {
  guard let pointer else { throw .invalid("\(name) is NULL; expected an address") }
  try requireAligned(pointer, MemoryLayout<T>.alignment, name)
  return pointer
}

@inline(__always)
func need<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: StaticString) throws(TamisError) -> UnsafeMutablePointer<T> {
  UnsafeMutablePointer(mutating: try need(UnsafePointer(pointer), name))
}

/// A pointer that may be NULL, but not misaligned.
@inline(__always)
func allow<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: StaticString) throws(TamisError) -> UnsafeMutablePointer<T>? {
  guard let pointer else { return nil }
  return try need(pointer, name)
}

@inline(__always)
func requireAligned(_ address: UnsafeRawPointer, _ alignment: Int, _ name: StaticString) throws(TamisError) {
  try require(
    UInt(bitPattern: address) & UInt(alignment &- 1) == 0,
    "\(name) is \(hex(UInt(bitPattern: address))); expected an address aligned to \(alignment) bytes")
}

/// Elements [0, count) from a checked pointer stay inside the address space.
@inline(__always)
func requireExtent<T>(_ pointer: UnsafePointer<T>, _ count: Int, _ name: StaticString) throws(TamisError) {
  let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<T>.stride)
  let base = UInt(bitPattern: pointer)
  try require(
    !overflow && bytes >= 0 && base <= addressLimit && UInt(bytes) <= addressLimit - base,
    "\(name) is \(hex(base)) with room for \(count) elements; expected a range inside the address space")
}

/// Byte addresses end here: user space of every 64-bit system, and far enough from Int.max for sums of sizes.
let addressLimit: UInt = 1 << 57

/// Sums and products of checked counts stay far below Int.max.
let countLimit = Int(Int32.max)

@inline(__always)
func count(_ value: Int32, _ name: StaticString, from low: Int32 = 0) throws(TamisError) -> Int {
  try require(value >= low, "\(name) is \(value); expected at least \(low)")
  return Int(value)
}

@inline(__always)
func count(_ value: Int64, _ name: StaticString, from low: Int64 = 0) throws(TamisError) -> Int {
  try require(
    value >= low && value <= Int64(Int32.max), "\(name) is \(value); expected \(low) to \(Int32.max)")
  return Int(value)
}

@inline(__always)
func flag(_ value: Int32, _ name: StaticString) throws(TamisError) -> Bool {
  try require(value == 0 || value == 1, "\(name) is \(value); expected 0 or 1")
  return value == 1
}

@inline(__always)
func finite(_ value: Float, _ name: StaticString, from low: Float = 0) throws(TamisError) -> Float {
  try require(value.isFinite && value >= low, "\(name) is \(value); expected a finite number of at least \(low)")
  return value
}

@inline(__always)
func choice<E: RawRepresentable>(_ value: Int32, _ name: StaticString, _: E.Type, _ expected: StaticString)
  throws(TamisError) -> E where E.RawValue == Int32
{
  guard let value = E(rawValue: value) else { throw .invalid("\(name) is \(value); expected \(expected)") }
  return value
}

/// A C callback as the closure the domains take; NULL is nil.
@inline(__always)
func progress(_ callback: tamis_progress_fn?, _ user: UnsafeMutableRawPointer?) -> Progress? {
  guard let callback else { return nil }
  return { done in callback(done, user) != 0 }
}

func hex(_ address: UInt) -> String { "0x" + String(address, radix: 16) }
