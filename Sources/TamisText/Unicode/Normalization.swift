import CShims

/// The four normal forms of Unicode (UAX #15).
public enum NormalForm: Sendable {
  case nfd, nfc, nfkd, nfkc

  var isCompatible: Bool { self == .nfkd || self == .nfkc }
  var composes: Bool { self == .nfc || self == .nfkc }
  /// Bit of the quick-check property in the table.
  var quickCheck: UInt16 {
    switch self {
    case .nfc: 256
    case .nfkc: 512
    case .nfd: 1024
    case .nfkd: 2048
    }
  }
}

/// Which characters take part in normalisation. `tokenizers` has the tables of Unicode 9.0: a vocabulary made with it expects
/// that later characters stay as they are.
public enum NormalizationVersion: Sendable {
  case unicode9
  case current
}

/// A scalar of a decomposed or composed text, and how it stands to the scalars it was made from: 1: added to them, 0: in the
/// place of one, -n: in the place of one and the n after it.
struct NormalScalar: Equatable {
  var value: UInt32
  var change: Int32
  var combiningClass: UInt8
}

/// Normalises a text piece by piece: a piece runs from one scalar that nothing before it can touch to the next.
struct Normalization {
  let form: NormalForm
  let version: NormalizationVersion
  private(set) var scalars: [NormalScalar] = []
  private var composed: [NormalScalar] = []

  init(_ form: NormalForm, _ version: NormalizationVersion) {
    self.form = form
    self.version = version
  }

  /// Entry of the table, as this version sees it.
  @inline(__always)
  static func entry(_ c: UInt32, _ version: NormalizationVersion) -> UInt16 {
    let entry = ts_normal(c)
    return entry & 4096 != 0 && version == .unicode9 ? 0 : entry
  }

  /// First byte from which `text` is not visibly in the form, moved back to where a piece starts; nil: all of it is.
  static func firstChange(
    _ text: UnsafeBufferPointer<UInt8>, from: Int, _ form: NormalForm, _ version: NormalizationVersion
  ) -> Int? {
    guard let base = text.baseAddress else { return nil }
    var piece = from
    var before: UInt16 = 0
    var at = from
    while at < text.count {
      if base[at] < 0x80 {
        before = 0
        piece = at
        at &+= 1
        continue
      }
      let (c, length) = UTF8Text.scalar(base, at: at)
      let entry = entry(c, version)
      if entry & form.quickCheck != 0 { return piece }
      let combining = entry & 0xff
      if combining == 0 {
        piece = at
      } else if combining < before {
        return piece
      }
      before = combining
      at &+= length
    }
    return nil
  }

  /// Where the piece that starts at `from` ends.
  static func pieceEnd(
    _ text: UnsafeBufferPointer<UInt8>, from: Int, _ form: NormalForm, _ version: NormalizationVersion
  ) -> Int {
    guard let base = text.baseAddress else { return from }
    var at = from
    while at < text.count {
      let (c, length) = UTF8Text.scalar(base, at: at)
      if at > from, entry(c, version) & (0xff | form.quickCheck) == 0 { break }
      at &+= length
    }
    return at
  }

  /// Normalises bytes [from, to) into `scalars`.
  mutating func normalize(_ text: UnsafeBufferPointer<UInt8>, from: Int, to: Int) {
    scalars.removeAll(keepingCapacity: true)
    guard let base = text.baseAddress else { return }
    var at = from
    var pending = 0
    while at < to {
      let (c, length) = UTF8Text.scalar(base, at: at)
      decompose(c, &pending)
      at &+= length
    }
    sort(from: pending)
    if form.composes { compose() }
  }

  private mutating func decompose(_ c: UInt32, _ pending: inout Int) {
    if c &- 0xac00 < 11172 {
      let index = c &- 0xac00
      append(0x1100 &+ index / 588, 0, &pending)
      append(0x1161 &+ index % 588 / 28, 1, &pending)
      if index % 28 != 0 { append(0x11a7 &+ index % 28, 1, &pending) }
      return
    }
    let offset = Int(ts_decomposition(c))
    if offset != 0, version == .current || ts_normal(c) & 4096 == 0 {
      let lengths = ts_decomposition_at(offset)
      let canonical = Int(lengths & 0xff)
      let length = form.isCompatible ? Int(lengths >> 8) : canonical
      if length > 0 {
        let first = offset &+ 1 &+ (form.isCompatible ? canonical : 0)
        for i in 0..<length { append(ts_decomposition_at(first &+ i), i == 0 ? 0 : 1, &pending) }
        return
      }
    }
    append(c, 0, &pending)
  }

  @inline(__always)
  private mutating func append(_ c: UInt32, _ change: Int32, _ pending: inout Int) {
    let combining = UInt8(truncatingIfNeeded: Self.entry(c, version))
    if combining == 0 {
      sort(from: pending)
      pending = scalars.count
    }
    scalars.append(NormalScalar(value: c, change: change, combiningClass: combining))
  }

  /// Canonical ordering: a stable sort by combining class. Runs are short, but nothing stops a text from having a long one.
  private mutating func sort(from first: Int) {
    let count = scalars.count &- first
    if count < 2 { return }
    if count < 32 {
      for i in first &+ 1..<scalars.count {
        let scalar = scalars[i]
        var j = i
        while j > first, scalars[j &- 1].combiningClass > scalar.combiningClass {
          scalars[j] = scalars[j &- 1]
          j &-= 1
        }
        scalars[j] = scalar
      }
      return
    }
    var place = [Int](repeating: 0, count: 257)
    for i in first..<scalars.count { place[Int(scalars[i].combiningClass) &+ 1] &+= 1 }
    for i in 1...256 { place[i] &+= place[i &- 1] }
    let unsorted = Array(scalars[first...])
    for scalar in unsorted {
      let k = Int(scalar.combiningClass)
      scalars[first &+ place[k]] = scalar
      place[k] &+= 1
    }
  }

  /// Canonical composition (D117): a scalar joins the last starter unless one of its class or higher stands between.
  private mutating func compose() {
    composed.removeAll(keepingCapacity: true)
    var starter = -1
    var lastClass: UInt8? = nil
    for scalar in scalars {
      if starter >= 0 {
        let blocked = lastClass.map { $0 >= scalar.combiningClass } ?? false
        if !blocked, let pair = Self.composition(composed[starter].value, scalar.value, version) {
          composed[starter].value = pair
          composed[starter].change &+= scalar.change &- 1
          continue
        }
      }
      composed.append(scalar)
      if scalar.combiningClass == 0 {
        starter = composed.count &- 1
        lastClass = nil
      } else if starter >= 0 {
        lastClass = scalar.combiningClass
      }
    }
    swap(&scalars, &composed)
  }

  /// The scalar that canonically decomposes into the two, unless it is excluded from composition.
  static func composition(_ first: UInt32, _ second: UInt32, _ version: NormalizationVersion) -> UInt32? {
    if first &- 0x1100 < 19, second &- 0x1161 < 21 { return 0xac00 &+ ((first &- 0x1100) &* 21 &+ second &- 0x1161) &* 28 }
    if first &- 0xac00 < 11172, (first &- 0xac00) % 28 == 0, second &- 0x11a8 < 27 { return first &+ second &- 0x11a7 }
    var low = 0
    var high = Int(ts_composition_count)
    while low < high {
      let middle = (low &+ high) / 2
      let pair = ts_composition_at(middle)
      if (pair.first, pair.second) < (first, second) { low = middle &+ 1 } else { high = middle }
    }
    if low == Int(ts_composition_count) { return nil }
    let pair = ts_composition_at(low)
    if pair.first != first || pair.second != second { return nil }
    return version == .unicode9 && ts_normal(pair.result) & 4096 != 0 ? nil : pair.result
  }
}
