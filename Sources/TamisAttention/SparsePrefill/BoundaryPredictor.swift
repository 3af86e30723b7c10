public import TamisCore
public import TamisDevice

public final class BoundaryPredictor: @unchecked Sendable {
  public let window: Int = 4
  func logits(_ k: TensorView, on backend: any Backend, progress: Progress?) throws(TamisError) -> [Float] { [] }
}
