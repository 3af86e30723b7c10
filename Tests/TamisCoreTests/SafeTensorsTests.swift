import TamisCore
import Testing

#if canImport(Glibc)
import Glibc
#endif

@Suite struct SafeTensorsTests {
  /// A file as the reference writer lays it out: header length, header padded with spaces to 8 bytes, data.
  private func file(_ header: String, data: [UInt8], length: UInt64? = nil) -> [UInt8] {
    var header = Array(header.utf8)
    while header.count % 8 != 0 { header.append(0x20) }
    return withUnsafeBytes(of: (length ?? UInt64(header.count)).littleEndian) { Array($0) } + header + data
  }

  /// Opens bytes as a file; the file is gone from the folder when this returns, its mapping stays.
  private func open(_ bytes: [UInt8]) throws(TamisError) -> SafeTensors {
    var name = Array("/tmp/tamis-safetensors-XXXXXX".utf8CString)
    let file = mkstemp(&name)
    precondition(file >= 0 && bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) } == bytes.count)
    close(file)
    let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    return try SafeTensors(path: path)
  }

  private func status(_ bytes: [UInt8]) -> Status? {
    do throws(TamisError) {
      _ = try open(bytes)
      return nil
    } catch {
      #expect(!error.message.isEmpty)
      return error.status
    }
  }

  private let header = """
    {"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},\
    "b":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},"i":{"dtype":"I32","shape":[],"data_offsets":[32,36]},\
    "h":{"dtype":"F16","shape":[0,9000000000000000000],"data_offsets":[36,36]},"q":{"dtype":"I8","shape":[3],"data_offsets":[36,39]},\
    "u":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[39,40]}}
    """
  private var data: [UInt8] {
    let floats = (1...6).map { Float($0) / 4 }
    let bf16: [UInt16] = [0x3f80, 0xbf80, 0x4000, 0x0000]
    return bf16.withUnsafeBytes { Array($0) } + floats.withUnsafeBytes { Array($0) } + [7, 0, 0, 0] + [1, 2, 0xff] + [9]
  }

  @Test func readsWhatWasWritten() throws {
    let weights = try open(file(header, data: data))
    #expect(weights.names == ["b", "w", "i", "h", "q", "u"])
    #expect(weights.count == 6 && weights.name(1) == "w")
    #expect(weights.metadata == ["format": "pt"])
    let w = try weights.tensor("w")
    #expect(w.dtype == .f32 && w.ndim == 2 && w.shape[0] == 2 && w.shape[1] == 3 && w.stride[0] == 3 && w.stride[1] == 1)
    for i in 0..<6 { #expect(w.data.assumingMemoryBound(to: Float.self)[i] == Float(i + 1) / 4) }
    let b = try weights.tensor("b")
    #expect(b.dtype == .bf16 && b.data.assumingMemoryBound(to: UInt16.self)[1] == 0xbf80)
    let i = try weights.tensor("i")
    #expect(i.dtype == .i32 && i.ndim == 0 && i.data.assumingMemoryBound(to: Int32.self)[0] == 7)
    #expect(try weights.tensor("h").dtype == .f16)
    #expect(try weights.tensor("q").data.assumingMemoryBound(to: Int8.self)[2] == -1)
    #expect(throws: TamisError.self) { try weights.tensor("none") }
    do throws(TamisError) { _ = try weights.tensor("u") } catch {
      #expect(error.status == .unsupported && error.message.contains("U8"))
    }
  }

  @Test func noTensorsAtAll() throws {
    #expect(try open(file("{}", data: [])).names == [])
  }

  @Test func everyTruncationIsRefused() {
    let whole = file(header, data: data)
    for count in whole.indices { #expect(status(Array(whole.prefix(count))) == .format, "cut to \(count)") }
    #expect(status(whole + [0]) == .format)
  }

  /// A damaged header may still be a header (another name); it must never be a crash or a view outside the file.
  @Test func damagedHeadersNeverCrash() throws {
    let whole = file(header, data: data)
    for i in 0..<whole.count - data.count {
      for flip in [UInt8(1), 0x04, 0x10, 0x80] {
        var damaged = whole
        damaged[i] ^= flip
        guard let weights = try? open(damaged) else { continue }
        var total = 0
        for name in weights.names {
          guard let view = try? weights.tensor(name) else { continue }
          var elements = 1
          for d in 0..<view.ndim { elements &*= view.shape[d] }
          total += elements * view.dtype.size
        }
        #expect(total <= data.count)
      }
    }
  }

  @Test(arguments: [
    "[]", "{", "{\"a\":1}", "{\"a\":{}}", "not json", "",
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
    #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
    #"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,99]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#,
    #"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[9223372036854775807],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"x":1}}"#,
    #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":[]}"#,
  ]) func headersThatLie(header: String) {
    #expect(status(file(header, data: [UInt8](repeating: 0, count: 8))) == .format)
  }

  @Test func lengthsThatLie() {
    for length in [0, 1, 7, 100_000_001, 1 << 40, UInt64(Int.max), .max] as [UInt64] {
      #expect(status(file(header, data: data, length: length)) == .format)
    }
    #expect(status([]) == .format)
    #expect(status([1, 2, 3]) == .format)
  }

  @Test func filesThatAreNone() {
    #expect(throws: TamisError.self) { try SafeTensors(path: "/nowhere/at/all") }
    do throws(TamisError) { _ = try SafeTensors(path: "/nowhere/at/all") } catch { #expect(error.status == .notFound) }
    do throws(TamisError) { _ = try SafeTensors(path: "/tmp") } catch { #expect(error.status == .format) }
    do throws(TamisError) { _ = try SafeTensors(path: "/dev/zero") } catch { #expect(error.status == .format) }
    do throws(TamisError) { _ = try SafeTensors(path: "") } catch { #expect(error.status == .invalidArgument) }
  }

  @Test func unalignedDataIsNamed() throws {
    let header = #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}"#
    let weights = try open(file(header, data: [0, 0, 0, 0, 0]))
    do throws(TamisError) {
      _ = try weights.tensor("b")
      Issue.record("an unaligned view")
    } catch { #expect(error.status == .unsupported) }
  }
}
