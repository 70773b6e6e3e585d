internal import Processes

extension ChildProcess.Outcome {
    /// The weight that a check's program asks for, or why the check fails.
    var judgement: Result<Int?, ScriptFailure> {
        let first = Self.firstLine(output)
        switch ending {
        case .exited(0): return .success(WeightText.parse(first))
        case .exited(let code): return .failure(ScriptFailure(reason: "exit code \(code)\(said)"))
        case .signalled(let signal): return .failure(ScriptFailure(reason: "killed by signal \(signal)\(said)"))
        }
    }

    private var said: String {
        let lines = [errors, output].map(Self.firstLine)
        guard let line = lines.first(where: { !$0.isEmpty }) else { return "" }
        return ": \(String(line.prefix(120)))"
    }

    private static func firstLine(_ bytes: [UInt8]) -> String {
        let line = bytes.prefix { $0 != 10 }
        return String(decoding: line.filter { $0 >= 32 && $0 != 127 }, as: UTF8.self)
    }
}

struct ScriptFailure: Error, Hashable { var reason: String }
