import TamisCore

/// Sinks and window only (StreamingLLM, arXiv 2309.17453, section 3.2): the first tokens catch the attention that has to go
/// somewhere, the window carries the text, and positions count within the kept tokens.
struct Streaming: SelectionMethod {
  func budget(_ options: SelectorOptions) -> Budget? {
    Budget(sinks: options.sinks, recent: options.recent, topK: 0)
  }
}
