import CShims
import TamisCore

/// One .cl file.
enum OpenCLOperation: String {
  case append, attendDecode, attendPrefill, attendMerge, attendRagged, attendTiles, embed, linear, logits, ngrams, score, vote, topK

  var source: String {
    switch self {
    case .append: EmbeddedKernels.append
    case .attendDecode: EmbeddedKernels.attendDecode
    case .attendPrefill: EmbeddedKernels.attendPrefill
    case .attendMerge: EmbeddedKernels.attendMerge
    case .attendRagged: EmbeddedKernels.attendRagged
    case .attendTiles: EmbeddedKernels.attendTiles
    case .embed: EmbeddedKernels.embed
    case .linear: EmbeddedKernels.linear
    case .logits: EmbeddedKernels.logits
    case .ngrams: EmbeddedKernels.ngrams
    case .score: EmbeddedKernels.score
    case .vote: EmbeddedKernels.vote
    case .topK: EmbeddedKernels.topK
    }
  }
}

/// The kernels of one queue: each operation is compiled for the shape at hand when it is first needed, and kept.
final class OpenCLPrograms {
  private let queue: OpenCLQueue
  private let cache: ProgramCache
  private var kernels: [String: OpenCLKernel] = [:]
  private var programs: [String: OpenCLProgram] = [:]
  /// Programs compiled from source, and programs taken from the disk cache.
  private(set) var compiled = 0
  private(set) var loaded = 0

  init(_ queue: OpenCLQueue, cache: ProgramCache) {
    self.queue = queue
    self.cache = cache
  }

  /// The kernel `name` of an operation, specialised by "-D key=value" of each definition. Errors: `device`, with the head of
  /// the compiler's log.
  func kernel(
    _ operation: OpenCLOperation, _ name: String, _ definitions: [String: Int] = [:]
  ) throws(TamisError) -> OpenCLKernel {
    var options = "-cl-std=CL1.2"
    for (key, value) in definitions.sorted(by: { $0.key < $1.key }) { options += " -D \(key)=\(value)" }
    let shape = operation.rawValue + " " + options
    let key = name + " " + shape
    if let kernel = kernels[key] { return kernel }
    if programs[shape] == nil { programs[shape] = try program(operation, options) }
    let kernel = try OpenCLKernel(programs[shape]!, name)
    kernels[key] = kernel
    return kernel
  }

  private func program(_ operation: OpenCLOperation, _ options: String) throws(TamisError) -> OpenCLProgram {
    let source = EmbeddedKernels.common + operation.source
    let device = queue.device
    let key = ProgramCache.key([source, options, device.info.name, device.info.driver, device.platformVersion])
    if let binary = cache.load(key), let program = fromBinary(binary, options) {
      loaded += 1
      return program
    }
    let program = try fromSource(source, options, operation)
    compiled += 1
    if cache.folder != nil, let binary = binary(of: program) { cache.store(key, binary) }
    return program
  }

  private func fromSource(
    _ source: String, _ options: String, _ operation: OpenCLOperation
  ) throws(TamisError) -> OpenCLProgram {
    var code: cl_int = 0
    let handle = source.withCString { text -> cl_program? in
      var text: UnsafePointer<CChar>? = text
      return queue.cl.pointee.CreateProgramWithSource(queue.context, 1, &text, nil, &code)
    }
    try OpenCLLibrary.check(code, "clCreateProgramWithSource")
    let program = OpenCLProgram(queue, handle!)
    code = build(program, options)
    try OpenCLLibrary.check(code, "clBuildProgram", "\(operation.rawValue) \(options): \(log(of: program))")
    return program
  }

  /// nil when the driver does not take it back.
  private func fromBinary(_ binary: [UInt8], _ options: String) -> OpenCLProgram? {
    var code: cl_int = 0
    var id: cl_device_id? = queue.device.id
    var length = binary.count
    let handle = binary.withUnsafeBufferPointer { bytes -> cl_program? in
      var start: UnsafePointer<UInt8>? = bytes.baseAddress
      return queue.cl.pointee.CreateProgramWithBinary(queue.context, 1, &id, &length, &start, nil, &code)
    }
    guard code == CL_SUCCESS, let handle else { return nil }
    let program = OpenCLProgram(queue, handle)
    return build(program, options) == CL_SUCCESS ? program : nil
  }

  private func build(_ program: OpenCLProgram, _ options: String) -> cl_int {
    var id: cl_device_id? = queue.device.id
    return queue.cl.pointee.BuildProgram(program.handle, 1, &id, options, nil, nil)
  }

  private func binary(of program: OpenCLProgram) -> [UInt8]? {
    var length = 0
    let info = queue.cl.pointee.GetProgramInfo!
    guard
      info(program.handle, cl_program_info(CL_PROGRAM_BINARY_SIZES), MemoryLayout<Int>.size, &length, nil) == CL_SUCCESS,
      length > 0
    else { return nil }
    var bytes = [UInt8](repeating: 0, count: length)
    let code = bytes.withUnsafeMutableBufferPointer { bytes -> cl_int in
      var start = bytes.baseAddress
      return info(
        program.handle, cl_program_info(CL_PROGRAM_BINARIES), MemoryLayout<UnsafeMutablePointer<UInt8>?>.size, &start, nil)
    }
    return code == CL_SUCCESS ? bytes : nil
  }

  private func log(of program: OpenCLProgram) -> String {
    var length = 0
    let info = queue.cl.pointee.GetProgramBuildInfo!
    let what = cl_program_build_info(CL_PROGRAM_BUILD_LOG)
    guard info(program.handle, queue.device.id, what, 0, nil, &length) == CL_SUCCESS, length > 0 else { return "no log" }
    var text = [CChar](repeating: 0, count: length + 1)
    guard info(program.handle, queue.device.id, what, length, &text, nil) == CL_SUCCESS else { return "no log" }
    return String(String(cString: text).prefix(400))
  }
}
