public import BPF
public import Netlink
internal import PacketPrograms

/// The tc programs that carry health checks through the tunnel. They share the director's pinned maps.
public struct CheckPrograms {
    private let object: BPFObject

    public static let priority: UInt32 = 0x1b50
    public static let handle: UInt32 = 1

    /// `device` is ipvsd0: what leaves it is encapsulated, and answers come back into it.
    public init(directory: String, device: Link) throws(BPFError) {
        object = try BPFObject(.check)
        var mac = device.address?.bytes ?? [0, 0, 0, 0, 0, 0]
        mac += [0, 0]
        try object.setReadOnlyData(
            ipvsd_check_constants(
                check_ifindex: UInt32(device.index),
                check_mac: (mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mac[6], mac[7])))
        try object.reuseDirectorMaps(below: directory)
        try object.load()
    }

    public static func hook(interface: Int32, direction: BPFProgram.TrafficControlHook.Direction)
        -> BPFProgram.TrafficControlHook
    {
        BPFProgram.TrafficControlHook(interface: interface, direction: direction, priority: priority, handle: handle)
    }

    /// Encapsulates what leaves the device.
    public func attachEgress(device: Int32) throws(BPFError) {
        try Self.hook(interface: device, direction: .egress).attach(object.program(named: "check_egress"))
    }

    /// Drops what comes in on the device from a VIP and answers no check.
    public func attachAnswers(device: Int32) throws(BPFError) {
        try Self.hook(interface: device, direction: .ingress).attach(object.program(named: "check_answers"))
    }

    /// Moves answers that come in on this interface to the device.
    public func attachIngress(interface: Int32) throws(BPFError) {
        try Self.hook(interface: interface, direction: .ingress).attach(object.program(named: "check_ingress"))
    }
}
