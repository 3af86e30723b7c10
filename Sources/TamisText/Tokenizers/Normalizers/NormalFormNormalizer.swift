import TamisCore

/// NFC, NFD, NFKC or NFKD, by the tables of Unicode 9.0, which are those of the software that makes the vocabularies.
public struct NormalFormNormalizer: Normalizer {
  public var form: NormalForm
  public var version: NormalizationVersion

  public init(_ form: NormalForm, version: NormalizationVersion = .unicode9) {
    self.form = form
    self.version = version
  }

  public func apply(_ text: inout AlignedText) {
    let first = text.bytes.withUnsafeBufferPointer { Normalization.firstChange($0, from: 0, form, version) }
    guard var piece = first else { return }
    text.rewrite(room: text.bytes.count &+ text.bytes.count / 2 &+ 64) { (new: inout TextRewrite) in
      var normalization = Normalization(form, version)
      while true {
        new.copy(to: piece)
        let end = Normalization.pieceEnd(new.source, from: piece, form, version)
        normalization.normalize(new.source, from: piece, to: end)
        for scalar in normalization.scalars { new.step(scalar.value, change: scalar.change) }
        guard let next = Normalization.firstChange(new.source, from: end, form, version) else { break }
        piece = next
      }
      new.copy(to: new.source.count)
    }
  }
}
