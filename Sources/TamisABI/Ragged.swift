import CTamis
import Tamis

/// A tamis_ragged argument, checked and copied: token ids are a thousandth of the work that is done on them.
struct RaggedArgument {
  let tokens: RaggedTokens
  let types: [Int32]?
  /// Byte addresses of its arrays, by their names.
  private let memory: [(name: StaticString, bytes: Range<UInt>)]

  init(_ pointer: UnsafePointer<tamis_ragged>?) throws(TamisError) {
    let raw = try need(pointer, "tokens").pointee
    let sequences = try count(raw.sequences, "tokens->sequences", from: 1)
    let starts = try list(raw.starts, sequences + 1, "tokens->starts")
    try Self.requireAscending(starts)
    let total = Int(starts[sequences])
    let ids = total > 0 ? try list(raw.ids, total, "tokens->ids") : nil
    let types = raw.types != nil && total > 0 ? try list(raw.types, total, "tokens->types") : nil
    tokens = RaggedTokens(ids: ids.map { Array($0) } ?? [], starts: starts.map { Int($0) })
    self.types = types.map { Array($0) }
    var memory: [(name: StaticString, bytes: Range<UInt>)] = [("tokens->starts", extent(starts))]
    if let ids { memory.append(("tokens->ids", extent(ids))) }
    if let types { memory.append(("tokens->types", extent(types))) }
    self.memory = memory
  }

  private static func requireAscending(_ starts: UnsafeBufferPointer<Int64>) throws(TamisError) {
    try require(starts[0] == 0, "tokens->starts[0] is \(starts[0]); expected 0")
    for s in 1..<starts.count {
      try require(
        starts[s] >= starts[s - 1] && starts[s] <= Int64(countLimit),
        "tokens->starts[\(s)] is \(starts[s]) after \(starts[s - 1]); expected ascending offsets up to \(countLimit)")
    }
  }

  /// `out`, f32 [rows, width] without gaps and apart from the inputs.
  func output(
    _ pointer: UnsafePointer<tamis_tensor>?, rows: Int, width: Int, _ meaning: StaticString
  ) throws(TamisError) -> UnsafeMutablePointer<Float> {
    let out = try tensor(pointer, "out", TensorRule(dtypes: .f32, ndim: 2...2, contiguousRows: true, output: true))
    try require(
      out.view.shape[0] == rows && out.view.shape[1] == width,
      "out is \(out.view.dims); expected [\(rows), \(width)]: \(meaning)")
    try require(
      out.view.stride[0] == width || rows == 1,
      "out->stride[0] is \(out.view.stride[0]); expected \(width): rows one after another")
    for (name, bytes) in memory {
      try require(!out.bytes.overlaps(bytes), "out overlaps \(name); expected separate memory")
    }
    return out.view.data.assumingMemoryBound(to: Float.self)
  }
}

private func list<T>(_ pointer: UnsafePointer<T>?, _ n: Int, _ name: StaticString) throws(TamisError) -> UnsafeBufferPointer<T>
{
  let pointer = try need(pointer, name)
  try requireExtent(pointer, n, name)
  return UnsafeBufferPointer(start: pointer, count: n)
}

private func extent<T>(_ list: UnsafeBufferPointer<T>) -> Range<UInt> {
  let base = UInt(bitPattern: list.baseAddress)
  return base..<(base + UInt(list.count * MemoryLayout<T>.stride))
}
