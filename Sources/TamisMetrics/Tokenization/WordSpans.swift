/// Where the words of a text stand, runs of bytes without white space as Python's str.split has them, and how many code points
/// it has; each maximal ill-formed part of it is one.
struct WordSpans {
  private(set) var starts: [Int] = []
  private(set) var ends: [Int] = []
  private(set) var codePoints = 0

  var count: Int { starts.count }

  @_optimize(speed)
  init(_ text: UnsafeBufferPointer<UInt8>) {
    var i = 0
    var isInside = false
    while i < text.count {
      let (c, width, _) = PythonText.scalar(text, i)
      codePoints += 1
      let isSpace = PythonText.isSpace(c)
      if isInside == isSpace {
        if isInside { ends.append(i) } else { starts.append(i) }
        isInside.toggle()
      }
      i += width
    }
    if isInside { ends.append(text.count) }
  }

  /// The word that holds the first byte of [start, end) that is no white space.
  func owner(start: Int, end: Int) -> Int? {
    // The first word that ends after `start`.
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if ends[middle] > start { high = middle } else { low = middle + 1 }
    }
    return low < count && max(starts[low], start) < end ? low : nil
  }
}
