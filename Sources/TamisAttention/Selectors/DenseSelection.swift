import TamisCore

/// Every token: the method all others are compared with. With a window, the tokens a sliding window shows.
struct DenseSelection: SelectionMethod {
  func budget(_ options: SelectorOptions) -> Budget? { nil }
}
