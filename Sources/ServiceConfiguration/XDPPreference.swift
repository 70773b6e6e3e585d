/// Where the packet program runs: in the driver (native), behind it (generic), or in the best place there is (auto).
public enum XDPPreference: String, CaseIterable, Sendable {
    case auto
    case native
    case generic
}
