import TamisCore

/// One token per pre-token: itself, or the unknown token.
final class WordLevel: TokenModel, Sendable {
  let vocabulary: Vocabulary
  let unknownId: Int32?

  init(_ vocabulary: Vocabulary, unknown: [UInt8]) {
    self.vocabulary = vocabulary
    unknownId = vocabulary.id(unknown)
  }

  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError) {
    for slice in slices where slice.end > slice.start {
      guard let id = vocabulary.id(text + Int(slice.start), Int(slice.end - slice.start)) ?? unknownId else {
        throw TamisError(.unsupported, "text: a word is not in the vocabulary, which has no unknown token")
      }
      tokens.append(id, Int(slice.start), Int(slice.end))
      tokens.word &+= 1
    }
  }
}
