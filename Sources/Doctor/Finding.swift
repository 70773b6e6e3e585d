public import HostState
public import RealServerSetup

/// One thing that is wrong with a machine.
public struct Finding: Sendable, Hashable {
    public var fault: Fault
    /// The observation, with the values.
    public var seen: String
    /// The remedy in one line: a command where there is one.
    public var fix: String
    public var repair: Repair?

    /// The remedy of `--fix`. All of it is journalled, so that `realserver-setup --undo` takes it back.
    public struct Repair: Sendable, Hashable {
        var steps: [Step] = []
        /// The steps are followed by all that realserver-setup does.
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
    /// Mends what may be mended, reporting each step.
    public func repair(with setup: RealServerSetup, report: (Step) -> Void) throws {
        let repairs = compactMap(\.repair)
        if repairs.isEmpty { return }
        var steps: [Step] = []
        for step in repairs.flatMap(\.steps) where !steps.contains(step) { steps.append(step) }
        try setup.apply(corrections: steps, alone: !repairs.contains(where: \.needsSetUp), report: report)
    }
}
