// include/tamis/word_ids.h
import CTamis
import Tamis

extension tamis_word_options: VersionedStruct {
  static var firstSize: Int { 24 }
  static var defaults: Self {
    Self(struct_size: currentSize, tokenizer: TAMIS_WORDS_NONE, lowercase: 0, normalised: 0, no_punctuation: 0, twice_from: 0,
      context: nil)
  }
}

@c @implementation public func tamis_word_options_init(_ options: UnsafeMutablePointer<tamis_word_options>!) {
  options?.initialize(to: .defaults)
}

/// Words with arrays that stay where they are.
final class WordLists {
  let vocabulary: Int
  let count: Int
  let ids: UnsafeMutableBufferPointer<Int32>
  let starts: UnsafeMutableBufferPointer<Int64>

  init(_ words: WordIDs) {
    vocabulary = words.vocabulary
    count = words.count
    ids = .allocate(capacity: words.ids.count)
    _ = ids.initialize(from: words.ids)
    starts = .allocate(capacity: words.starts.count)
    _ = starts.initialize(from: words.starts)
  }

  deinit {
    ids.deallocate()
    starts.deallocate()
  }
}

@c @implementation public func tamis_word_ids_create(
  _ options: UnsafePointer<tamis_word_options>!, _ bytes: UnsafePointer<CChar>!, _ starts: UnsafePointer<Int64>!,
  _ count: Int64, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let out = try need(out, "out")
    let raw = try read(options, "options")
    var options = ScoringTokenizerOptions()
    options.tokenizer = try choice(
      raw.tokenizer, "options->tokenizer", ScoringTokenizer.self, "TAMIS_WORDS_NONE to TAMIS_WORDS_CHRF_CHARS")
    options.lowercase = try flag(raw.lowercase, "options->lowercase")
    options.normalised = try flag(raw.normalised, "options->normalised")
    options.noPunctuation = try flag(raw.no_punctuation, "options->no_punctuation")
    let twiceFrom = try TamisABI.count(raw.twice_from, "options->twice_from")
    let texts = try TamisABI.count(count, "count")
    let starts = try array(starts, texts + 1, "starts")
    try require(starts[0] == 0, "starts[0] is \(starts[0]); expected 0")
    for i in 0..<texts {
      try require(
        starts[i + 1] >= starts[i] && starts[i + 1] <= Int64(countLimit),
        "starts[\(i + 1)] is \(starts[i + 1]) after \(starts[i]); expected ascending offsets up to \(countLimit)")
    }
    let text = try TamisABI.bytes(UnsafeRawPointer(bytes), Int(starts[texts]), "text")
    let context = raw.context == nil ? nil : try TamisABI.context(raw.context)
    let words = try WordIDs(options, text, starts, twiceFrom: twiceFrom, context: context)
    try require(words.ids.count <= countLimit, "text has \(words.ids.count) words; expected at most \(countLimit)")
    out.pointee = Handle.make(WordLists(words), .word_ids)
  }
}

@c @implementation public func tamis_word_ids_destroy(_ words: OpaquePointer!) {
  Handle<WordLists>.destroy(words, .word_ids)
}

@c @implementation public func tamis_word_ids_get(
  _ handle: OpaquePointer!, _ lists: UnsafeMutablePointer<tamis_token_lists>!, _ vocabulary: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let words = try Handle<WordLists>.object(handle, .word_ids, "words")
    let lists = try need(lists, "lists")
    let vocabulary = try allow(vocabulary, "vocabulary")
    lists.pointee = tamis_token_lists(
      ids: UnsafePointer(words.ids.baseAddress), starts: UnsafePointer(words.starts.baseAddress), lengths: nil,
      count: Int64(words.count), width: 0)
    vocabulary?.pointee = Int64(words.vocabulary)
  }
}
