/// A measured subject at the far end of the veth pair.
enum FrameSubject: String, CaseIterable {
    /// A program that drops all frames. Its figure is the cost of the generator and the veth alone.
    case harness = "XDP drop (harness)"
    case reflector = "bare reflector"
    case floor = "bare encapsulation"
    case director = "ipvsd"
    /// The director redirects frames to the interface that they came in on, as on a veth whose peer has no XDP program.
    case redirectingDirector = "ipvsd, by redirect"
    /// The kernel makes an sk_buff of the frame, and tc drops it at once.
    case stack = "sk_buff, dropped by tc"
    case forwarding = "IP forwarding"
    case ipvs = "kernel IPVS, ipip"
    /// A capture takes each frame before and after the director.
    case captured = "ipvsd, captured"
    /// A capture of another client inspects each frame, and takes none.
    case capturedNone = "ipvsd, another client captured"

    /// Whether the subject handles packets in the network stack.
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

    /// Whether the subject needs a flow's first packets before the measured ones.
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
