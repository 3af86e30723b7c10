import Tamis

/// What an opaque handle of the C API points to: a word that names the kind, and one reference to a Swift object. The object
/// keeps its parents alive, so handles may be destroyed in any order.
struct Handle<Object: AnyObject> {
  private var magic: UInt64
  private var object: Unmanaged<Object>

  static func make(_ object: Object, _ kind: HandleKind) -> OpaquePointer {
    let box = UnsafeMutablePointer<Handle>.allocate(capacity: 1)
    box.initialize(to: Handle(magic: kind.rawValue, object: .passRetained(object)))
    return OpaquePointer(box)
  }

  /// The object, or a sentence when the pointer is NULL, misaligned or visibly no handle of this kind.
  @inline(__always)
  static func object(_ pointer: OpaquePointer?, _ kind: HandleKind, _ name: StaticString) throws(TamisError) -> Object {
    let box = try need(UnsafePointer<Handle>(pointer), name)
    try require(box.pointee.magic == kind.rawValue, "\(name) is no live handle; expected a tamis_\(kind)")
    return box.pointee.object.takeUnretainedValue()
  }

  /// Gives the reference back. NULL and what is visibly no handle of this kind are left alone.
  static func destroy(_ pointer: OpaquePointer?, _ kind: HandleKind) {
    guard let pointer, UInt(bitPattern: pointer) % UInt(MemoryLayout<Handle>.alignment) == 0 else { return }
    let box = UnsafeMutablePointer<Handle>(pointer)
    guard box.pointee.magic == kind.rawValue else { return }
    let object = box.pointee.object
    box.pointee.magic = 0
    box.deallocate()
    object.release()
  }
}

/// The first word of a handle: eight letters, so that a memory dump shows what it is.
enum HandleKind: UInt64 {
  case context = 0x5458_4554_4e4f_4354  // "TCONTEXT"
  case kv_cache = 0x4548_4341_4356_4b54  // "TKVCACHE"
  case selector = 0x5443_454c_4553_5454  // "TTSELECT"
  case weights = 0x5354_4847_4945_5754  // "TWEIGHTS"
  case encoder = 0x5245_444f_434e_4554  // "TENCODER"
  case tokenizer = 0x5a49_4e45_4b4f_5454  // "TTOKENIZ"
  case encoding = 0x474e_444f_434e_4554  // "TENCODNG"
  case decoder = 0x5245_444f_4345_4454  // "TDECODER"
  case compressor = 0x5345_5250_4d4f_4354  // "TCOMPRES"
  case compression = 0x5245_5452_4f48_5354  // "TSHORTER"
  case act_state = 0x5441_5453_5443_4154  // "TACTSTAT"
  case boundary_predictor = 0x5952_444e_554f_4254  // "TBOUNDRY"
  case chunk_index = 0x5849_4b4e_5548_4354  // "TCHUNKIX"
  case specpc = 0x3143_5043_4550_5354  // "TSPECPC1"
  case sparse_mask = 0x4b53_414d_5350_5354  // "TSPSMASK"
  case token_batch = 0x4843_5441_424b_5454  // "TTKBATCH"
  case word_ids = 0x5344_4944_524f_5754  // "TWORDIDS"
  case token_statistics = 0x5441_5453_4b4f_5454  // "TTOKSTAT"
  case charbench = 0x4e45_4252_4148_4354  // "TCHARBEN"
  case needle_task = 0x5345_4c44_4545_4e54  // "TNEEDLES"
}

@inline(__always)
func context(_ pointer: OpaquePointer?) throws(TamisError) -> Context {
  try Handle<Context>.object(pointer, .context, "context")
}

@inline(__always)
func cache(_ pointer: OpaquePointer?) throws(TamisError) -> KVCache {
  try Handle<KVCache>.object(pointer, .kv_cache, "cache")
}

@inline(__always)
func selector(_ pointer: OpaquePointer?) throws(TamisError) -> Selector {
  try Handle<Selector>.object(pointer, .selector, "selector")
}

@inline(__always)
func weights(_ pointer: OpaquePointer?) throws(TamisError) -> SafeTensors {
  try Handle<SafeTensors>.object(pointer, .weights, "weights")
}

@inline(__always)
func encoder(_ pointer: OpaquePointer?) throws(TamisError) -> TextEncoder {
  try Handle<TextEncoder>.object(pointer, .encoder, "encoder")
}

@inline(__always)
func actState(_ pointer: OpaquePointer?) throws(TamisError) -> ACTState {
  try Handle<ACTState>.object(pointer, .act_state, "state")
}

@inline(__always)
func specpc(_ pointer: OpaquePointer?) throws(TamisError) -> SpecPC {
  try Handle<SpecPC>.object(pointer, .specpc, "specpc")
}

@inline(__always)
func mask(_ pointer: OpaquePointer?) throws(TamisError) -> TileMask {
  try Handle<TileMask>.object(pointer, .sparse_mask, "mask")
}
