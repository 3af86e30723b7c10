import ArgumentParser
import Tamis

/// Exit status of bad input: a missing, foreign or damaged file, or a program that is not there.
let badInput = ExitCode(2)

/// Says the sentence on standard error and gives the exit status to throw.
func failure(_ sentence: String, _ code: ExitCode = badInput) -> ExitCode {
  say("tamis: \(sentence)")
  return code
}

/// Runs the body; an error of the library becomes its sentence and exit status 2.
func reportingErrors<R>(_ body: () throws(TamisError) -> R) throws -> R {
  do throws(TamisError) {
    return try body()
  } catch {
    throw failure(error.message)
  }
}
