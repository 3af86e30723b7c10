public import TamisCore

/// Sequences of token ids laid one after another, without padding: sequence s is tokens [starts[s], starts[s + 1]).
public struct RaggedTokens: Sendable, Equatable {
  public var ids: [Int32]
  /// sequences + 1 ascending offsets; the first is 0, the last ids.count.
  public var starts: [Int]

  public init(ids: [Int32] = [], starts: [Int] = [0]) {
    self.ids = ids
    self.starts = starts
  }

  public init(_ sequences: [[Int32]]) {
    self.init()
    for sequence in sequences { append(sequence) }
  }

  public var sequences: Int { starts.count - 1 }
  public subscript(_ s: Int) -> ArraySlice<Int32> { ids[starts[s]..<starts[s + 1]] }

  public mutating func append(_ sequence: some Sequence<Int32>) {
    ids.append(contentsOf: sequence)
    starts.append(ids.count)
  }
}

/// Arithmetic of the linear layers. LayerNorm, softmax, GELU and sums are f32 in each of them.
public enum LinearPrecision: Int32, Sendable {
  case f32 = 0
  /// Weights and inputs rounded to bf16, sums in f32.
  case bf16 = 1
  /// Weights int8 with a scale per output channel, inputs int8 with a scale per row found as they come, sums in int32.
  case i8 = 2
}

public enum EncoderActivation: Int32, Sendable {
  /// x Φ(x), by erf
  case gelu = 0
  /// the tanh form of it
  case geluTanh = 1
  case relu = 2
}

/// y = x Wᵀ + b. `weight` is [outputs, inputs] in any float dtype, or int8 with a scale per row.
public struct LinearView: Sendable {
  public var weight: TensorView
  /// [outputs] f32, f16 or bf16
  public var bias: TensorView?

  public init(weight: TensorView, bias: TensorView?) {
    self.weight = weight
    self.bias = bias
  }
}

/// LayerNorm: both [width].
public struct NormView: Sendable {
  public var weight: TensorView
  public var bias: TensorView

  public init(weight: TensorView, bias: TensorView) {
    self.weight = weight
    self.bias = bias
  }
}

/// One post-LN block: x = LN(x + Wo attention(x) + bo); x = LN(x + W2 act(W1 x + b1) + b2).
public struct EncoderLayerView: Sendable {
  public var query, key, value, attentionOutput: LinearView
  public var attentionNorm: NormView
  public var intermediate, output: LinearView
  public var outputNorm: NormView

  public init(
    query: LinearView, key: LinearView, value: LinearView, attentionOutput: LinearView, attentionNorm: NormView,
    intermediate: LinearView, output: LinearView, outputNorm: NormView
  ) {
    self.query = query
    self.key = key
    self.value = value
    self.attentionOutput = attentionOutput
    self.attentionNorm = attentionNorm
    self.intermediate = intermediate
    self.output = output
    self.outputNorm = outputNorm
  }
}

/// A bidirectional post-LN encoder (BERT, XLM-RoBERTa, ELECTRA) as views of host memory. Shapes are checked by whoever fills
/// it.
public struct EncoderWeights: Sendable {
  /// [vocabulary, embedding], [positions, embedding], [types, embedding]; float, or int8 with a scale per row
  public var word, position, type: TensorView
  public var embeddingNorm: NormView
  /// [hidden, embedding], where the embedding is narrower than the hidden state
  public var projection: LinearView?
  public var layers: [EncoderLayerView]
  public var heads: Int
  public var epsilon: Float
  public var activation: EncoderActivation

  public init(
    word: TensorView, position: TensorView, type: TensorView, embeddingNorm: NormView, projection: LinearView?,
    layers: [EncoderLayerView], heads: Int, epsilon: Float, activation: EncoderActivation
  ) {
    self.word = word
    self.position = position
    self.type = type
    self.embeddingNorm = embeddingNorm
    self.projection = projection
    self.layers = layers
    self.heads = heads
    self.epsilon = epsilon
    self.activation = activation
  }
}

/// An encoder on a device: its linear weights packed once, for one precision.
public protocol EncoderProgram: AnyObject {
  var precision: LinearPrecision { get }
  /// Width of the hidden states.
  var hidden: Int { get }
  /// Bytes of packed weights.
  var byteCount: Int { get }

  /// The last hidden states of every token, [ids.count, hidden] f32, row-major, in host memory. A token attends to its own
  /// sequence only; the result does not depend on what else is in the batch (same bits).
  /// ids, positions and types are in range (the caller checks). types nil: all 0.
  func forward(
    _ tokens: RaggedTokens, positions: UnsafePointer<Int32>, types: UnsafePointer<Int32>?,
    into states: UnsafeMutablePointer<Float>, progress: Progress?
  ) throws(TamisError)
}

extension Backend {
  public func makeEncoder(_ weights: EncoderWeights, precision: LinearPrecision) throws(TamisError) -> any EncoderProgram {
    throw TamisError(.unsupported, "context: \(name) does not run encoders")
  }
}
