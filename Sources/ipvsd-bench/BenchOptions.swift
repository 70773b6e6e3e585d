import ArgumentParser

/// What every command has.
struct BenchOptions: ParsableArguments {
    @Option(help: "Rounds; every one measures everything, so that all ratios are of the same minutes.")
    var rounds = 5

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard (1...1000).contains(rounds) else { throw ValidationError("--rounds: 1 to 1000") }
    }

    func print(_ report: Report) throws { Swift.print(json ? try report.json() : report.table()) }
}
