import TamisDevice
import Testing

@Suite struct RaggedTokensTests {
  @Test func sequencesLieOneAfterAnother() {
    let batch = RaggedTokens([[1, 2, 3], [], [7]])
    #expect(batch.sequences == 3)
    #expect(batch.starts == [0, 3, 3, 4])
    #expect(Array(batch[0]) == [1, 2, 3])
    #expect(batch[1].isEmpty)
    #expect(Array(batch[2]) == [7])
  }
}
