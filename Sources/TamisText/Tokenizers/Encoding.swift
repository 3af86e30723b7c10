/// What a tokenizer makes of a text: token ids and where in the text each came from.
public struct Encoding: Sendable, Equatable {
  public var ids: [Int32] = []
  /// Byte offsets in the text as it was given (`EncodeOptions.countsCharacters`: scalars); an added special token (of the
  /// template) has starts = ends = 0.
  public var starts: [Int32] = []
  public var ends: [Int32] = []
  /// Index of the pre-token that the token is a part of, counted over the text; -1: a token of the template.
  public var words: [Int32] = []
  /// Segment ids of the template: 0, or 1 for the second text of a pair.
  public var types: [Int32] = []

  public init() {}
  public var count: Int { ids.count }
}

public struct EncodeOptions: Sendable, Equatable {
  /// Adds what the post-processor's template adds ([CLS] .. [SEP]).
  public var addSpecialTokens = true
  /// Whether text such as "<|im_start|>" becomes the special token it spells. Turn it off for untrusted text.
  public var parseSpecialTokens = true
  /// Offsets in Unicode scalars of the text instead of bytes; an ill-formed part of it counts as one.
  public var countsCharacters = false
  /// Cuts the text's tokens so that, with the template's, at most this many remain; nil: no cut.
  public var maxTokens: Int?

  public init(
    addSpecialTokens: Bool = true, parseSpecialTokens: Bool = true, countsCharacters: Bool = false, maxTokens: Int? = nil
  ) {
    self.addSpecialTokens = addSpecialTokens
    self.parseSpecialTokens = parseSpecialTokens
    self.countsCharacters = countsCharacters
    self.maxTokens = maxTokens
  }
}
