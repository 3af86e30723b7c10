/// What a pickle of tensors can hold. Containers are indices into the pickle's own nodes, so that a container may hold itself
/// without harm and nothing here is recursive.
enum PickleValue {
  case none
  case bool(Bool)
  case integer(Int64)
  case number(Double)
  /// A whole number of more than 64 bits: its bytes in the file.
  case wideInteger(Range<Int>)
  /// Bytes of the file.
  case text(Range<Int>)
  case tuple(Int)
  case list(Int)
  case dictionary(Int)
  case global(PickleGlobal)
  case storage(Int)
  case tensor(Int)
}

/// The only names that a pickle may say. They stand for a handful of shapes of data; none of them is ever called.
enum PickleGlobal: Equatable {
  /// torch._utils._rebuild_tensor and _rebuild_tensor_v2: storage, offset, size, stride, ..
  case rebuildTensor
  /// torch._utils._rebuild_parameter: tensor, ..
  case rebuildParameter
  case orderedDictionary
  case storage(TorchElement)

  init?(module: UnsafeRawBufferPointer, name: UnsafeRawBufferPointer) {
    func says(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
      bytes.elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
    if says(module, "torch._utils") {
      if says(name, "_rebuild_tensor_v2") || says(name, "_rebuild_tensor") {
        self = .rebuildTensor
      } else if says(name, "_rebuild_parameter") {
        self = .rebuildParameter
      } else {
        return nil
      }
    } else if says(module, "collections"), says(name, "OrderedDict") {
      self = .orderedDictionary
    } else if says(module, "torch"), let element = TorchElement(storage: name) {
      self = .storage(element)
    } else {
      return nil
    }
  }
}

/// Element types of torch's storages, by the names of their classes.
enum TorchElement: String, CaseIterable {
  case float = "FloatStorage"
  case half = "HalfStorage"
  case bfloat16 = "BFloat16Storage"
  case double = "DoubleStorage"
  case long = "LongStorage"
  case int = "IntStorage"
  case short = "ShortStorage"
  case char = "CharStorage"
  case byte = "ByteStorage"
  case bool = "BoolStorage"

  init?(storage name: UnsafeRawBufferPointer) {
    guard let element = Self.allCases.first(where: { name.elementsEqual($0.rawValue.utf8) }) else { return nil }
    self = element
  }

  var size: Int {
    switch self {
    case .double, .long: 8
    case .float, .int: 4
    case .half, .bfloat16, .short: 2
    case .char, .byte, .bool: 1
    }
  }
}

/// A storage that a pickle refers to.
struct PickledStorage {
  var element: TorchElement
  /// Its name, as bytes of the pickle.
  var key: Range<Int>
  /// Elements.
  var count: Int
}

/// A strided view of a storage; all numbers in elements. Checked: it lies inside the storage and is no larger than it.
struct PickledTensor {
  var storage: Int
  var offset: Int
  var shape: [Int]
  var stride: [Int]

  static let maxDims = 8

  var elements: Int { shape.reduce(1, *) }

  /// Row-major without gaps.
  var isPacked: Bool {
    if elements == 0 { return true }
    var step = 1
    for d in shape.indices.reversed() where shape[d] != 1 {
      if stride[d] != step { return false }
      step *= shape[d]
    }
    return true
  }

  /// nil unless every element lies in a storage of `count` elements, and there are no more of them than that.
  init?(storage: Int, count: Int, offset: Int64, shape: [Int64], stride: [Int64]) {
    guard shape.count == stride.count, shape.count <= Self.maxDims, offset >= 0, offset <= count else { return nil }
    var elements = 1
    var last = Int(offset)
    for (n, step) in zip(shape, stride) {
      guard n >= 0, n <= count, step >= 0, step <= count else { return nil }
      // Both factors are at most the storage's count, which is at most a file's size: 2^48 or so, not enough to be safe.
      let (product, overflow) = elements.multipliedReportingOverflow(by: Int(n))
      let (reach, overflow2) = Int(max(n - 1, 0)).multipliedReportingOverflow(by: Int(step))
      let (sum, overflow3) = last.addingReportingOverflow(reach)
      guard !overflow, !overflow2, !overflow3, product <= count else { return nil }
      elements = product
      last = sum
    }
    guard elements == 0 || last < count else { return nil }
    self.storage = storage
    self.offset = Int(offset)
    self.shape = shape.map { Int($0) }
    self.stride = stride.map { Int($0) }
  }
}
