import ArgumentParser
@main struct TamisCommand: ParsableCommand { func run() { } }
