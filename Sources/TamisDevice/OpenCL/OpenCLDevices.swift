import CShims
public import TamisCore

/// What `tamis_build_info` says of one OpenCL device.
public struct OpenCLDeviceInfo: Sendable, Equatable {
  public var name: String
  /// "OpenCL 3.0 ..."
  public var version: String
  public var driver: String
  /// "gpu", "cpu", "accelerator" or "other"
  public var type: String
  public var computeUnits: Int
  public var globalMemoryBytes: UInt64
  /// Whether the device has cl_khr_fp16.
  public var f16: Bool
}

/// The OpenCL devices of this machine, counted over all platforms in the order in which the loader names them.
public enum OpenCLDevices {
  /// Empty where there is no OpenCL. Errors: `device` when a driver fails to describe a device.
  public static func list() throws(TamisError) -> [OpenCLDeviceInfo] {
    var infos: [OpenCLDeviceInfo] = []
    do throws(TamisError) {
      for device in try all() { infos.append(device.info) }
    } catch {
      if error.status != .noDevice { throw error }
    }
    return infos
  }

  /// Errors: `noDevice` when there is no library, platform or device.
  static func all() throws(TamisError) -> [OpenCLDevice] {
    let cl = try OpenCLLibrary.functions()
    var platformCount: cl_uint = 0
    let code = cl.pointee.GetPlatformIDs(0, nil, &platformCount)
    // -1001: the loader knows no driver
    if code == -1001 || (code == CL_SUCCESS && platformCount == 0) {
      throw TamisError(.noDevice, "device: the OpenCL loader found no platform")
    }
    try OpenCLLibrary.check(code, "clGetPlatformIDs")
    var platforms = [cl_platform_id?](repeating: nil, count: Int(platformCount))
    try OpenCLLibrary.check(cl.pointee.GetPlatformIDs(platformCount, &platforms, nil), "clGetPlatformIDs")

    var devices: [OpenCLDevice] = []
    for platform in platforms {
      var count: cl_uint = 0
      let code = cl.pointee.GetDeviceIDs(platform, cl_device_type(CL_DEVICE_TYPE_ALL), 0, nil, &count)
      if code == CL_DEVICE_NOT_FOUND { continue }
      try OpenCLLibrary.check(code, "clGetDeviceIDs")
      var ids = [cl_device_id?](repeating: nil, count: Int(count))
      try OpenCLLibrary.check(
        cl.pointee.GetDeviceIDs(platform, cl_device_type(CL_DEVICE_TYPE_ALL), count, &ids, nil), "clGetDeviceIDs")
      for id in ids { devices.append(try OpenCLDevice(cl: cl, platform: platform!, id: id!)) }
    }
    if devices.isEmpty { throw TamisError(.noDevice, "device: no OpenCL platform has a device") }
    return devices
  }
}

/// One device: its handles and the limits that kernels are fitted to.
struct OpenCLDevice {
  let cl: UnsafePointer<ts_opencl>
  let platform: cl_platform_id
  let id: cl_device_id
  let info: OpenCLDeviceInfo
  let platformVersion: String
  let localMemoryBytes: Int
  let maxWorkGroup: Int
  let maxAllocationBytes: Int

  init(cl: UnsafePointer<ts_opencl>, platform: cl_platform_id, id: cl_device_id) throws(TamisError) {
    self.cl = cl
    self.platform = platform
    self.id = id

    var size = 0
    try OpenCLLibrary.check(
      cl.pointee.GetPlatformInfo(platform, cl_platform_info(CL_PLATFORM_VERSION), 0, nil, &size), "clGetPlatformInfo")
    var text = [CChar](repeating: 0, count: size + 1)
    try OpenCLLibrary.check(
      cl.pointee.GetPlatformInfo(platform, cl_platform_info(CL_PLATFORM_VERSION), size, &text, nil), "clGetPlatformInfo")
    platformVersion = String(cString: text)

    let type = try Self.number(cl, id, CL_DEVICE_TYPE, of: cl_device_type.self)
    let typeName =
      type & cl_device_type(CL_DEVICE_TYPE_GPU) != 0
      ? "gpu" : type & cl_device_type(CL_DEVICE_TYPE_CPU) != 0
        ? "cpu" : type & cl_device_type(CL_DEVICE_TYPE_ACCELERATOR) != 0 ? "accelerator" : "other"
    let extensions = try Self.string(cl, id, CL_DEVICE_EXTENSIONS)
    info = OpenCLDeviceInfo(
      name: try Self.string(cl, id, CL_DEVICE_NAME), version: try Self.string(cl, id, CL_DEVICE_VERSION),
      driver: try Self.string(cl, id, CL_DRIVER_VERSION), type: typeName,
      computeUnits: Int(try Self.number(cl, id, CL_DEVICE_MAX_COMPUTE_UNITS, of: cl_uint.self)),
      globalMemoryBytes: try Self.number(cl, id, CL_DEVICE_GLOBAL_MEM_SIZE, of: cl_ulong.self),
      f16: extensions.split(separator: " ").contains("cl_khr_fp16"))
    localMemoryBytes = Int(clamping: try Self.number(cl, id, CL_DEVICE_LOCAL_MEM_SIZE, of: cl_ulong.self))
    maxWorkGroup = try Self.number(cl, id, CL_DEVICE_MAX_WORK_GROUP_SIZE, of: Int.self)
    maxAllocationBytes = Int(clamping: try Self.number(cl, id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, of: cl_ulong.self))
  }

  private static func number<T: FixedWidthInteger>(
    _ cl: UnsafePointer<ts_opencl>, _ id: cl_device_id, _ what: Int32, of: T.Type
  ) throws(TamisError) -> T {
    var value: T = 0
    try OpenCLLibrary.check(
      cl.pointee.GetDeviceInfo(id, cl_device_info(what), MemoryLayout<T>.size, &value, nil), "clGetDeviceInfo")
    return value
  }

  private static func string(_ cl: UnsafePointer<ts_opencl>, _ id: cl_device_id, _ what: Int32) throws(TamisError) -> String {
    var size = 0
    try OpenCLLibrary.check(cl.pointee.GetDeviceInfo(id, cl_device_info(what), 0, nil, &size), "clGetDeviceInfo")
    var text = [CChar](repeating: 0, count: size + 1)
    try OpenCLLibrary.check(cl.pointee.GetDeviceInfo(id, cl_device_info(what), size, &text, nil), "clGetDeviceInfo")
    return String(cString: text)
  }
}
