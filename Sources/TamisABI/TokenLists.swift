import CTamis
import Tamis

/// A tamis_token_lists argument, checked; the memory stays the caller's.
func tokenLists(_ pointer: UnsafePointer<tamis_token_lists>?, _ name: StaticString) throws(TamisError) -> TokenLists {
  let raw = try need(pointer, name).pointee
  func number(_ value: Int64, _ field: StaticString) throws(TamisError) -> Int {
    try require(
      value >= 0 && value <= Int64(countLimit), "\(name)->\(field) is \(value); expected 0 to \(countLimit)")
    return Int(value)
  }
  func list<T>(_ pointer: UnsafePointer<T>?, _ count: Int, _ field: StaticString) throws(TamisError) {
    if count == 0 { return }
    let base = UInt(bitPattern: pointer)
    try require(pointer != nil, "\(name)->\(field) is NULL; expected \(count) elements")
    try require(
      base % UInt(MemoryLayout<T>.alignment) == 0,
      "\(name)->\(field) is \(hex(base)); expected an address aligned to \(MemoryLayout<T>.alignment) bytes")
    try require(
      base <= addressLimit && UInt(count * MemoryLayout<T>.stride) <= addressLimit - base,
      "\(name)->\(field) is \(hex(base)) with \(count) elements; expected a range inside the address space")
  }
  let sequences = try number(raw.count, "count")
  if let starts = raw.starts {
    try require(raw.lengths == nil, "\(name)->lengths is set; expected NULL with starts")
    try require(raw.width == 0, "\(name)->width is \(raw.width); expected 0 with starts")
    try list(starts, sequences + 1, "starts")
    try require(
      starts[0] >= 0 && starts[0] <= Int64(countLimit), "\(name)->starts[0] is \(starts[0]); expected 0 to \(countLimit)")
    for i in 0..<sequences {
      try require(
        starts[i + 1] >= starts[i] && starts[i + 1] <= Int64(countLimit),
        "\(name)->starts[\(i + 1)] is \(starts[i + 1]) after \(starts[i]); expected ascending offsets up to \(countLimit)")
    }
    try list(raw.ids, Int(starts[sequences]), "ids")
    return TokenLists(ids: raw.ids, starts: starts, count: sequences)
  }
  let width = try number(raw.width, "width")
  let total = width * sequences
  try require(total <= countLimit, "\(name) is [\(sequences), \(width)]; expected at most \(countLimit) tokens")
  try list(raw.ids, total, "ids")
  if let lengths = raw.lengths {
    try list(lengths, sequences, "lengths")
    for i in 0..<sequences {
      try require(
        lengths[i] >= 0 && lengths[i] <= Int64(width), "\(name)->lengths[\(i)] is \(lengths[i]); expected 0 to \(width)")
    }
  }
  return TokenLists(ids: raw.ids, lengths: raw.lengths, count: sequences, width: width)
}

/// Hypotheses and what they are compared with.
func scoredBatch(
  _ hypotheses: UnsafePointer<tamis_token_lists>?, _ references: UnsafePointer<tamis_token_lists>?,
  _ referenceStarts: UnsafePointer<Int64>?, _ candidates: Int64
) throws(TamisError) -> ScoredBatch {
  let hypotheses = try tokenLists(hypotheses, "hypotheses")
  let references = try tokenLists(references, "references")
  let candidates = try count(candidates, "candidates", from: 1)
  if referenceStarts != nil { _ = try array(referenceStarts, hypotheses.count / candidates + 1, "reference_starts") }
  return try ScoredBatch(hypotheses, references, referenceStarts: referenceStarts, candidates: candidates)
}
