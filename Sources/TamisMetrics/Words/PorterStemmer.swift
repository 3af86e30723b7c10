/// Porter (1980), with the changes that NLTK's stemmer makes by default. Words are of a to z and 0 to 9.
struct PorterStemmer {
  typealias Word = [UInt8]

  private static let irregular: [Word: Word] = {
    var forms: [Word: Word] = [:]
    for (stem, words) in [
      ("sky", ["sky", "skies"]), ("die", ["dying"]), ("lie", ["lying"]), ("tie", ["tying"]), ("news", ["news"]),
      ("inning", ["innings", "inning"]), ("outing", ["outings", "outing"]), ("canning", ["cannings", "canning"]),
      ("howe", ["howe"]), ("proceed", ["proceed"]), ("exceed", ["exceed"]), ("succeed", ["succeed"]),
    ] {
      for word in words { forms[Array(word.utf8)] = Array(stem.utf8) }
    }
    return forms
  }()

  /// A suffix, and what takes its place.
  private typealias Rule = (suffix: Word, replacement: Word)

  /// "ational>ate tional>tion"
  private static func rules(_ text: String) -> [Rule] {
    Array(text.utf8).split(separator: 0x20).map { rule in
      let parts = rule.split(separator: 0x3e, omittingEmptySubsequences: false)
      return (Array(parts[0]), Array(parts[1]))
    }
  }

  func stem(_ word: Word) -> Word {
    if let stem = Self.irregular[word] { return stem }
    if word.count <= 2 { return word }
    var word = Self.plural(word)
    word = Self.pastAndProgressive(word)
    if Self.ends(word, "y"), word.count > 2, Self.isConsonant(word, word.count - 2) { word[word.count - 1] = 0x69 }
    word = Self.double(word)
    word = Self.last(Self.apply(word, Self.step3, above: 0))
    if Self.ends(word, "e") {
      let stem = Array(word.dropLast())
      let m = Self.measure(stem)
      if m > 1 || (m == 1 && !Self.endsCVC(stem)) { word = stem }
    }
    if Self.ends(word, "ll") && Self.measure(Array(word.dropLast())) > 1 { word.removeLast() }
    return word
  }

  private static func ends(_ word: Word, _ suffix: String) -> Bool { ends(word, Array(suffix.utf8)) }
  private static func ends(_ word: Word, _ suffix: Word) -> Bool {
    word.count >= suffix.count && word.suffix(suffix.count).elementsEqual(suffix)
  }

  private static func isConsonant(_ word: Word, _ i: Int) -> Bool {
    switch word[i] {
    case 0x61, 0x65, 0x69, 0x6f, 0x75: return false
    case 0x79: return i == 0 || !isConsonant(word, i - 1)
    default: return true
    }
  }

  /// m of [C](VC)^m[V].
  private static func measure(_ stem: Word) -> Int {
    var m = 0
    for i in stem.indices.dropFirst() where isConsonant(stem, i) && !isConsonant(stem, i - 1) { m += 1 }
    return m
  }

  private static func hasVowel(_ stem: Word) -> Bool { stem.indices.contains { !isConsonant(stem, $0) } }

  /// *o: consonant, vowel, consonant that is not w, x or y; or vowel, consonant, and no more.
  private static func endsCVC(_ word: Word) -> Bool {
    let n = word.count
    if n >= 3 {
      return isConsonant(word, n - 3) && !isConsonant(word, n - 2) && isConsonant(word, n - 1)
        && ![0x77, 0x78, 0x79].contains(word[n - 1])
    }
    return n == 2 && !isConsonant(word, 0) && isConsonant(word, 1)
  }

  /// The first rule whose suffix is there decides, whether the stem before it has more than `least` or not.
  private static func apply(_ word: Word, _ rules: [Rule], above least: Int) -> Word {
    for rule in rules where ends(word, rule.suffix) {
      let stem = Array(word.dropLast(rule.suffix.count))
      return measure(stem) > least ? stem + rule.replacement : word
    }
    return word
  }

  private static func plural(_ word: Word) -> Word {
    if ends(word, "ies") && word.count == 4 { return Array(word.dropLast()) }
    return apply(word, step1, above: -1)
  }

  private static func pastAndProgressive(_ word: Word) -> Word {
    if ends(word, "ied") { return Array(word.dropLast(word.count == 4 ? 1 : 2)) }
    if ends(word, "eed") {
      let stem = Array(word.dropLast(3))
      return measure(stem) > 0 ? stem + Array("ee".utf8) : word
    }
    for suffix in ["ed", "ing"] where ends(word, suffix) {
      let stem = Array(word.dropLast(suffix.utf8.count))
      guard hasVowel(stem) else { continue }
      for (end, whole) in [("at", "ate"), ("bl", "ble"), ("iz", "ize")] where ends(stem, end) {
        return Array(stem.dropLast(2)) + Array(whole.utf8)
      }
      let n = stem.count
      if n >= 2 && stem[n - 1] == stem[n - 2] && isConsonant(stem, n - 1) {
        return [0x6c, 0x73, 0x7a].contains(stem[n - 1]) ? stem : Array(stem.dropLast())
      }
      return measure(stem) == 1 && endsCVC(stem) ? stem + [0x65] : stem
    }
    return word
  }

  private static func double(_ word: Word) -> Word {
    if ends(word, "alli") && measure(Array(word.dropLast(4))) > 0 { return double(Array(word.dropLast(2))) }
    // NLTK measures what is before "ogi": the l counts.
    if ends(word, "logi") { return measure(Array(word.dropLast(3))) > 0 ? Array(word.dropLast()) : word }
    return apply(word, step2, above: 0)
  }

  /// Step 4, in which "ion" also wants an s or a t before it.
  private static func last(_ word: Word) -> Word {
    if ends(word, "ion") {
      let stem = Array(word.dropLast(3))
      return measure(stem) > 1 && (stem.last == 0x73 || stem.last == 0x74) ? stem : word
    }
    return apply(word, step4, above: 1)
  }

  private static let step1 = rules("sses>ss ies>i ss>ss s>")
  private static let step2 = rules(
    "ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble alli>al entli>ent eli>e ousli>ous ization>ize ation>ate "
      + "ator>ate alism>al iveness>ive fulness>ful ousness>ous aliti>al iviti>ive biliti>ble fulli>ful")
  private static let step3 = rules("icate>ic ative> alize>al iciti>ic ical>ic ful> ness>")
  private static let step4 = rules(
    "al> ance> ence> er> ic> able> ible> ant> ement> ment> ent> ou> ism> ate> iti> ous> ive> ize>")
}
