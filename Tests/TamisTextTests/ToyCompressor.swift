import TamisCore
import TamisDevice
@testable import TamisText

/// A tokenizer small enough to reason about: white space separates, punctuation and Han characters stand alone, and runs of
/// other characters
/// are cut after every `width` of them. An id is a hash of its piece.
final class ToyTokenizer: PieceTokenizer {
  let family: PieceFamily
  let width: Int
  private var pieces: [Int32: [UInt8]] = [:]
  let unknownId: Int32? = 3
  let pieceCount = 1 << 24
  let template: (prefix: [Int32], suffix: [Int32]) = ([1], [2])

  init(_ family: PieceFamily = .wordPiece, width: Int = 4) {
    self.family = family
    self.width = width
  }

  func encode(_ text: UnsafeBufferPointer<UInt8>, _ options: EncodeOptions) throws(TamisError) -> Encoding {
    var encoding = Encoding()
    let reader = ScalarReader(bytes: text)
    var i = 0
    var run = 0
    while i < text.count {
      let scalar = reader.scalar(at: i)
      let kind = ScalarClass(scalar.code)
      if kind == .space || scalar.code == 0 {
        run = 0
        i += scalar.length
        continue
      }
      if kind == .punctuation || kind == .unspaced {
        add(text, i, i + scalar.length, run == 0 && (i == 0 || reader.classBefore(i) == .space), &encoding)
        run = 0
        i += scalar.length
        continue
      }
      let start = i
      var n = 0
      while i < text.count, n < width {
        let next = reader.scalar(at: i)
        let kind = ScalarClass(next.code)
        if kind == .space || kind == .punctuation || kind == .unspaced || next.code == 0 { break }
        i += next.length
        n += 1
      }
      add(text, start, i, run == 0, &encoding)
      run += 1
    }
    return encoding
  }

  private func add(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int, _ begins: Bool, _ encoding: inout Encoding) {
    var piece = Array(text[start..<end])
    let alone = ScalarClass(ScalarReader(bytes: text).scalar(at: start).code) == .punctuation
    switch family {
    case .wordPiece: if !begins && !alone && start > 0 && isRun(text, start) { piece = Array("##".utf8) + piece }
    case .sentencePiece: if begins { piece = PieceFamily.bar + piece }
    }
    encoding.ids.append(id(piece))
    encoding.starts.append(Int32(start))
    encoding.ends.append(Int32(end))
    encoding.words.append(0)
    encoding.types.append(0)
  }

  private func isRun(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Bool {
    let kind = ScalarReader(bytes: text).classBefore(start)
    return kind != .space && kind != .punctuation && kind != .unspaced
  }

  private func id(_ piece: [UInt8]) -> Int32 {
    var hash: UInt32 = 2_166_136_261
    for byte in piece { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    var id = Int32(10 + hash % 16_000_000)
    while let other = pieces[id], other != piece { id = id + 1 }
    pieces[id] = piece
    return id
  }

  func count(_ text: UnsafeBufferPointer<UInt8>, parseSpecialTokens: Bool) throws(TamisError) -> Int {
    try encode(text, EncodeOptions()).ids.count
  }
  func piece(_ id: Int32) -> [UInt8]? { pieces[id] }
  func id(ofPiece piece: [UInt8]) -> Int32? { pieces.first { $0.value == piece }?.key }
  func decode(pieces: [[UInt8]]) -> [UInt8] { Array(pieces.joined(separator: [0x20])) }
  func addingSpecial(_ tokens: [String]) throws(TamisError) -> any PieceTokenizer { self }
}

/// Probabilities from a function of the token's id; counts its calls.
final class ToyScorer: KeepScorer {
  let maxTokens: Int
  let vocabularySize = 1 << 24
  var calls = 0
  var longest = 0
  let probability: (Int32) -> Float

  init(maxTokens: Int = 512, _ probability: @escaping (Int32) -> Float = ToyScorer.mixed) {
    self.maxTokens = maxTokens
    self.probability = probability
  }

  static let mixed: @Sendable (Int32) -> Float = { id in
    Float((UInt32(bitPattern: id) &* 2_654_435_761) >> 8) / 16_777_216
  }

  func keepProbabilities(_ tokens: RaggedTokens, progress: Progress?) throws(TamisError) -> [Float] {
    calls += 1
    for s in 0..<tokens.sequences { longest = max(longest, tokens[s].count) }
    if let progress, !progress(0.5) { throw TamisError(.cancelled, "cancelled") }
    return tokens.ids.map(probability)
  }
}

func toyCompressor(
  width: Int = 4, counter: (any PieceTokenizer)? = nil, scorer: ToyScorer = ToyScorer(), chunk: Int = 0, batch: Int = 50
) throws(TamisError) -> PromptCompressor {
  try PromptCompressor(
    scorer: scorer, tokenizer: ToyTokenizer(width: width), counter: counter, chunkTokens: chunk, batchChunks: batch)
}

extension PromptCompressor {
  /// Bytes in, bytes out.
  func run(_ texts: [[UInt8]], _ change: (inout CompressionOptions) -> Void = { _ in }) throws(TamisError) -> Compression {
    try run(texts, progress: nil, change)
  }

  func run(_ texts: [[UInt8]], progress: Progress?, _ change: (inout CompressionOptions) -> Void = { _ in })
    throws(TamisError) -> Compression
  {
    var options = CompressionOptions()
    change(&options)
    let buffers = texts.map { text in
      let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: text.count)
      _ = copy.initialize(from: text)
      return copy
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    return try compress(buffers.map { UnsafeBufferPointer($0) }, options, progress: progress)
  }

  func run(_ text: String, _ change: (inout CompressionOptions) -> Void = { _ in }) throws(TamisError) -> String {
    String(decoding: try run([Array(text.utf8)], change).text, as: UTF8.self)
  }

  /// The words of a text.
  func words(_ text: String) throws(TamisError) -> [String] {
    let bytes = Array(text.utf8)
    return try run([bytes]).contexts[0].words.map { String(decoding: bytes[Int($0.start)..<Int($0.end)], as: UTF8.self) }
  }
}

/// Words of one to nine letters with punctuation, numbers and lines, the same for every run.
func babble(_ count: Int, seed: UInt64 = 1) -> String {
  var state = seed
  func next(_ n: UInt64) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % n)
  }
  var text = ""
  for i in 0..<count {
    if next(12) == 0 {
      text += "\(next(5000))"
    } else {
      for _ in 0...next(8) { text.unicodeScalars.append(Unicode.Scalar(UInt8(97 + next(26)))) }
    }
    text += next(9) == 0 ? "." : next(11) == 0 ? "," : ""
    text += i % 40 == 39 ? "\n" : next(30) == 0 ? "  " : " "
  }
  return text
}
