/// What can be at the far end of the veth pair.
enum FrameSubject: String, CaseIterable {
    /// The program drops what comes: generator and veth alone.
    case harness = "XDP drop (harness)"
    case reflector = "bare reflector"
    case floor = "bare encapsulation"
    case director = "ipvsd"
    /// To the same interface, as on a veth whose peer has no XDP program.
    case redirectingDirector = "ipvsd, by redirect"
    /// The kernel makes an sk_buff of the frame, and tc drops it at once.
    case stack = "sk_buff, dropped by tc"
    case forwarding = "IP forwarding"
    case ipvs = "kernel IPVS, ipip"
    /// Every frame is handed over, before and after.
    case captured = "ipvsd, captured"
    /// A capture looks at every frame, and wants none.
    case capturedNone = "ipvsd, another client captured"

    /// Handles packets in the network stack.
    var usesStack: Bool {
        switch self {
        case .stack, .forwarding, .ipvs: true
        default: false
        }
    }

    var encapsulates: Bool {
        switch self {
        case .floor, .director, .redirectingDirector, .ipvs, .captured, .capturedNone: true
        default: false
        }
    }

    /// Needs to have seen a flow's first packets.
    var keepsFlows: Bool {
        switch self {
        case .director, .redirectingDirector, .ipvs, .captured, .capturedNone: true
        default: false
        }
    }
}

extension [FrameSubject] {
    static let xdp: Self = FrameSubject.allCases.filter { $0 != .ipvs && !Self.captures.contains($0) }
    static let captures: Self = [.captured, .capturedNone]
}
