import Glibc
import Testing

@testable import TamisDevice
import TamisCore

extension OpenCLTests {
  @Suite struct DeviceTests {
    @Test(.needsDevice) func enumeration() throws {
      let devices = try OpenCLDevices.list()
      let first = try #require(devices.first)
      #expect(!first.name.isEmpty && first.version.hasPrefix("OpenCL ") && !first.driver.isEmpty)
      #expect(["gpu", "cpu", "accelerator", "other"].contains(first.type))
      #expect(first.computeUnits > 0 && first.globalMemoryBytes > 0)
      #expect(Device.backend?.name == first.name)
    }

    @Test(.needsDevice) func indexOutOfRange() throws {
      for index in [-1, 1000, .max] {
        do {
          _ = try Context(device: .openCL, openCLIndex: index)
          Issue.record("no error")
        } catch {
          #expect(error.status == .invalidArgument && error.message.contains("opencl_index is \(index)"))
        }
      }
      #expect(try Context(device: .openCL).backend is OpenCLBackend)
    }

    /// A loader without drivers, as on a machine that has none. In a process of its own: the loader looks once.
    @Test func noDriver() async {
      await #expect(processExitsWith: .success) {
        setenv("OCL_ICD_VENDORS", "/nonexistent-vendors/", 1)
        do {
          _ = try Context(device: .openCL)
          exit(2)
        } catch let error as TamisError {
          guard error.status == .noDevice, !error.message.isEmpty else { exit(3) }
        }
        guard try OpenCLDevices.list().isEmpty else { exit(4) }
        exit(EXIT_SUCCESS)
      }
    }

    @Test func errorSentences() {
      do {
        try OpenCLLibrary.check(-5, "clFinish")
        Issue.record("no error")
      } catch { #expect(error.status == .device && error.message == "clFinish failed: CL_OUT_OF_RESOURCES") }
      do {
        try OpenCLLibrary.check(-4, "clCreateBuffer", "64 bytes")
        Issue.record("no error")
      } catch {
        #expect(error.status == .outOfMemory)
        #expect(error.message == "clCreateBuffer failed: CL_MEM_OBJECT_ALLOCATION_FAILURE (64 bytes)")
      }
      #expect(OpenCLLibrary.name(of: -9999) == "CL error -9999")
    }

    @Test(.needsDevice) func memoryThatIsNotThere() throws {
      let backend = try #require(Device.backend)
      do {
        _ = try OpenCLBuffer(backend.queue, bytes: 1 << 60)
        Issue.record("no error")
      } catch { #expect(error.status == .outOfMemory) }
      try DenseTests.check(DenseCase(c: 1))
    }

    @Test(.needsDevice) func compilerErrors() throws {
      let backend = try #require(Device.backend)
      do {
        // No D: the program cannot compile.
        _ = try backend.programs.kernel(.attendMerge, "attend_merge")
        Issue.record("no error")
      } catch {
        #expect(error.status == .device && error.message.hasPrefix("clBuildProgram failed: CL_BUILD_PROGRAM_FAILURE"))
      }
      #expect(throws: TamisError.self) { try backend.programs.kernel(.vote, "no_such_kernel") }
    }

    /// Work-groups fit the smallest local memory that is accepted.
    @Test func localMemory() {
      for d in Swift.stride(from: 8, through: 256, by: 8) {
        for rows in [1, 7, 40] { #expect(DecodeBlock(rows: rows, headDim: d).bytes(headDim: d) <= 32 << 10) }
        for memory in [32 << 10, 48 << 10, 1 << 20] {
          let tile = PrefillTile(headDim: d, localMemoryBytes: memory)
          #expect(tile.bytes(headDim: d) <= memory && tile.keys % 8 == 0 && tile.rows % tile.rowsEach == 0)
        }
      }
    }

    @Test func embeddedKernelsAreUpToDate() throws {
      let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
      let folder = "/" + root + "/Sources/TamisDevice/OpenCL"
      let status = system("python3 '\(folder)/embed_kernels.py' --check")
      #expect(status == 0, "run Sources/TamisDevice/OpenCL/embed_kernels.py")
    }
  }

  @Suite struct ProgramCacheTests {
    static func withFolder(_ body: (String) throws -> Void) throws {
      var template = Array("/tmp/tamis-cache-XXXXXX".utf8CString)
      let path = String(cString: try #require(mkdtemp(&template)))
      defer { _ = system("rm -rf '\(path)'") }
      try body(path)
    }

    @Test func storeAndLoad() throws {
      try Self.withFolder { path in
        let cache = ProgramCache(folder: path + "/a/b")
        let key = ProgramCache.key(["source", "options"])
        #expect(cache.load(key) == nil)
        #expect(cache.store(key, [1, 2, 3]))
        #expect(cache.load(key) == [1, 2, 3])
        #expect(cache.load(ProgramCache.key(["sourceo", "ptions"])) == nil)
        #expect(cache.store(key, []))
        #expect(cache.load(key) == [])
      }
      #expect(!ProgramCache(folder: nil).store(ProgramCache.key([]), [1]))
      #expect(!ProgramCache(folder: "/proc/nowhere").store(ProgramCache.key([]), [1]))
    }

    /// Every byte of the file is guarded, and so is its length.
    @Test func damage() throws {
      try Self.withFolder { path in
        let cache = ProgramCache(folder: path)
        let key = ProgramCache.key(["x"])
        #expect(cache.store(key, [9, 8, 7, 6]))
        let file = try #require(cache.path(of: key))
        let descriptor = open(file, O_RDWR)
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        for offset in 0..<size {
          var byte: UInt8 = 0
          #expect(pread(descriptor, &byte, 1, offset) == 1)
          var wrong = byte ^ 0x10
          pwrite(descriptor, &wrong, 1, offset)
          #expect(cache.load(key) == nil, "byte \(offset)")
          pwrite(descriptor, &byte, 1, offset)
        }
        #expect(cache.load(key) == [9, 8, 7, 6])
        for length in (0..<size).reversed() {
          ftruncate(descriptor, length)
          #expect(cache.load(key) == nil)
        }
      }
    }

    @Test(.needsDevice) func binariesAreReused() throws {
      try Self.withFolder { path in
        let cache = ProgramCache(folder: path)
        let first = try OpenCLBackend(index: 0, cache: cache)
        _ = try first.programs.kernel(.attendMerge, "attend_merge", ["D": 16])
        #expect(first.programs.compiled == 1 && first.programs.loaded == 0)
        let second = try OpenCLBackend(index: 0, cache: cache)
        _ = try second.programs.kernel(.attendMerge, "attend_merge", ["D": 16])
        #expect(second.programs.compiled == 0 && second.programs.loaded == 1)
        // A corrupt file is compiled anew and replaced.
        #expect(system("for f in '\(path)'/*; do printf x >> \"$f\"; done") == 0)
        let third = try OpenCLBackend(index: 0, cache: cache)
        _ = try third.programs.kernel(.attendMerge, "attend_merge", ["D": 16])
        #expect(third.programs.compiled == 1)
        let fourth = try OpenCLBackend(index: 0, cache: cache)
        _ = try fourth.programs.kernel(.attendMerge, "attend_merge", ["D": 16])
        #expect(fourth.programs.loaded == 1)
      }
    }

    @Test func folderFromEnvironment() async {
      await #expect(processExitsWith: .success) {
        setenv("HOME", "/h", 1)
        unsetenv("TAMIS_CACHE_DIR")
        unsetenv("XDG_CACHE_HOME")
        guard ProgramCache().folder == "/h/.cache/tamis" else { exit(2) }
        setenv("XDG_CACHE_HOME", "/x", 1)
        guard ProgramCache().folder == "/x/tamis" else { exit(3) }
        setenv("TAMIS_CACHE_DIR", "/t", 1)
        guard ProgramCache().folder == "/t" else { exit(4) }
        setenv("TAMIS_CACHE_DIR", "", 1)
        guard ProgramCache().folder == nil else { exit(5) }
        exit(EXIT_SUCCESS)
      }
    }
  }
}
