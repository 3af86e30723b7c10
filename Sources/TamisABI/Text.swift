// Texts and spans of the C API to and from Swift.
import CTamis
import Tamis

/// Bytes that a caller counts, a text or anything else; NULL only where there are none.
func bytes(
  _ pointer: UnsafeRawPointer?, _ count: Int, _ name: StaticString, limit: Int = countLimit
) throws(TamisError) -> UnsafeBufferPointer<UInt8> {
  try require(count >= 0 && count <= limit, "\(name) has \(UInt(bitPattern: count)) bytes; expected at most \(limit)")
  return try array(pointer?.assumingMemoryBound(to: UInt8.self), count, name)
}

/// A text whose length is an argument of its own.
func text(_ pointer: UnsafePointer<CChar>?, _ length: Int, _ name: StaticString, _ lengthName: StaticString) throws(TamisError)
  -> UnsafeBufferPointer<UInt8>
{
  try require(
    length >= 0 && length <= countLimit, "\(lengthName) is \(UInt(bitPattern: length)); expected at most \(countLimit)")
  return try bytes(UnsafeRawPointer(pointer), length, name)
}

/// An array argument; NULL only when it is empty.
func array<T>(_ pointer: UnsafePointer<T>?, _ count: Int, _ name: StaticString) throws(TamisError) -> UnsafeBufferPointer<T> {
  if count == 0 { return UnsafeBufferPointer(start: nil, count: 0) }
  let pointer = try need(pointer, name)
  try requireExtent(pointer, count, name)
  return UnsafeBufferPointer(start: pointer, count: count)
}

/// Room for `count` elements; NULL only when there are none.
func room<T>(_ pointer: UnsafeMutablePointer<T>?, _ count: Int, _ name: StaticString) throws(TamisError)
  -> UnsafeMutableBufferPointer<T>
{
  UnsafeMutableBufferPointer(mutating: try array(UnsafePointer(pointer), count, name))
}

/// Copies into room for at least as many. An empty room may have no address, which `update` would not take.
func fill<T>(_ room: UnsafeMutableBufferPointer<T>, _ values: [T]) {
  for i in 0..<values.count { room[i] = values[i] }
}

/// Spans of a caller, inside 0 ... 2^31 - 1.
func spans(_ pointer: UnsafePointer<tamis_span>?, _ count: Int, _ name: StaticString) throws(TamisError) -> [TextSpan] {
  let raw = try array(pointer, count, name)
  var spans: [TextSpan] = []
  spans.reserveCapacity(count)
  for i in 0..<count {
    let (start, end) = (raw[i].start, raw[i].end)
    try require(
      start >= 0 && start <= end && end <= Int64(Int32.max),
      "\(name)[\(i)] is [\(start), \(end)); expected 0 <= start <= end <= \(Int32.max)")
    spans.append(TextSpan(start: Int32(start), end: Int32(end)))
  }
  return spans
}

/// Writes what a call found: the number always, the rest where there is room for all of it.
func write(
  _ found: [TextSpan], to spans: UnsafeMutablePointer<tamis_span>?, _ capacity: Int64, _ count: UnsafeMutablePointer<Int64>
) throws(TamisError) {
  guard capacity >= Int64(found.count) else {
    count.pointee = Int64(found.count)
    throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(found.count)")
  }
  let room = try room(spans, found.count, "spans")
  for (i, span) in found.enumerated() { room[i] = tamis_span(start: Int64(span.start), end: Int64(span.end)) }
  count.pointee = Int64(found.count)
}

/// Writes a selection of at most as many indices as the header gives room for.
func write(
  _ selection: [Int32], to indices: UnsafeMutablePointer<Int32>?, _ count: UnsafeMutablePointer<Int64>
) throws(TamisError) {
  let room = try room(indices, selection.count, "indices")
  fill(room, selection)
  count.pointee = Int64(selection.count)
}
