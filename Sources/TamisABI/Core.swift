// include/tamis/core.h
import CShims
import CTamis
import Tamis

// MARK: status

@c @implementation public func tamis_status_name(_ status: tamis_status) -> UnsafePointer<CChar>! {
  statusName(status).utf8Start.withMemoryRebound(to: CChar.self, capacity: 1) { $0 }
}

private func statusName(_ status: tamis_status) -> StaticString {
  if status == TAMIS_OK { return "TAMIS_OK" }
  switch Status(rawValue: status) {
  case .invalidArgument: return "TAMIS_ERR_INVALID_ARGUMENT"
  case .unsupported: return "TAMIS_ERR_UNSUPPORTED"
  case .outOfMemory: return "TAMIS_ERR_OUT_OF_MEMORY"
  case .bufferTooSmall: return "TAMIS_ERR_BUFFER_TOO_SMALL"
  case .cacheFull: return "TAMIS_ERR_CACHE_FULL"
  case .notFound: return "TAMIS_ERR_NOT_FOUND"
  case .io: return "TAMIS_ERR_IO"
  case .format: return "TAMIS_ERR_FORMAT"
  case .noDevice: return "TAMIS_ERR_NO_DEVICE"
  case .device: return "TAMIS_ERR_DEVICE"
  case .cancelled: return "TAMIS_ERR_CANCELLED"
  case .internalError: return "TAMIS_ERR_INTERNAL"
  case nil: return "unknown status"
  }
}

@c @implementation public func tamis_last_error() -> UnsafePointer<CChar>! { ts_get_last_error() }

// MARK: version


@c @implementation public func tamis_version() -> UnsafePointer<CChar>! {
  libraryVersion.utf8Start.withMemoryRebound(to: CChar.self, capacity: 1) { $0 }
}

@c @implementation public func tamis_version_number() -> UInt32 {
  UInt32(TAMIS_VERSION_MAJOR * 1_000_000 + TAMIS_VERSION_MINOR * 1000 + TAMIS_VERSION_PATCH)
}

@c @implementation public func tamis_build_info(
  _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in try write(BuildInfo.report.text, to: buffer, capacity, needed) }
}

// MARK: tensors

@c @implementation public func tamis_dtype_size(_ dtype: tamis_dtype) -> Int { DType(rawValue: dtype)?.size ?? 0 }

// MARK: context

extension tamis_context_options: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, device: TAMIS_DEVICE_CPU, n_threads: 1, opencl_index: 0, log_level: TAMIS_LOG_WARNING,
      log: nil, log_user: nil)
  }
}

@c @implementation public func tamis_context_options_init(_ options: UnsafeMutablePointer<tamis_context_options>!) {
  options?.initialize(to: .defaults)
}

@c @implementation public func tamis_context_create(
  _ options: UnsafePointer<tamis_context_options>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let out = try need(out, "out")
    out.pointee = Handle.make(try makeContext(try read(options, "options")), .context)
  }
}

private func makeContext(_ options: tamis_context_options) throws(TamisError) -> Context {
  let device = try choice(options.device, "options->device", Context.Device.self, "TAMIS_DEVICE_CPU or TAMIS_DEVICE_OPENCL")
  let level = try choice(
    options.log_level, "options->log_level", Context.LogLevel.self, "TAMIS_LOG_ERROR to TAMIS_LOG_DEBUG")
  try require(
    (0...1024).contains(options.n_threads), "options->n_threads is \(options.n_threads); expected 0 (all cores) to 1024")
  let index = try count(options.opencl_index, "options->opencl_index")
  var log: Context.Log?
  if let callback = options.log {
    let user = options.log_user
    log = { level, message in message.withCString { callback(level.rawValue, $0, user) } }
  }
  return try Context(
    device: device, threads: Int(options.n_threads), openCLIndex: index, logLevel: level, log: log)
}

@c @implementation public func tamis_context_destroy(_ context: OpaquePointer!) {
  Handle<Context>.destroy(context, .context)
}

@c @implementation public func tamis_context_threads(_ context: OpaquePointer!) -> Int32 {
  let threads = (try? Handle<Context>.object(context, .context, "context"))?.backend.threads ?? 0
  return Int32(clamping: threads)
}

@c @implementation public func tamis_context_device_name(
  _ handle: OpaquePointer!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in try write(try context(handle).backend.name, to: buffer, capacity, needed) }
}
