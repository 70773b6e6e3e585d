public import BPF
internal import SystemCalls

/// What is pinned, so that it outlives the daemon. This process holds it too: a pin that somebody removed takes nothing with
/// it, and can be made again.
extension XDPDataPlane {
    /// The names, below `directory`, of what is held and no longer pinned.
    public var missingPins: [String] {
        let explaining = explainingRefusal == nil ? [ExplainingProgram.name] : []
        let names = MapCatalogue.all.map(\.pin) + ["director", "tick"] + explaining
        let attachments = links.filter { !File.exists(linkPath($0.key)) && isAlive($0.value, on: $0.key) }
        return names.filter { !File.exists("\(directory)/\($0)") } + attachments.keys.sorted().map(Self.linkName)
    }

    /// Pins one of `missingPins` again.
    public func restorePin(_ name: String) throws(BPFError) {
        let path = "\(directory)/\(name)"
        if let map = MapCatalogue.all.first(where: { $0.pin == name }) {
            try object.pin(map: map.name, at: path)
        } else if let link = links.first(where: { Self.linkName($0.key) == name })?.value {
            try link.pin(at: path)
        } else if name == ExplainingProgram.name {
            try ExplainingProgram.program(of: explainingObject.get()).pin(at: path)
        } else {
            try object.program(named: name).pin(at: path)
        }
    }

    /// Not once its device is gone.
    private func isAlive(_ link: BPFLink, on interface: Int32) -> Bool {
        (try? link.interface()) == UInt32(interface)
    }
}
