public import RealServerSetup

/// One thing that is wrong with a machine.
public struct Finding: Sendable, Hashable {
    public var fault: Fault
    /// What was seen, with the values.
    public var seen: String
    /// What mends it, in one line: a command where there is one.
    public var fix: String
    public var repair: Repair?

    /// What `--fix` does about it. All of it is journalled, so that `realserver-setup --undo` takes it back.
    public enum Repair: Sendable, Hashable {
        /// What realserver-setup does.
        case setUp
        case steps([Step])
        /// Both, the steps first.
        case stepsAndSetUp([Step])
    }

    init(_ fault: Fault, _ seen: String, fix: String, repair: Repair? = nil) {
        self.fault = fault
        self.seen = seen
        self.fix = fix
        self.repair = repair
    }
}

extension [Finding] {
    /// Mends what may be mended, reporting each step.
    public func repair(with setup: RealServerSetup, report: (Step) -> Void) throws {
        let repairs = compactMap(\.repair)
        var steps: [Step] = []
        var needsSetUp = false
        for repair in repairs {
            switch repair {
            case .setUp: needsSetUp = true
            case .steps(let more): steps += more.filter { !steps.contains($0) }
            case .stepsAndSetUp(let more):
                steps += more.filter { !steps.contains($0) }
                needsSetUp = true
            }
        }
        if repairs.isEmpty { return }
        try setup.apply(corrections: steps, alone: !needsSetUp, report: report)
    }
}
