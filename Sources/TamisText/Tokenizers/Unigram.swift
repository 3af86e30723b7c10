import TamisCore

/// Best path over positions, for one pre-token.
final class LatticeScratch {
  struct Node {
    var score: Double
    var start: Int32
    var id: Int32
  }
  let capacity: Int
  let nodes: UnsafeMutablePointer<Node>
  /// Ends of the path's tokens, last first.
  let path: UnsafeMutablePointer<Int32>

  /// - capacity: positions that there is room for.
  init(capacity: Int) {
    self.capacity = capacity
    nodes = .allocate(capacity: capacity)
    path = .allocate(capacity: capacity)
  }

  deinit {
    nodes.deallocate()
    path.deallocate()
  }

  func clear(_ positions: Int) { nodes.update(repeating: Node(score: 0, start: -1, id: -1), count: positions) }
}

/// Unigram language model (arXiv 1804.10959): the segmentation of the largest sum of piece scores, by Viterbi's algorithm.
///
/// Ties: a path replaces another only when it is strictly better, starts ascending and shorter pieces first, so of equal
/// paths to a position the one whose last piece is longest stays.
final class Unigram: TokenModel, @unchecked Sendable {
  struct Options {
    var unknownId: Int32?
    /// Spells an unknown run by its bytes, <0xNN>, where the vocabulary has them all.
    var byteFallback = false
    /// An unknown run is never looked up whole, as SentencePiece has it.
    var sentencePiece = false
    /// No piece goes on after a word: slices are cut before each U+2581 that follows another character, and words are remembered.
    var cutsWords = false
    /// Bytes of a long text that are looked at together; changes nothing but memory.
    var part = 1 << 16
  }

  let vocabulary: Vocabulary
  let options: Options
  var unknownId: Int32? { options.unknownId }
  private let trie: DoubleArray
  private let scores: UnsafeMutablePointer<Double>
  private let unknownScore: Double
  private let byteIds: [Int32]
  /// Bytes of the longest piece or scalar.
  private let longest: Int

  /// - Parameters:
  ///   - scores: one per id.
  ///   - inText: ids that text may be cut into; nil: all.
  ///   - unknownScore: cost of a scalar without a piece; the least score - 10.
  init(_ vocabulary: Vocabulary, scores: [Double], inText: ((Int) -> Bool)? = nil, unknownScore: Double, _ options: Options) {
    self.vocabulary = vocabulary
    self.options = options
    self.unknownScore = unknownScore
    let copy = UnsafeMutablePointer<Double>.allocate(capacity: scores.count)
    copy.initialize(from: scores, count: scores.count)
    self.scores = copy
    byteIds = ByteFallback.ids(in: vocabulary)
    (trie, longest) = vocabulary.withPieces { piece in
      var keys: [(bytes: UnsafeBufferPointer<UInt8>, value: Int32)] = []
      keys.reserveCapacity(vocabulary.count)
      for id in 0..<vocabulary.size where inText?(id) ?? true {
        // Of a piece that stands twice the later id counts.
        guard let bytes = piece(id), !bytes.isEmpty, vocabulary.id(bytes) == Int32(id) else { continue }
        keys.append((bytes, Int32(id)))
      }
      return (DoubleArray(keys), keys.reduce(4) { max($0, $1.bytes.count) })
    }
  }

  deinit { scores.deallocate() }

  @_optimize(speed)
  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError) {
    if !options.cutsWords {
      try eachWord(text, count: count, slices, into: tokens, scratch.cache) { (start, end) throws(TamisError) in
        try segment(text, start, end, into: tokens, scratch)
      }
      return
    }
    for slice in slices {
      let end = Int(slice.end)
      var start = Int(slice.start)
      while start < end {
        var next = start
        while next < end, isSpace(text, next, end) { next &+= 3 }
        while next < end, !isSpace(text, next, end) { next &+= 1 }
        var word = TextSlice(start: Int32(truncatingIfNeeded: start), end: Int32(truncatingIfNeeded: next))
        try withUnsafePointer(to: &word) { (word) throws(TamisError) in
          let one = UnsafeBufferPointer(start: word, count: 1)
          try eachWord(text, count: count, one, into: tokens, scratch.cache) { (start, end) throws(TamisError) in
            try segment(text, start, end, into: tokens, scratch)
          }
        }
        start = next
      }
    }
  }

  /// U+2581
  @inline(__always)
  private func isSpace(_ text: UnsafePointer<UInt8>, _ at: Int, _ end: Int) -> Bool {
    text[at] == 0xe2 && at &+ 2 < end && text[at &+ 1] == 0x96 && text[at &+ 2] == 0x81
  }

  /// A long text goes in parts: of what the lattice holds, as much is emitted as every continuation agrees on, and the next part
  /// begins there. Scores go on, as their rounding is a part of the result.
  @_optimize(speed)
  private func segment(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, into tokens: TokenBuffer, _ scratch: ModelScratch
  ) throws(TamisError) {
    var first = start
    var score = 0.0
    var room = max(options.part, 4 * longest)
    while first < end {
      let n = end - first
      let isLast = n <= room
      let lattice = scratch.lattice(room: min(n, room) + 1)
      lattice.nodes[0].score = score
      let stop = isLast ? n : room - longest
      try walk(text + first, n, upTo: stop, lattice.nodes)
      let cut = isLast ? n : agreed(from: stop, lattice.nodes)
      if cut == 0 {
        room *= 2
        continue
      }
      emit(text, first, cut, into: tokens, lattice)
      score = lattice.nodes[cut].score
      first += cut
    }
  }

  /// Extends the paths by the pieces that begin before `stop`; `nodes` has room for the longest of them.
  @inline(never)
  @_optimize(speed)
  private func walk(
    _ bytes: UnsafePointer<UInt8>, _ n: Int, upTo stop: Int, _ nodes: UnsafeMutablePointer<LatticeScratch.Node>
  ) throws(TamisError) {
    let units = UnsafePointer(trie.units)
    let rootBase = trie.rootBase
    var at = 0
    while at < stop {
      let here = nodes[at].score
      let width = UTF8Text.length(lead: bytes[at])
      var hasScalar = false
      var base = rootBase
      var i = at
      while i < n {
        guard let id = DoubleArray.step(units, &base, bytes[i]) else { break }
        i &+= 1
        guard id >= 0 else { continue }
        if i &- at == width { hasScalar = true }
        let score = scores[Int(id)] + here
        if nodes[i].start < 0 || score > nodes[i].score {
          nodes[i] = LatticeScratch.Node(score: score, start: Int32(truncatingIfNeeded: at), id: id)
        }
      }
      if !hasScalar {
        guard let unknown = options.unknownId else {
          throw TamisError(.unsupported, "text: a character has no piece, and the vocabulary no unknown token")
        }
        let score = unknownScore + here
        let to = at &+ width
        if nodes[to].start < 0 || score > nodes[to].score {
          nodes[to] = LatticeScratch.Node(score: score, start: Int32(truncatingIfNeeded: at), id: unknown)
        }
      }
      at &+= width
    }
  }

  /// The last position that the best paths to all the ends of pieces that reach `stop` or beyond go through, and no unknown run
  /// does: whatever follows, the best path of the text goes through it. 0: there is none.
  private func agreed(from stop: Int, _ nodes: UnsafeMutablePointer<LatticeScratch.Node>) -> Int {
    var open = Set((stop..<stop + longest).filter { nodes[$0].start >= 0 })
    while open.count > 1, let last = open.max() {
      open.remove(last)
      open.insert(Int(nodes[last].start))
    }
    var cut = open.first ?? 0
    while cut > 0, nodes[cut].id == options.unknownId { cut = Int(nodes[cut].start) }
    return cut
  }

  /// The path from the end back, then its tokens in order; neighbouring unknowns are one.
  @_optimize(speed)
  private func emit(
    _ text: UnsafePointer<UInt8>, _ start: Int, _ n: Int, into tokens: TokenBuffer, _ lattice: LatticeScratch
  ) {
    let nodes = lattice.nodes
    let path = lattice.path
    let unknown = options.unknownId
    var steps = 0
    var end = n
    while end > 0 {
      path[steps] = Int32(truncatingIfNeeded: end)
      steps &+= 1
      end = Int(nodes[end].start)
    }
    var from = 0
    while steps > 0 {
      steps &-= 1
      var to = Int(path[steps])
      let id = nodes[to].id
      if id == unknown {
        while steps > 0, nodes[Int(path[steps &- 1])].id == unknown {
          steps &-= 1
          to = Int(path[steps])
        }
        emitUnknown(text, start &+ from, start &+ to, into: tokens)
      } else {
        tokens.append(id, start &+ from, start &+ to)
      }
      from = to
    }
  }

  private func emitUnknown(_ text: UnsafePointer<UInt8>, _ start: Int, _ end: Int, into tokens: TokenBuffer) {
    if !options.sentencePiece, let id = vocabulary.id(text + start, end - start) {
      tokens.append(id, start, end)
      return
    }
    if options.byteFallback, (start..<end).allSatisfy({ byteIds[Int(text[$0])] >= 0 }) {
      for i in start..<end { tokens.append(byteIds[Int(text[i])], start, end) }
      return
    }
    tokens.append(options.unknownId ?? -1, start, end)
  }
}
