import Addresses
import DataPlane
import LoadBalancing
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// The structures of the shared header, as Swift and the packet programs see them.
struct LayoutTests {
    /// The header asserts some of these sizes. Other sizes are only in map definitions.
    @Test("rows have the sizes of the header") func sizes() {
        #expect(MemoryLayout<ipvsd_flow>.size == 16)
        #expect(MemoryLayout<ipvsd_bucket>.size == 128)
        #expect(MemoryLayout<ipvsd_overflow>.size == 128)
        #expect(MemoryLayout<ipvsd_listener_key>.size == 8)
        #expect(MemoryLayout<ipvsd_listener_value>.size == 8)
        #expect(MemoryLayout<ipvsd_service>.size == 64)
        #expect(MemoryLayout<ipvsd_slots>.size == 8)
        #expect(MemoryLayout<ipvsd_server>.size == 32)
        #expect(MemoryLayout<ipvsd_conn_counts>.size == 16)
        #expect(MemoryLayout<ipvsd_next_hop>.size == 64)
        #expect(MemoryLayout<ipvsd_statistics>.size == 24)
        #expect(MemoryLayout<ipvsd_counters>.size == 8 * Int(IPVSD_COUNTER_ROOM))
        #expect(MemoryLayout<ipvsd_counters_3>.size == 248)
        #expect(MemoryLayout<ipvsd_settings>.size == 8360)
        #expect(MemoryLayout<ipvsd_port>.size == 8)
        #expect(MemoryLayout<ipvsd_template_key>.size == 8)
        #expect(MemoryLayout<ipvsd_template>.size == 8)
        #expect(MemoryLayout<ipvsd_datagram>.size == 12)
        #expect(MemoryLayout<ipvsd_fragments>.size == 8)
        #expect(MemoryLayout<ipvsd_table_load>.size == 64)
        #expect(MemoryLayout<ipvsd_director_constants>.size == 40)
        #expect(MemoryLayout<ipvsd_check_constants>.size == 12)
    }

    @Test("Swift and the header have the same limits") func limits() {
        #expect(TableLimits.comparedServers == Int(IPVSD_LIST_LIMIT))
        #expect(TableLimits.servers == Int(UInt16.max))
        #expect(TableLimits.listeners == Int(UInt16.max))
        let vip = IPv4Address(0x0A00_0064)
        for address in [ServiceAddress(vip: vip), ServiceAddress(vip: vip, port: 1, transport: .udp)] {
            #expect(address.listenerCount == address.keys.count)
        }
    }

    @Test("rows have the strides of the packet programs") func strides() {
        #expect(MemoryLayout<ipvsd_bucket>.stride == 128)
        #expect(MemoryLayout<ipvsd_service>.stride == 64)
        #expect(MemoryLayout<ipvsd_server>.stride == 32)
        #expect(MemoryLayout<ipvsd_next_hop>.stride == 64)
        #expect(MemoryLayout<ipvsd_settings>.stride == 8360)
    }

    @Test("fields have the offsets of the header") func offsets() {
        #expect(MemoryLayout<ipvsd_flow>.offset(of: \.value) == 8)
        #expect(MemoryLayout<ipvsd_listener_key>.offset(of: \.port) == 4)
        #expect(MemoryLayout<ipvsd_listener_key>.offset(of: \.protocol) == 6)
        #expect(MemoryLayout<ipvsd_listener_value>.offset(of: \.former) == 2)
        #expect(MemoryLayout<ipvsd_listener_value>.offset(of: \.destination) == 4)
        #expect(MemoryLayout<ipvsd_listener_value>.offset(of: \.flags) == 6)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.maglev) == 8)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.cursor) == 16)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.name) == 24)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.persistence) == 32)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.netmask) == 36)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.half_open_limit) == 84)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.fragmenting_ifindex) == 88)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.fragmenting_mac) == 92)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.is_migrating) == 100)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.cached) == 40)
        #expect(MemoryLayout<ipvsd_service>.offset(of: \.used) == 52)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.weight) == 4)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.flags) == 6)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.address) == 8)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.service) == 12)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.configured_weight) == 14)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.upper_threshold) == 16)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.lower_threshold) == 20)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.overloaded) == 24)
        #expect(MemoryLayout<ipvsd_server>.offset(of: \.joined) == 28)
        #expect(MemoryLayout<ipvsd_conn_counts>.offset(of: \.inactive) == 4)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.eth_addrs) == 0)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.ifindex) == 12)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.source) == 16)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.destination) == 20)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.mtu) == 24)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.flags) == 28)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.tags) == 32)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.tag_length) == 40)
        #expect(MemoryLayout<ipvsd_next_hop>.offset(of: \.route_ifindex) == 44)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.ingress_mtu) == 4)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.seed) == 8)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.timeout) == 16)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.check_address) == 48)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.vip_filter) == 104)
        #expect(MemoryLayout<ipvsd_settings>.offset(of: \.own_mac) == 8296)
    }

    @Test("each counter of the header has a name") func counters() {
        #expect(PacketCounter.all.map(\.index) == Array(0..<Int(IPVSD_COUNTERS.rawValue)))
        #expect(Set(PacketCounter.all.map(\.name)).count == PacketCounter.all.count)
        #expect(PacketCounter.all.filter { $0.group == .received }.map(\.name) == ["received"])
        #expect(PacketCounter.all.filter { $0.group == .forwarded }.map(\.name) == ["forwarded"])
        for counter in PacketCounter.all {
            #expect(counter.name.hasPrefix("passed-") == (counter.group == .passed))
            #expect(counter.name.hasPrefix("answered-") == (counter.group == .answered))
            #expect(counter.name.hasPrefix("dropped-") == (counter.group == .dropped))
        }
    }
}

extension PacketCounter {
    /// The counters of packets' ends, of which each packet moves one.
    static let ends = Set(all.filter { $0.group != .received && $0.group != .event }.map(\.name))
}
