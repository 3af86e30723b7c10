import Testing

@testable import TamisCore

/// What a body throws; nil: nothing.
private func refusal(_ body: () throws -> Void) -> TamisError? {
  do {
    try body()
    return nil
  } catch { return error as? TamisError }
}

/// Files of torch.save: what is read, and that nothing else is.
@Suite struct PickleTests {
  static let tensors = [
    NamedTensor(name: "a", shape: [2, 3], values: [1, 2, 3, 4, 5, 6]), NamedTensor(name: "b", shape: [2], values: [-1, 0.5]),
  ]
  let folder = ModelFolderFixture()

  func open(_ bytes: [UInt8]) throws -> TorchFile {
    folder.write("f", bytes)
    return try TorchFile(path: folder.path + "/f")
  }

  func values(_ file: TorchFile, _ name: String) throws -> [Float] {
    let view = try file.tensor(name)
    let n = (0..<view.ndim).reduce(1) { $0 * view.shape[$1] }
    return withExtendedLifetime(file) { (0..<n).map { view.data.load(fromByteOffset: 4 * $0, as: Float.self) } }
  }

  func refused(_ bytes: [UInt8], _ word: String, status: Status = .format, _ comment: Comment? = nil) {
    let error = refusal { _ = try open(bytes) }
    #expect(
      error?.status == status && error?.message.contains(word) == true, "\(error?.message ?? "accepted"); \(comment ?? "")")
  }

  @Test func tensorsOfAStateDictionary() throws {
    let file = try open(torchZip(Self.tensors))
    #expect(file.shape(of: "a") == [2, 3] && file.shape(of: "b") == [2] && file.shape(of: "c") == nil)
    #expect(try values(file, "a") == [1, 2, 3, 4, 5, 6])
    #expect(try values(file, "b") == [-1, 0.5])
    #expect(refusal { _ = try file.tensor("c") }?.status == .notFound)
  }

  /// One pickle with a single tensor of storage 0, six floats.
  func one(shape: [Int32], stride: [Int32], offset: Int32 = 0, count: Int = 6, type: String = "FloatStorage") -> [UInt8] {
    var p = Pickler()
    p.op("}")
    p.text("t")
    p.tensor("0", count: count, shape: shape, stride: stride, offset: offset, type: type)
    p.op("s")
    p.op(".")
    return torchZip([Self.tensors[0]], pickle: p.bytes)
  }

  @Test func stridesAreHonoured() throws {
    #expect(try values(open(one(shape: [3, 2], stride: [1, 3])), "t") == [1, 4, 2, 5, 3, 6])
    #expect(try values(open(one(shape: [2, 2], stride: [3, 1], offset: 1)), "t") == [2, 3, 5, 6])
    #expect(try values(open(one(shape: [1, 3], stride: [77, 2].map { min($0, 6) })), "t") == [1, 3, 5])
    #expect(try values(open(one(shape: [2, 3], stride: [0, 1])), "t") == [1, 2, 3, 1, 2, 3])
    #expect(try values(open(one(shape: [], stride: [], offset: 5)), "t") == [6])
    #expect(try open(one(shape: [0, 3], stride: [3, 1])).shape(of: "t") == [0, 3])
  }

  @Test func tensorsThatDoNotFit() {
    for (shape, stride, offset) in [
      ([2, 3], [3, 1], 1), ([7], [1], 0), ([2, 3], [4, 1], 0), ([2], [-1], 1), ([-1], [1], 0), ([2, 3], [3], 0), ([1], [1], -1),
      ([1], [1], 6),
      ([.max, .max, .max], [0, 0, 0], 0), ([.max, .max], [.max, .max], 0), ([7], [0], 0), ([3, 3], [0, 0], 0),
    ] as [([Int32], [Int32], Int32)] {
      refused(one(shape: shape, stride: stride, offset: offset), "does not fit", "\(shape) \(stride) \(offset)")
    }
    refused(one(shape: [1, 1, 1, 1, 1, 1, 1, 1, 1], stride: [1, 1, 1, 1, 1, 1, 1, 1, 1]), "does not fit")
  }

  @Test func storagesThatAreNotThere() throws {
    for count in [7, 1 << 30] {
      let file = try open(one(shape: [2], stride: [1], count: count))
      #expect(refusal { _ = try file.tensor("t") }?.message.contains("storage") == true)
    }
    let doubles = try open(one(shape: [2], stride: [1], type: "DoubleStorage"))  // 6 doubles, the file has 24 bytes
    #expect(refusal { _ = try doubles.tensor("t") }?.status == .format)
    let longs = try open(one(shape: [2], stride: [1], count: 3, type: "LongStorage"))
    #expect(refusal { _ = try longs.tensor("t") }?.status == .unsupported)
  }

  @Test func elementTypes() throws {
    let half = try open(one(shape: [12], stride: [1], count: 12, type: "HalfStorage"))
    let view = try half.tensor("t")
    #expect(view.dtype == .f16 && view.data.load(fromByteOffset: 2, as: UInt16.self) == 0x3f80)
    withExtendedLifetime(half) {}
    #expect(try open(one(shape: [2], stride: [1], count: 12, type: "BFloat16Storage")).tensor("t").dtype == .bf16)
    let double = try open(
      torchZip(
        [NamedTensor(name: "x", shape: [2], values: [0, 1.875])],
        pickle: {
          var p = Pickler()
          p.op("}")
          p.text("t")
          p.tensor("0", count: 1, shape: [1], stride: [1], type: "DoubleStorage")
          p.op("s")
          p.op(".")
          return p.bytes
        }()))
    #expect(try values(double, "t") == [1])  // the bits of 1.875f above zeros are those of the double 1
  }

  // MARK: code

  /// Everything a pickle can call, by the ways it has to say so.
  @Test func namesOtherThanTensors() {
    for (module, name) in [
      ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("subprocess", "Popen"),
      ("torch._utils", "_rebuild_qtensor"),
      ("torch", "load"), ("torch", "FloatStorageX"), ("collections", "defaultdict"), ("__builtin__", "getattr"), ("torch", ""),
      ("", ""),
      ("torch._utils\u{0}", "_rebuild_tensor_v2"), ("torch.storage", "_load_from_bytes"),
    ] {
      var p = Pickler()
      p.global(module, name)
      p.text("touch /tmp/tamis-was-here")
      p.bytes.append(0x85)
      p.op("R")
      p.op(".")
      refused(torchZip([], pickle: p.bytes), "nothing is executed", "\(module).\(name)")
      var q = Pickler()
      q.text(module)
      q.text(name)
      q.bytes.append(0x93)  // STACK_GLOBAL
      q.op(".")
      refused(torchZip([], pickle: q.bytes), "nothing is executed", "\(module).\(name)")
    }
  }

  /// The opcodes that make objects of other kinds, one after another behind two harmless values.
  @Test(arguments: [UInt8](0...255)) func everyOpcode(_ opcode: UInt8) throws {
    let known = Set(".(012NJKMGXTU]})tdlaesuqrhjcQRb".utf8).union([
      0x80, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x85, 0x86, 0x87, 0x93, 0x94, 0x95,
    ])
    var p = Pickler()
    p.op("}")
    p.op(")")
    p.bytes += [opcode, 0, 0, 0, 0, 0, 0, 0, 0, UInt8(ascii: ".")]
    let error = refusal { _ = try open(torchZip([], pickle: p.bytes)) }
    if known.contains(opcode) {
      #expect(error == nil || error?.status == .format)
    } else {
      #expect(error?.message.contains("opcode 0x") == true, "\(error?.message ?? "accepted")")
    }
  }

  @Test func objectsOutOfPlace() {
    func pickle(_ build: (inout Pickler) -> Void) -> [UInt8] {
      var p = Pickler()
      build(&p)
      p.op(".")
      return torchZip(Self.tensors, pickle: p.bytes)
    }
    refused(pickle { $0.op(")") }, "no dictionary")
    refused(
      pickle {
        $0.op("}")
        $0.op("}")
      }, "left over")
    refused(
      pickle {
        $0.op("(")
        $0.op("}")
      }, "left over")
    refused(pickle { _ in }, "stack is empty")
    refused(pickle { $0.op("t") }, "no mark")
    refused(
      pickle {
        $0.op("}")
        $0.op("(")
        $0.op("N")
        $0.op("u")
      }, "name without a value")
    refused(
      pickle {
        $0.op("]")
        $0.op("N")
        $0.op("N")
        $0.op("s")
      }, "adds to")
    refused(
      pickle {
        $0.op("N")
        $0.op("N")
        $0.op("a")
      }, "adds to")
    refused(
      pickle {
        $0.op("N")
        $0.op(")")
        $0.op("R")
      }, "calls what is no function")
    refused(
      pickle {
        $0.global("torch", "FloatStorage")
        $0.op(")")
        $0.op("R")
      }, "makes a storage")
    refused(
      pickle {
        $0.global("torch._utils", "_rebuild_parameter")
        $0.op(")")
        $0.op("R")
      }, "no tensor")
    refused(
      pickle {
        $0.global("torch._utils", "_rebuild_tensor_v2")
        $0.op(")")
        $0.op("R")
      }, "does not fit")
    refused(
      pickle {
        $0.global("collections", "OrderedDict")
        $0.op("}")
        $0.op("R")
      }, "calls what is no function")
    refused(
      pickle {
        $0.op("]")
        $0.op("N")
        $0.op("b")
      }, "state of an object")
    refused(
      pickle {
        $0.op("N")
        $0.op("Q")
      }, "no storage")
    refused(pickle { $0.bytes += [UInt8(ascii: "h"), 7] }, "memo 7")
    refused(pickle { $0.bytes += [UInt8(ascii: "X"), 0xff, 0xff, 0xff, 0xff] }, "ends early")
    refused(pickle { $0.bytes += [0x8d, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff] }, "ends early")
    refused(pickle { $0.bytes += [0x80, 9] }, "protocol 9")
    refused(torchZip(Self.tensors, pickle: Pickler.stateDictionary(Self.tensors) + [0]), "left over")
  }

  /// A container that holds itself, and a deep pile of them: neither recursion nor a leak.
  @Test func knots() throws {
    var p = Pickler()
    p.op("}")
    p.bytes += [UInt8(ascii: "q"), 0]
    p.text("me")
    p.bytes += [UInt8(ascii: "h"), 0]
    p.op("s")
    for _ in 0..<50_000 { p.op("]") }
    for _ in 0..<50_000 { p.op("a") }
    p.op("0")
    p.bytes += [UInt8(ascii: "h"), 0]
    p.op(".")
    // The pile is added to the dictionary's place on the stack, which is no list.
    refused(torchZip([], pickle: p.bytes), "adds to")
    var q = Pickler()
    q.op("}")
    q.bytes += [UInt8(ascii: "q"), 0]
    q.text("me")
    q.bytes += [UInt8(ascii: "h"), 0]
    q.op("s")
    q.op("]")
    for _ in 0..<50_000 { q.op("]") }
    for _ in 0..<50_000 { q.op("a") }
    q.op("0")
    q.op(".")
    #expect(try open(torchZip([], pickle: q.bytes)).shape(of: "me") == nil)
  }

  @Test func longIntegersAndProtocol4() throws {
    var p = Pickler()
    p.bytes = [0x80, 4, 0x95, 0, 0, 0, 0, 0, 0, 0, 0]
    p.op("}")
    p.bytes.append(0x94)
    p.bytes += [0x8c, 1, UInt8(ascii: "x"), 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]
    p.op("s")
    p.bytes += [0x8c, 1, UInt8(ascii: "y"), 0x8a, 2, 0, 0x80, UInt8(ascii: "G"), 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]
    p.op("0")
    p.op("s")
    p.op(".")
    #expect(throws: Never.self) { try open(torchZip([], pickle: p.bytes)) }
  }

  // MARK: damage

  @Test func everyTruncationIsRefused() {
    let whole = torchZip(Self.tensors)
    for count in whole.indices {
      #expect(refusal { _ = try open(Array(whole[..<count])) }?.status == .format, "cut to \(count)")
    }
  }

  /// A flipped bit is refused, or changes a number or a name; it never crashes, and the pickle's checksum finds its own.
  @Test func damage() throws {
    for wide in [false, true] {
      let whole = torchZip(Self.tensors, wide: wide)
      let pickle = whole.firstRange(of: Pickler.stateDictionary(Self.tensors))!
      for i in whole.indices {
        for flip in [UInt8(1), 0x80] {
          var damaged = whole
          damaged[i] ^= flip
          guard let file = try? open(damaged) else { continue }
          #expect(!pickle.contains(i), "byte \(i) of the pickle")
          for name in ["a", "b"] { _ = try? values(file, name) }
        }
      }
    }
  }

  /// The same with checksums that fit: the interpreter alone.
  @Test func damagedPickles() throws {
    let pickle = Pickler.stateDictionary(Self.tensors)
    for i in pickle.indices {
      for flip in [UInt8(1), 2, 4, 0x20, 0x80, 0xff] {
        var damaged = pickle
        damaged[i] ^= flip
        guard let file = try? open(torchZip(Self.tensors, pickle: damaged)) else { continue }
        for name in ["a", "b"] { _ = try? values(file, name) }
      }
    }
  }

  @Test func zipFilesOfOtherKinds() {
    refused(torchZip(Self.tensors, method: 8), "compressed by method 8", status: .unsupported)
    refused(zipFile([]), "neither")
    refused(zipFile([("x/other", [])]), "0 entries data.pkl")
    refused(zipFile([("x/data.pkl", []), ("y/data.pkl", [])]), "2 entries data.pkl")
    refused(zipFile([("x/data.pkl", [1]), ("x/data.pkl", [1])]), "there twice")
    refused(
      zipFile([("x/data.pkl", Pickler.stateDictionary([])), ("x/byteorder", Array("big".utf8))]), "big", status: .unsupported)
    refused([], "neither")
    refused(Array("ustar something".utf8), "neither")
    refused([0x80, 2, UInt8(ascii: "}"), UInt8(ascii: ".")], "neither")
  }
}

/// The form before PyTorch 1.6: pickles, then raw storages.
@Suite struct LegacyTorchTests {
  let folder = ModelFolderFixture()

  static let head: [UInt8] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]

  static func file(_ tensors: [NamedTensor], little: Bool = true, version: Int32 = 1001) -> [UInt8] {
    var p = Pickler()
    p.integer(version)
    p.op(".")
    var facts = Pickler()
    facts.op("}")
    facts.text("little_endian")
    facts.bytes.append(little ? 0x88 : 0x89)
    facts.op("s")
    facts.op(".")
    var keys = Pickler()
    keys.op("]")
    keys.op("(")
    for i in tensors.indices.reversed() { keys.text("\(i)") }
    keys.op("e")
    keys.op(".")
    let storages = tensors.reversed().flatMap { littleBytes(UInt64($0.values.count)) + $0.bytes }
    return head + p.bytes + facts.bytes + Pickler.stateDictionary(tensors) + keys.bytes + storages
  }

  func open(_ bytes: [UInt8]) throws -> TorchFile {
    folder.write("f", bytes)
    return try TorchFile(path: folder.path + "/f")
  }

  @Test func tensors() throws {
    let file = try open(Self.file(PickleTests.tensors))
    for t in PickleTests.tensors {
      let view = try file.tensor(t.name)
      #expect((0..<t.values.count).map { view.data.load(fromByteOffset: 4 * $0, as: Float.self) } == t.values)
    }
    withExtendedLifetime(file) {}
  }

  @Test func refusals() {
    let whole = Self.file(PickleTests.tensors)
    for count in whole.indices {
      #expect(refusal { _ = try open(Array(whole[..<count])) }?.status == .format, "cut to \(count)")
    }
    #expect(refusal { _ = try open(Self.file(PickleTests.tensors, little: false)) }?.status == .unsupported)
    #expect(refusal { _ = try open(Self.file(PickleTests.tensors, version: 1000)) }?.status == .format)
  }

  @Test func damage() throws {
    let whole = Self.file(PickleTests.tensors)
    for i in whole.indices {
      for flip in [UInt8(1), 0x80] {
        var damaged = whole
        damaged[i] ^= flip
        guard let file = try? open(damaged) else { continue }
        for name in ["a", "b"] {
          guard let view = try? file.tensor(name) else { continue }
          let n = (0..<view.ndim).reduce(1) { $0 * view.shape[$1] }
          var sum = 0
          for k in 0..<(n * view.dtype.size) { sum += Int(view.data.load(fromByteOffset: k, as: UInt8.self)) }
          #expect(n * view.dtype.size <= whole.count && sum >= 0)
        }
        withExtendedLifetime(file) {}
      }
    }
  }
}
