public import HostState
public import RealServerSetup

/// A fault that the doctor found, with the observation and the remedy.
public struct Finding: Sendable, Hashable {
    public var fault: Fault
    /// The observation, with values, interface and address.
    public var seen: String
    /// The remedy in one line, with a command where there is one.
    public var fix: String
    /// The remedy that `--fix` applies. Nil: there is none for this finding.
    public var repair: Repair?

    /// A remedy that `--fix` applies. It is journalled, so that `realserver-setup --undo` undoes it.
    public struct Repair: Sendable, Hashable {
        var steps: [Step] = []
        /// Whether the whole of realserver-setup follows the steps.
        var needsSetUp = false

        public static let setUp = Repair(needsSetUp: true)
        static func steps(_ steps: [Step]) -> Repair { Repair(steps: steps) }
        static func stepsAndSetUp(_ steps: [Step]) -> Repair { Repair(steps: steps, needsSetUp: true) }
    }

    init(_ fault: Fault, _ seen: String, fix: String, repair: Repair? = nil) {
        self.fault = fault
        self.seen = seen
        self.fix = fix
        self.repair = repair
    }
}

extension [Finding] {
    /// Makes the repairs of all findings that have a repair, and reports each step.
    public func repair(with setup: RealServerSetup, report: (Step) -> Void) throws {
        let repairs = compactMap(\.repair)
        if repairs.isEmpty { return }
        var steps: [Step] = []
        for step in repairs.flatMap(\.steps) where !steps.contains(step) { steps.append(step) }
        try setup.apply(corrections: steps, alone: !repairs.contains(where: \.needsSetUp), report: report)
    }
}
