import CShims

/// A new text made from an old one in one pass from left to right, with the map to the original kept.
///
/// Alignment follows the rules of the `tokenizers` package, because its offsets are what ours are compared with: a scalar that
/// replaces another takes that one's original bytes; an inserted scalar takes those of the scalar before it in the old text
/// (none, at the very start); what is dropped leaves no trace.
struct TextRewrite: ~Copyable {
  /// The old text, whole.
  let source: UnsafeBufferPointer<UInt8>
  private let sourceStarts: UnsafePointer<Int32>?
  private let sourceEnds: UnsafePointer<Int32>?
  private let origin: Int32
  /// Bytes of the old text that are dealt with.
  private(set) var at = 0

  /// Bytes of the new text so far.
  private(set) var count = 0
  private var capacity: Int
  private var bytes: UnsafeMutablePointer<UInt8>
  private var starts: UnsafeMutablePointer<Int32>
  private var ends: UnsafeMutablePointer<Int32>
  /// Whether the three have outgrown the memory of the arrays that they began in.
  fileprivate private(set) var isMoved = false

  fileprivate init(
    source: UnsafeBufferPointer<UInt8>, starts sourceStarts: UnsafePointer<Int32>?, ends sourceEnds: UnsafePointer<Int32>?,
    origin: Int32, capacity: Int, bytes: UnsafeMutablePointer<UInt8>, starts: UnsafeMutablePointer<Int32>,
    ends: UnsafeMutablePointer<Int32>
  ) {
    self.source = source
    self.sourceStarts = sourceStarts
    self.sourceEnds = sourceEnds
    self.origin = origin
    self.capacity = capacity
    self.bytes = bytes
    self.starts = starts
    self.ends = ends
  }

  deinit {
    if !isMoved { return }
    bytes.deallocate()
    starts.deallocate()
    ends.deallocate()
  }

  /// Original bytes that the byte at `i` of the old text came from.
  @inline(__always)
  func alignment(_ i: Int) -> (start: Int32, end: Int32) {
    if let sourceStarts, let sourceEnds { return (sourceStarts[i], sourceEnds[i]) }
    var first = i
    while UTF8Text.isContinuation(source[first]) { first &-= 1 }
    return (origin &+ Int32(first), origin &+ Int32(first &+ UTF8Text.length(lead: source[first])))
  }

  /// Original bytes of the next scalar of the old text, `length` bytes of it.
  @inline(__always)
  func place(_ length: Int) -> (start: Int32, end: Int32) {
    if let sourceStarts, let sourceEnds { return (sourceStarts[at], sourceEnds[at]) }
    let first = origin &+ Int32(truncatingIfNeeded: at)
    return (first, first &+ Int32(truncatingIfNeeded: length))
  }

  @inline(__always)
  private mutating func reserve(_ extra: Int) {
    if count &+ extra > capacity { grow(extra) }
  }

  @inline(never)
  private mutating func grow(_ extra: Int) {
    let room = capacity &* 2 &+ extra
    func moved<T: BitwiseCopyable>(_ old: UnsafeMutablePointer<T>) -> UnsafeMutablePointer<T> {
      let new = UnsafeMutablePointer<T>.allocate(capacity: room)
      new.update(from: old, count: count)
      if isMoved { old.deallocate() }
      return new
    }
    bytes = moved(bytes)
    starts = moved(starts)
    ends = moved(ends)
    capacity = room
    isMoved = true
  }

  /// Takes the old text up to `end` (a scalar border) as it is.
  @inline(__always)
  mutating func copy(to end: Int) {
    if end > at { copyRun(to: end) }
  }

  @_optimize(speed)
  private mutating func copyRun(to end: Int) {
    let length = end &- at
    reserve(length)
    (bytes + count).update(from: source.baseAddress! + at, count: length)
    if let sourceStarts, let sourceEnds {
      (starts + count).update(from: sourceStarts + at, count: length)
      (ends + count).update(from: sourceEnds + at, count: length)
    } else {
      let starts = starts + count
      let ends = ends + count
      var i = 0
      while i < length {
        let step = UTF8Text.length(lead: source[at &+ i])
        let first = origin &+ Int32(truncatingIfNeeded: at &+ i)
        for j in i..<i &+ step {
          starts[j] = first
          ends[j] = first &+ Int32(truncatingIfNeeded: step)
        }
        i &+= step
      }
    }
    count &+= length
    at = end
  }

  /// Replaces the next scalar of the old text, `length` bytes of it.
  @inline(__always)
  mutating func replace(_ length: Int, with scalar: UInt32) {
    write(scalar, aligned: place(length))
    at &+= length
  }

  /// Adds a scalar that nothing of the old text stands for.
  @inline(__always)
  mutating func insert(_ scalar: UInt32) { write(scalar, aligned: at == 0 ? (origin, origin) : alignment(at &- 1)) }

  /// Adds UTF-8 bytes that nothing of the old text stands for.
  @inline(__always)
  mutating func insert(_ text: UnsafeBufferPointer<UInt8>) {
    write(text, aligned: at == 0 ? (origin, origin) : alignment(at &- 1))
  }

  /// Adds a scalar with the original bytes of another place.
  @inline(__always)
  mutating func write(_ scalar: UInt32, aligned: (start: Int32, end: Int32)) {
    reserve(4)
    let first = count
    let length = UTF8Text.write(scalar, to: bytes + first)
    let starts = starts + first
    let ends = ends + first
    for i in 0..<length {
      starts[i] = aligned.start
      ends[i] = aligned.end
    }
    count = first &+ length
  }

  /// Adds UTF-8 bytes with the original bytes of another place.
  @inline(__always)
  mutating func write(_ text: UnsafeBufferPointer<UInt8>, aligned: (start: Int32, end: Int32)) {
    reserve(text.count)
    let first = count
    for i in 0..<text.count {
      bytes[first &+ i] = text[i]
      starts[first &+ i] = aligned.start
      ends[first &+ i] = aligned.end
    }
    count = first &+ text.count
  }

  /// Skips bytes of the old text.
  @inline(__always)
  mutating func drop(_ length: Int) { at &+= length }

  /// Skips whole scalars of the old text, as many as there are.
  @inline(__always)
  mutating func drop(scalars: Int) {
    var left = scalars
    while left > 0, at < source.count {
      at &+= UTF8Text.length(lead: source[at])
      left &-= 1
    }
  }

  /// The step of the `tokenizers` package: 1: inserted; 0: replaces a scalar; -n: replaces one and drops the n behind it.
  @inline(__always)
  mutating func step(_ scalar: UInt32, change: Int32) {
    if change > 0 || at >= source.count {
      insert(scalar)
    } else {
      replace(UTF8Text.length(lead: source[at]), with: scalar)
      if change < 0 { drop(scalars: -Int(change)) }
    }
  }

  fileprivate func store(into text: inout AlignedText) {
    text.bytes = Array(UnsafeBufferPointer(start: bytes, count: count))
    text.starts = Array(UnsafeBufferPointer(start: starts, count: count))
    text.ends = Array(UnsafeBufferPointer(start: ends, count: count))
  }
}

extension AlignedText {
  /// Replaces the text by what `body` writes; whatever of the old text `body` has not dealt with is dropped.
  /// - room: bytes that the new text will hardly exceed.
  @inline(__always)
  mutating func rewrite(room: Int, _ body: (inout TextRewrite) -> Void) {
    let old = self
    var moved: AlignedText?
    var newStarts: [Int32] = []
    var newEnds: [Int32] = []
    old.bytes.withUnsafeBufferPointer { source in
      old.starts.withUnsafeBufferPointer { oldStarts in
        old.ends.withUnsafeBufferPointer { oldEnds in
          bytes = Array(unsafeUninitializedCapacity: room) { bytes, byteCount in
            newStarts = Array(unsafeUninitializedCapacity: room) { starts, startCount in
              newEnds = Array(unsafeUninitializedCapacity: room) { ends, endCount in
                let isMapped = oldStarts.count > 0
                var rewrite = TextRewrite(
                  source: source, starts: isMapped ? oldStarts.baseAddress : nil, ends: isMapped ? oldEnds.baseAddress : nil,
                  origin: old.origin, capacity: room, bytes: bytes.baseAddress!, starts: starts.baseAddress!,
                  ends: ends.baseAddress!)
                body(&rewrite)
                if rewrite.isMoved {
                  var text = old
                  rewrite.store(into: &text)
                  moved = text
                } else {
                  endCount = rewrite.count
                  startCount = rewrite.count
                  byteCount = rewrite.count
                }
              }
            }
          }
        }
      }
    }
    starts = newStarts
    ends = newEnds
    if let moved { self = moved }
  }

  /// Offset in the original text of what the byte at `i` came from; `i` is the first byte of a scalar.
  @inline(__always)
  func originalStart(_ i: Int) -> Int32 { isUnchanged ? origin &+ Int32(truncatingIfNeeded: i) : starts[i] }
}
