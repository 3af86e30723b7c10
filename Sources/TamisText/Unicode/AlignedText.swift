public import TamisCore

/// UTF-8 text on its way through a normaliser, with the bytes of the original that each of its bytes came from.
///
/// A byte of a normalised scalar came from the whole of the original scalars that it stands for: [starts[i], ends[i]). While
/// nothing has changed both arrays are empty and byte i came from the scalar around origin + i, so plain text costs no map.
/// Always valid UTF-8: what a caller gave that was not is U+FFFD, once per maximal ill-formed subpart, when it comes here.
public struct AlignedText: Sendable {
  public var bytes: [UInt8]
  /// Offset in the original text of byte 0 while the text is unchanged.
  public var origin: Int32
  /// Empty, or one per byte.
  public var starts: [Int32]
  public var ends: [Int32]

  public init(bytes: [UInt8], origin: Int32 = 0) {
    self.bytes = bytes
    self.origin = origin
    starts = []
    ends = []
  }

  public var isUnchanged: Bool { starts.isEmpty }

  /// Places in a text are of 32 bits: no step may make it longer, nor fill the memory.
  static func require(room: Int) throws(TamisError) {
    try TamisCore.require(room <= Int(Int32.max), "text has over \(Int32.max) bytes once normalised")
  }
}
