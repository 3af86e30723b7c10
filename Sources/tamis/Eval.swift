import ArgumentParser
import Glibc

/// Becomes the Python program tamis.eval, which measures sparse prefill methods on a model.
struct Eval: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "eval",
    abstract: "Measure sparse prefill on a model: needles, mass kept, error, time; or ask it Needle Threading, CharBench.",
    discussion: """
      Runs `python3 -m tamis.eval`. Arguments pass through to it; `tamis eval --help` is its help. The Python package is that \
      of the source tree when this program lies in one of its build folders, else the installed one. TAMIS_PYTHON names another \
      interpreter.
      """)

  @Argument(parsing: .captureForPassthrough, help: "Arguments of python3 -m tamis.eval.")
  var arguments: [String] = []

  /// Says in one sentence what is missing, rather than in a traceback.
  private static let program = """
    import importlib.util, runpy, sys
    def stop(sentence):
        print(sentence, file=sys.stderr)
        sys.exit(2)
    try:
        missing = next((name for name in ('numpy', 'tamis', 'tamis.eval') if importlib.util.find_spec(name) is None), None)
    except ImportError as error:
        stop(f'tamis: {sys.executable} cannot import the package tamis: {error}')
    if missing == 'tamis.eval':
        stop(f'tamis: the Python package tamis of {sys.executable} has no module tamis.eval: it is older than this program')
    if missing:
        stop(f'tamis: the Python package {missing} is not installed for {sys.executable}: `pip install {missing}`, or '
             'TAMIS_PYTHON names an interpreter that has it')
    sys.argv[0] = 'tamis eval'
    runpy.run_module('tamis.eval', run_name='__main__', alter_sys=False)
    """

  func run() throws {
    let interpreter = getenv("TAMIS_PYTHON").map { String(cString: $0) } ?? "python3"
    if let here = Place.ofThisProgram {
      if let package = here.pythonPackage {
        let others = getenv("PYTHONPATH").map { ":" + String(cString: $0) } ?? ""
        setenv("PYTHONPATH", package + others, 1)
      }
      // <prefix>/share/tamis/Models, for a package that is installed somewhere else.
      if getenv("TAMIS_MODELS") == nil, let model = here.model { setenv("TAMIS_MODELS", Place.parent(model), 1) }
    }
    var pointers = ([interpreter, "-c", Self.program] + arguments).map { strdup($0) } + [nil]
    execvp(interpreter, &pointers)
    throw failure(
      "\(interpreter): \(String(cString: strerror(errno))): `tamis eval` needs Python with the package tamis; TAMIS_PYTHON names "
        + "the interpreter")
  }
}

extension Place {
  /// The folder that holds the Python package, in a source tree.
  fileprivate var pythonPackage: String? {
    guard let folder = sourceTree.map({ $0 + "/bindings/python/src" }) else { return nil }
    return access(folder + "/tamis/eval/__init__.py", R_OK) == 0 ? folder : nil
  }
}
