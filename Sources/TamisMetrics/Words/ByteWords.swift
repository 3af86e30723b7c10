/// The words of a text in one pass over its bytes, where the tokenizers look at ASCII only: the same words as they make of code
/// points. What each byte is comes from a table.
struct ByteWords {
  private static let space: UInt8 = 1
  /// A mark that always stands alone (`MTEvalRules.isAlone`), the space apart.
  private static let alone: UInt8 = 2
  private static let digit: UInt8 = 4
  /// . and ,
  private static let mark: UInt8 = 8
  private static let letter: UInt8 = 16
  /// `string.punctuation`
  private static let punctuation: UInt8 = 32

  private static let classes: [UInt8] = (0..<256).map { byte in
    let c = UInt32(byte)
    if c >= 0x80 { return 0 }  // part of a word
    if PythonText.isSpace(c) { return space }
    var found: UInt8 = MTEvalRules.isAlone(c) ? alone : 0
    if c &- 0x30 < 10 { found |= digit }
    if c == 0x2e || c == 0x2c { found |= mark }
    if (c | 0x20) &- 0x61 < 26 { found |= letter }
    if PythonText.isASCIIPunctuation(c) { found |= punctuation }
    return found
  }

  private let classes = Self.classes

  static func isASCII(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    guard let base = bytes.baseAddress else { return true }
    var any: UInt64 = 0
    var i = 0
    while i &+ 8 <= bytes.count {
      any |= UnsafeRawPointer(base + i).loadUnaligned(as: UInt64.self)
      i = i &+ 8
    }
    while i < bytes.count {
      any |= UInt64(base[i])
      i = i &+ 1
    }
    return any & 0x8080_8080_8080_8080 == 0
  }

  /// Well-formed UTF-8 whose white space is ASCII: bytes from 0x80 on are what words are made of.
  static func isPlain(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    var isPlain = true
    PythonText.scan(bytes) { c, isWellFormed in
      if c >= 0x80 { isPlain = isPlain && isWellFormed && !PythonText.isSpace(c) }
    }
    return isPlain
  }

  /// Whether lower case makes a letter of ASCII of something else: U+0130, U+212A.
  static func hasHiddenLetters(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    for i in 1..<max(1, bytes.count) {
      if (bytes[i] == 0xb0 && bytes[i &- 1] == 0xc4) || (bytes[i] == 0xaa && bytes[i &- 1] == 0x84) { return true }
    }
    return false
  }

  static func lowercase(_ bytes: UnsafeBufferPointer<UInt8>, into out: UnsafeMutablePointer<UInt8>) {
    for i in 0..<bytes.count {
      let c = bytes[i]
      out[i] = c &- 0x41 < 26 ? c | 0x20 : c
    }
  }

  /// Whether mteval-v13a may change the text before it cuts it: <skipped>, entities, ends of lines.
  static func needsCleaning(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
    var after: UInt8 = 0
    var found = false
    for c in bytes.reversed() {
      if c == 0x0a || (c == 0x3c && after == 0x73) || (c == 0x26 && after &- 0x61 < 26) { found = true }
      after = c
    }
    return found
  }

  /// Runs without white space.
  @inline(__always)
  func split(_ bytes: UnsafeBufferPointer<UInt8>, _ word: (Int, Int) -> Void) {
    classes.withUnsafeBufferPointer { classes in
      var i = 0
      while i < bytes.count {
        while i < bytes.count, classes[Int(bytes[i])] & Self.space != 0 { i = i &+ 1 }
        let start = i
        while i < bytes.count, classes[Int(bytes[i])] & Self.space == 0 { i = i &+ 1 }
        if start < i { word(start, i) }
      }
    }
  }

  /// The same with punctuation at one end apart: chrF++.
  @inline(__always)
  func splitPunctuation(_ bytes: UnsafeBufferPointer<UInt8>, _ word: (Int, Int) -> Void) {
    split(bytes) { start, end in
      if end &- start > 1 && classes[Int(bytes[end &- 1])] & Self.punctuation != 0 {
        word(start, end &- 1)
        word(end &- 1, end)
      } else if end &- start > 1 && classes[Int(bytes[start])] & Self.punctuation != 0 {
        word(start, start &+ 1)
        word(start &+ 1, end)
      } else {
        word(start, end)
      }
    }
  }

  /// Runs of letters and digits: ROUGE.
  @inline(__always)
  func splitLetters(_ bytes: UnsafeBufferPointer<UInt8>, _ word: (Int, Int) -> Void) {
    classes.withUnsafeBufferPointer { classes in
      let kept = Self.letter | Self.digit
      var i = 0
      while i < bytes.count {
        while i < bytes.count, classes[Int(bytes[i])] & kept == 0 { i = i &+ 1 }
        let start = i
        while i < bytes.count, classes[Int(bytes[i])] & kept != 0 { i = i &+ 1 }
        if start < i { word(start, i) }
      }
    }
  }

  /// mteval-v13a of a text that needs no cleaning. Its substitutions put spaces only, and what they come to is
  ///
  ///   a mark that stands alone    a word
  ///   . or ,                      a word, unless what is before it is a digit, or such a mark that became a word by what is
  ///                               before it, and a digit follows
  ///   - after a digit             a word
  @inline(__always)
  func split13a(_ bytes: UnsafeBufferPointer<UInt8>, _ word: (Int, Int) -> Void) {
    classes.withUnsafeBufferPointer { classes in
      var start = 0
      var i = 0
      var before = Self.space
      // Whether the mark before was taken with what is before it; the next one is not then.
      var isTaken = false
      while i < bytes.count {
        let byte = bytes[i]
        let kind = classes[Int(byte)]
        if kind & (Self.space | Self.alone | Self.mark) == 0 && !(byte == 0x2d && before & Self.digit != 0) {
          // Inside a word.
          isTaken = false
        } else if kind & Self.space != 0 {
          if start < i { word(start, i) }
          start = i &+ 1
          isTaken = false
        } else {
          var isApart = true
          if kind & Self.mark != 0 {
            isTaken = before & Self.digit == 0 && !isTaken
            if !isTaken {
              isApart = i &+ 1 == bytes.count || classes[Int(bytes[i &+ 1])] & Self.digit == 0
            }
          } else {
            isTaken = false
          }
          if isApart {
            if start < i { word(start, i) }
            word(i, i &+ 1)
            start = i &+ 1
          }
        }
        before = kind
        i = i &+ 1
      }
      if start < i { word(start, i) }
    }
  }
}
