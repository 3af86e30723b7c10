import CShims
import TamisCore

/// A context and its in-order queue. What is enqueued runs in order, so a buffer written by one kernel is what the next reads.
final class OpenCLQueue {
  let device: OpenCLDevice
  let cl: UnsafePointer<ts_opencl>
  let context: cl_context
  let handle: cl_command_queue

  init(_ device: OpenCLDevice) throws(TamisError) {
    self.device = device
    cl = device.cl
    var code: cl_int = 0
    var id: cl_device_id? = device.id
    let context = cl.pointee.CreateContext(nil, 1, &id, nil, nil, &code)
    try OpenCLLibrary.check(code, "clCreateContext")
    let queue = cl.pointee.CreateCommandQueue(context, device.id, 0, &code)
    if code != CL_SUCCESS {
      _ = cl.pointee.ReleaseContext(context)
      try OpenCLLibrary.check(code, "clCreateCommandQueue")
    }
    self.context = context!
    handle = queue!
  }

  deinit {
    _ = cl.pointee.Finish(handle)
    _ = cl.pointee.ReleaseCommandQueue(handle)
    _ = cl.pointee.ReleaseContext(context)
  }

  func finish() throws(TamisError) { try OpenCLLibrary.check(cl.pointee.Finish(handle), "clFinish") }

  func run(
    _ kernel: OpenCLKernel, groups: (Int, Int, Int), items: Int, _ arguments: [OpenCLArgument]
  ) throws(TamisError) {
    if groups.0 == 0 || groups.1 == 0 || groups.2 == 0 { return }
    for (index, argument) in arguments.enumerated() { try kernel.set(index, argument) }
    var global = (groups.0 * items, groups.1, groups.2)
    var local = (items, 1, 1)
    let code = withUnsafePointer(to: &global) { global in
      withUnsafePointer(to: &local) { local in
        global.withMemoryRebound(to: Int.self, capacity: 3) { global in
          local.withMemoryRebound(to: Int.self, capacity: 3) { local in
            cl.pointee.EnqueueNDRangeKernel(handle, kernel.handle, 3, nil, global, local, 0, nil, nil)
          }
        }
      }
    }
    try OpenCLLibrary.check(code, "clEnqueueNDRangeKernel", kernel.name)
  }
}

/// Device memory.
final class OpenCLBuffer {
  let queue: OpenCLQueue
  let handle: cl_mem
  let bytes: Int

  /// Uninitialised memory of at least one byte. Errors: `outOfMemory`.
  init(_ queue: OpenCLQueue, bytes: Int) throws(TamisError) {
    self.queue = queue
    self.bytes = max(bytes, 64)
    if self.bytes > queue.device.maxAllocationBytes {
      throw TamisError(
        .outOfMemory,
        "one OpenCL buffer of \(self.bytes) bytes; \(queue.device.info.name) allows \(queue.device.maxAllocationBytes)")
    }
    var code: cl_int = 0
    let memory = queue.cl.pointee.CreateBuffer(queue.context, cl_mem_flags(CL_MEM_READ_WRITE), self.bytes, nil, &code)
    try OpenCLLibrary.check(code, "clCreateBuffer", "\(self.bytes) bytes")
    handle = memory!
  }

  deinit { _ = queue.cl.pointee.ReleaseMemObject(handle) }

  /// Copies from host memory, which is free again on return.
  func write(_ host: UnsafeRawPointer, bytes count: Int, at offset: Int = 0) throws(TamisError) {
    if count == 0 { return }
    try OpenCLLibrary.check(
      queue.cl.pointee.EnqueueWriteBuffer(queue.handle, handle, cl_bool(CL_TRUE), offset, count, host, 0, nil, nil),
      "clEnqueueWriteBuffer")
  }

  /// Copies to host memory; waits for everything enqueued before.
  func read(_ host: UnsafeMutableRawPointer, bytes count: Int, at offset: Int = 0) throws(TamisError) {
    if count == 0 { return }
    try OpenCLLibrary.check(
      queue.cl.pointee.EnqueueReadBuffer(queue.handle, handle, cl_bool(CL_TRUE), offset, count, host, 0, nil, nil),
      "clEnqueueReadBuffer")
  }

  /// Copies `rows` runs of `count` bytes that begin `pitch` bytes apart, packed.
  func read(_ host: UnsafeMutableRawPointer, rows: Int, of count: Int, pitch: Int, at offset: Int) throws(TamisError) {
    if count == pitch {
      try read(host, bytes: rows * count, at: offset)
      return
    }
    for row in 0..<rows { try read(host + row * count, bytes: count, at: offset + row * pitch) }
  }

  func copy(to other: OpenCLBuffer, from: Int, at: Int, bytes count: Int) throws(TamisError) {
    if count == 0 { return }
    try OpenCLLibrary.check(
      queue.cl.pointee.EnqueueCopyBuffer(queue.handle, handle, other.handle, from, at, count, 0, nil, nil),
      "clEnqueueCopyBuffer")
  }

  func zero(from offset: Int, bytes count: Int) throws(TamisError) {
    if count == 0 { return }
    var zero: UInt8 = 0
    try OpenCLLibrary.check(
      queue.cl.pointee.EnqueueFillBuffer(queue.handle, handle, &zero, 1, offset, count, 0, nil, nil), "clEnqueueFillBuffer")
  }
}

/// Device memory that lives between calls, grows to the largest request and stays; growing forgets the contents.
final class OpenCLScratch {
  private let queue: OpenCLQueue
  private var buffer: OpenCLBuffer?

  init(_ queue: OpenCLQueue) { self.queue = queue }

  func reserve(_ bytes: Int) throws(TamisError) -> OpenCLBuffer {
    if let buffer, buffer.bytes >= bytes { return buffer }
    // The old memory goes first, so that growing never needs both.
    let grown = max(bytes, min(2 * (buffer?.bytes ?? 0), queue.device.maxAllocationBytes))
    buffer = nil
    let fresh = try OpenCLBuffer(queue, bytes: grown)
    buffer = fresh
    return fresh
  }
}

enum OpenCLArgument {
  case buffer(OpenCLBuffer)
  case int(Int)
  case uint(UInt32)
  case float(Float)
  case flag(Bool)
}

final class OpenCLProgram {
  let queue: OpenCLQueue
  let handle: cl_program

  /// Takes over a program that is built already.
  init(_ queue: OpenCLQueue, _ handle: cl_program) {
    self.queue = queue
    self.handle = handle
  }

  deinit { _ = queue.cl.pointee.ReleaseProgram(handle) }
}

/// A kernel keeps its program alive. Arguments are set anew for every launch; the context's lock serialises both.
final class OpenCLKernel {
  let name: String
  let handle: cl_kernel
  private let program: OpenCLProgram

  init(_ program: OpenCLProgram, _ name: String) throws(TamisError) {
    self.program = program
    self.name = name
    var code: cl_int = 0
    let kernel = program.queue.cl.pointee.CreateKernel(program.handle, name, &code)
    try OpenCLLibrary.check(code, "clCreateKernel", name)
    handle = kernel!
  }

  deinit { _ = program.queue.cl.pointee.ReleaseKernel(handle) }

  func set(_ index: Int, _ argument: OpenCLArgument) throws(TamisError) {
    let set = program.queue.cl.pointee.SetKernelArg!
    let at = cl_uint(index)
    let code: cl_int
    switch argument {
    case .buffer(let buffer):
      var memory: cl_mem? = buffer.handle
      code = set(handle, at, MemoryLayout<cl_mem?>.size, &memory)
    case .int(let value):
      guard var narrow = Int32(exactly: value) else {
        throw TamisError(.unsupported, "\(name): argument \(index) is \(value); the OpenCL kernels count in 32 bits")
      }
      code = set(handle, at, 4, &narrow)
    case .uint(var value): code = set(handle, at, 4, &value)
    case .float(var value): code = set(handle, at, 4, &value)
    case .flag(let value):
      var number: Int32 = value ? 1 : 0
      code = set(handle, at, 4, &number)
    }
    try OpenCLLibrary.check(code, "clSetKernelArg", "\(name), argument \(index)")
  }
}
