import TamisCore

/// llmlingua 0.2.2's words of one chunk and its choice among them (arXiv 2403.12968, section 4; methods as in the package).
/// Its numbers are numpy's: a probability is f32 until it was forced, when it is a Python float, and a list with one Python
/// float is f64.
struct LLMLingua2Words {
  struct Value: Equatable {
    var value: Double
    var isPython: Bool

    static let forced = Value(value: 1, isPython: true)
    static func single(_ p: Float) -> Value { Value(value: Double(p), isPython: false) }
  }

  let family: PieceFamily
  let forceTokens: Set<[UInt8]>
  /// In the caller's order: the forced string and its placeholder.
  let map: [(text: [UInt8], placeholder: [UInt8])]
  let reserveDigits: Bool
  let rule: WordProbability

  struct Chunk {
    var words: [[UInt8]] = []
    var probabilities: [Value] = []
    /// Without the effect of forcing.
    var plain: [Float] = []
    /// Whether a word was raised to 1.
    var forced: [Bool] = []
  }

  /// Joins pieces to words. A first piece that continues a word is an error, as there.
  func merge(_ pieces: [[UInt8]], _ probabilities: [Float]) throws(TamisError) -> Chunk {
    let placeholders = Set(map.map(\.placeholder))
    let starters = forceTokens.union(placeholders)
    let specials = family.specials
    var chunk = Chunk()
    var values: [[Value]] = []
    var plain: [[Float]] = []
    for (piece, p) in zip(pieces, probabilities) {
      if specials.contains(piece) { continue }
      let pure = family.pure(piece)
      if family.begins(piece, starters) {
        let q: Value = starters.contains(pure) ? .forced : .single(p)
        let word = unmapped(piece)
        chunk.words.append(word)
        values.append([reserveDigits && word.hasDecimalDigit ? .forced : q])
        plain.append([p])
      } else {
        guard !chunk.words.isEmpty else {
          throw .invalid("texts: the first piece of a chunk continues a word, where llmlingua raises IndexError")
        }
        chunk.words[chunk.words.count - 1] += pure
        values[values.count - 1].append(reserveDigits && piece.hasDecimalDigit ? .forced : .single(p))
        // the package repeats the first piece's probability here
        plain[plain.count - 1].append(plain[plain.count - 1][0])
      }
    }
    chunk.probabilities = values.map(wordProbability)
    chunk.plain = plain.map { list in rule == .first ? list[0] : sum(list) / Float(list.count) }
    chunk.forced = values.map { $0.contains { $0.isPython } }
    return chunk
  }

  private func wordProbability(_ values: [Value]) -> Value {
    if rule == .first { return values[0] }
    if values.allSatisfy(\.isPython) { return .forced }
    return .single(sum(values.map { Float($0.value) }) / Float(values.count))
  }

  private func sum(_ values: [Float]) -> Float { values.reduce(0, +) }

  private func unmapped(_ piece: [UInt8]) -> [UInt8] {
    map.reduce(piece) { $0.replacing($1.placeholder, with: $1.text) }
  }

  /// Which words stay. `weights`: counted tokens per word.
  func keep(_ chunk: inout Chunk, weights: [Int], reduceRate: Double, dropConsecutive: Bool) throws(TamisError) -> [Bool] {
    if dropConsecutive { try dropRepeats(&chunk, reduceRate) }
    var weighted: [Double] = []
    for (p, n) in zip(chunk.probabilities, weights) { weighted.append(contentsOf: repeatElement(p.value, count: n)) }
    let threshold = try percentile(
      weighted, 100 * reduceRate + 1, single: !zip(chunk.probabilities, weights).contains { $0.isPython && $1 > 0 })
    var labels: [Bool] = []
    var last: [UInt8]?
    for (word, p) in zip(chunk.words, chunk.probabilities) {
      var keeps = p.value > threshold || (threshold == 1 && p.value == threshold)
      if keeps, dropConsecutive, last == word, forceTokens.contains(word) { keeps = false }
      if keeps { last = word }
      labels.append(keeps)
    }
    return labels
  }

  /// A forced token with nothing above the threshold since the same one gets probability 0.
  private func dropRepeats(_ chunk: inout Chunk, _ reduceRate: Double) throws(TamisError) {
    let threshold = try percentile(
      chunk.probabilities.map(\.value), 100 * reduceRate, single: !chunk.probabilities.contains(where: \.isPython))
    var between = false
    var previous: [UInt8]?
    for i in chunk.words.indices {
      if forceTokens.contains(chunk.words[i]) {
        if between {
          between = false
        } else if chunk.words[i] == previous {
          chunk.probabilities[i] = Value(value: 0, isPython: true)
        }
        previous = chunk.words[i]
      } else if chunk.probabilities[i].value > threshold {
        between = true
      }
    }
  }

  private func percentile(_ values: [Double], _ q: Double, single: Bool) throws(TamisError) -> Double {
    guard !values.isEmpty else {
      throw .invalid("texts: a chunk has no words the encoder knows, where llmlingua raises IndexError")
    }
    guard let found = Quantile.percentile(values, q, single: single) else {
      throw .invalid("options->rate asks for percentile \(q); expected 0 to 100, as numpy does")
    }
    return found
  }
}
