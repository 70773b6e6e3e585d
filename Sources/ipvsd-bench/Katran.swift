import Addresses
import BPF
import CLibBPF
import Glibc
import LoadBalancing

/// Katran's balancer with the measured services. The user compiles its object file (`ipvsd-bench packets --help`). The
/// layouts of keys and values are those of katran/lib/bpf/balancer_structs.h.
final class Katran {
    let descriptor: Int32
    private let object: OpaquePointer
    private let file: String

    private static let ringSize: UInt32 = 65_537

    /// Loads the object file. `flows` is the number of entries of Katran's LRU map of flows.
    init(file: String, flows: Int) throws {
        guard let object = bpf_object__open_file(file, nil) else { throw BPFError("open \(file)", code: errno) }
        self.object = object
        self.file = file
        let code = bpf_object__load(object)
        if code != 0 { throw BPFError("load \(file)", code: -code) }
        guard let program = bpf_object__find_program_by_name(object, "balancer_ingress") else {
            throw BPFError("find program balancer_ingress in \(file)", code: ENOENT)
        }
        descriptor = bpf_program__fd(program)
        try configure(flows: flows)
    }

    deinit { bpf_object__close(object) }

    private func configure(flows: Int) throws {
        // The next hop's MAC address.
        try update("ctl_array", UInt32(0), [2, 0, 0, 0, 0, 2, 0, 0])
        let cpus = min(libbpf_num_possible_cpus(), 128)
        // The sizes are those of flow_key and real_pos_lru. All CPUs share one map, as the test may run on any of them.
        let lru = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "lru", 40, 16, UInt32(flows), nil)
        guard lru >= 0 else { throw BPFError("create an LRU map of \(flows) entries", code: errno) }
        defer { close(lru) }
        for cpu in 0..<UInt32(cpus) { try update("lru_mapping", cpu, bytes(lru)) }

        for number in 1...UInt32(BenchPlane.servers) {
            try update("reals", number, address(IPv4Address(0xAC10_0000 + number)) + [0, 0, 0, 0])
        }
        var vip: UInt32 = 0
        for destination in [PacketKind.transmitting, PacketKind.redirecting] {
            for transport in TransportProtocol.allCases {
                let key = address(destination) + bytes(PacketKind.port.bigEndian) + [transport.number, 0]
                try update("vip_map", key, bytes(UInt32(0)) + bytes(vip))
                for slot in 0..<Self.ringSize {
                    try update(
                        "ch_rings", vip * Self.ringSize + slot, bytes(1 + slot % UInt32(BenchPlane.servers)))
                }
                vip += 1
            }
        }
    }

    /// Returns the address in Katran's union of an IPv4 and an IPv6 address.
    private func address(_ address: IPv4Address) -> [UInt8] {
        bytes(address.bigEndian) + [UInt8](repeating: 0, count: 12)
    }

    private func bytes<Value: BitwiseCopyable>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    private func update(_ map: String, _ index: UInt32, _ value: [UInt8]) throws {
        try update(map, bytes(index), value)
    }

    private func update(_ map: String, _ key: [UInt8], _ value: [UInt8]) throws {
        guard let handle = bpf_object__find_map_by_name(object, map), Int(bpf_map__key_size(handle)) == key.count,
            Int(bpf_map__value_size(handle)) == value.count
        else { throw Failure("\(file) has no map \(map) of \(key.count) and \(value.count) bytes") }
        guard bpf_map_update_elem(bpf_map__fd(handle), key, value, 0) == 0 else {
            throw BPFError("fill map \(map) of \(file)", code: errno)
        }
    }
}
