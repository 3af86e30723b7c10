/// Natural numbers of any size: as much arithmetic as exact precisions of n-grams take.
struct Natural: Equatable {
  /// Little-endian, without zeros at the end.
  private(set) var limbs: [UInt32]

  init(_ value: UInt64) {
    limbs = [UInt32(truncatingIfNeeded: value), UInt32(truncatingIfNeeded: value >> 32)]
    trim()
  }

  private mutating func trim() { while limbs.last == 0 { limbs.removeLast() } }

  var isZero: Bool { limbs.isEmpty }
  var bitWidth: Int { limbs.isEmpty ? 0 : limbs.count * 32 - limbs[limbs.count - 1].leadingZeroBitCount }

  static func + (a: Natural, b: Natural) -> Natural {
    var sum = a
    var carry: UInt64 = 0
    for i in 0..<max(a.limbs.count, b.limbs.count) + 1 {
      carry += (i < a.limbs.count ? UInt64(a.limbs[i]) : 0) + (i < b.limbs.count ? UInt64(b.limbs[i]) : 0)
      let limb = UInt32(truncatingIfNeeded: carry)
      if i < sum.limbs.count { sum.limbs[i] = limb } else { sum.limbs.append(limb) }
      carry >>= 32
    }
    sum.trim()
    return sum
  }

  static func * (a: Natural, b: Natural) -> Natural {
    var product = Natural(0)
    product.limbs = [UInt32](repeating: 0, count: a.limbs.count + b.limbs.count)
    for i in 0..<a.limbs.count {
      var carry: UInt64 = 0
      for j in 0..<b.limbs.count {
        carry += UInt64(a.limbs[i]) * UInt64(b.limbs[j]) + UInt64(product.limbs[i + j])
        product.limbs[i + j] = UInt32(truncatingIfNeeded: carry)
        carry >>= 32
      }
      product.limbs[i + b.limbs.count] = UInt32(truncatingIfNeeded: carry)
    }
    product.trim()
    return product
  }

  /// a - b, for a >= b.
  static func - (a: Natural, b: Natural) -> Natural {
    var difference = a
    var borrow: Int64 = 0
    for i in 0..<a.limbs.count {
      var value = Int64(a.limbs[i]) - (i < b.limbs.count ? Int64(b.limbs[i]) : 0) - borrow
      borrow = value < 0 ? 1 : 0
      if value < 0 { value += 1 << 32 }
      difference.limbs[i] = UInt32(truncatingIfNeeded: value)
    }
    difference.trim()
    return difference
  }

  static func >= (a: Natural, b: Natural) -> Bool {
    if a.limbs.count != b.limbs.count { return a.limbs.count > b.limbs.count }
    for i in stride(from: a.limbs.count - 1, through: 0, by: -1) where a.limbs[i] != b.limbs[i] {
      return a.limbs[i] > b.limbs[i]
    }
    return true
  }

  static func << (a: Natural, shift: Int) -> Natural {
    var shifted = Natural(0)
    if a.isZero { return shifted }
    shifted.limbs = [UInt32](repeating: 0, count: shift / 32)
    var carry: UInt64 = 0
    for limb in a.limbs {
      carry |= UInt64(limb) << UInt64(shift % 32)
      shifted.limbs.append(UInt32(truncatingIfNeeded: carry))
      carry >>= 32
    }
    shifted.limbs.append(UInt32(truncatingIfNeeded: carry))
    shifted.trim()
    return shifted
  }
}

/// A fraction of natural numbers, not reduced.
struct Rational {
  var numerator: Natural
  var denominator: Natural

  init(_ numerator: Natural, _ denominator: Natural) {
    self.numerator = numerator
    self.denominator = denominator
  }

  init(_ numerator: Int64, _ denominator: Int64) {
    self.init(Natural(UInt64(numerator)), Natural(UInt64(denominator)))
  }

  static func + (a: Rational, b: Rational) -> Rational {
    Rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator)
  }
  static func * (a: Rational, b: Rational) -> Rational {
    Rational(a.numerator * b.numerator, a.denominator * b.denominator)
  }
  static func / (a: Rational, b: Rational) -> Rational {
    Rational(a.numerator * b.denominator, a.denominator * b.numerator)
  }

  /// The nearest float64, ties to even. Values of the size of precisions: no overflow, nothing subnormal.
  var value: Double {
    if numerator.isZero { return 0 }
    if numerator.bitWidth <= 53 && denominator.bitWidth <= 53 {
      return Self.small(numerator) / Self.small(denominator)
    }
    // A quotient of 55 or 56 bits, the last one set when anything is left over, rounds as the whole does.
    let shift = 55 - (numerator.bitWidth - denominator.bitWidth)
    var rest = shift > 0 ? numerator << shift : numerator
    let divisor = shift < 0 ? denominator << -shift : denominator
    var quotient: UInt64 = 0
    for bit in stride(from: 56, through: 0, by: -1) {
      let part = divisor << bit
      if rest >= part {
        rest = rest - part
        quotient |= 1 << UInt64(bit)
      }
    }
    // Double(UInt64) rounds to nearest even; a set last bit below the rounding place keeps a tie from being one.
    if !rest.isZero { quotient |= 1 }
    return Double(sign: .plus, exponent: -shift, significand: Double(quotient))
  }

  private static func small(_ natural: Natural) -> Double {
    natural.limbs.reversed().reduce(0.0) { $0 * 0x1p32 + Double($1) }
  }
}
