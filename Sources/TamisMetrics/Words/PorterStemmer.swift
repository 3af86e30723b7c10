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

  /// A suffix, what takes its place, and what must hold of the stem before it.
  private struct Rule {
    let suffix: Word
    let replacement: Word
    let holds: (Word) -> Bool
    init(_ suffix: String, _ replacement: String, _ holds: @escaping (Word) -> Bool = { PorterStemmer.measure($0) > 0 }) {
      self.suffix = Array(suffix.utf8)
      self.replacement = Array(replacement.utf8)
      self.holds = holds
    }
  }

  func stem(_ word: Word) -> Word {
    if let stem = Self.irregular[word] { return stem }
    if word.count <= 2 { return word }
    var word = Self.plural(word)
    word = Self.pastAndProgressive(word)
    if Self.ends(word, "y"), word.count > 2, Self.isConsonant(word, word.count - 2) { word[word.count - 1] = 0x69 }
    word = Self.double(word)
    word = Self.apply(word, Self.step3)
    word = Self.apply(word, Self.step4)
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

  /// The first rule whose suffix is there decides, whether its condition holds or not.
  private static func apply(_ word: Word, _ rules: [Rule]) -> Word {
    for rule in rules where ends(word, rule.suffix) {
      let stem = Array(word.dropLast(rule.suffix.count))
      return rule.holds(stem) ? stem + rule.replacement : word
    }
    return word
  }

  private static func plural(_ word: Word) -> Word {
    if ends(word, "ies") && word.count == 4 { return Array(word.dropLast()) }
    return apply(
      word,
      [
        Rule("sses", "ss") { _ in true }, Rule("ies", "i") { _ in true }, Rule("ss", "ss") { _ in true },
        Rule("s", "") { _ in true },
      ])
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
    return apply(word, step2)
  }

  nonisolated(unsafe) private static let step2: [Rule] = [
    Rule("ational", "ate"), Rule("tional", "tion"), Rule("enci", "ence"), Rule("anci", "ance"), Rule("izer", "ize"),
    Rule("bli", "ble"), Rule("alli", "al"), Rule("entli", "ent"), Rule("eli", "e"), Rule("ousli", "ous"),
    Rule("ization", "ize"), Rule("ation", "ate"), Rule("ator", "ate"), Rule("alism", "al"), Rule("iveness", "ive"),
    Rule("fulness", "ful"), Rule("ousness", "ous"), Rule("aliti", "al"), Rule("iviti", "ive"), Rule("biliti", "ble"),
    // NLTK measures the word without "ogi" minus one letter: the l counts.
    Rule("fulli", "ful"), Rule("logi", "log") { measure($0 + [0x6c]) > 0 },
  ]
  nonisolated(unsafe) private static let step3: [Rule] = [
    Rule("icate", "ic"), Rule("ative", ""), Rule("alize", "al"), Rule("iciti", "ic"), Rule("ical", "ic"), Rule("ful", ""),
    Rule("ness", ""),
  ]
  nonisolated(unsafe) private static let step4: [Rule] = {
    let long: (Word) -> Bool = { measure($0) > 1 }
    let before = ["al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent"].map { Rule($0, "", long) }
    let ion = Rule("ion", "") { measure($0) > 1 && ($0.last == 0x73 || $0.last == 0x74) }
    return before + [ion] + ["ou", "ism", "ate", "iti", "ous", "ive", "ize"].map { Rule($0, "", long) }
  }()
}
