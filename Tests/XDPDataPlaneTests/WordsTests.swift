import PacketPrograms
import Testing

@testable import XDPDataPlane

/// The words and hashes of the shared headers. Present tables contain them, and directors of all versions agree on
/// them. Another program computed the expected numbers from the definitions.
struct WordsTests {
    private let client: UInt32 = 0xC633_6401
    private let clientPort: UInt16 = 40000
    private let vip = UInt32(0x0A00_0064).bigEndian

    @Test("both sides compute the same hashes") func hashes() {
        #expect(ipvsd_mix(1) == 0x4179_B061_E0C0_E0D0)
        #expect(ipvsd_mix(0x0123_4567_89AB_CDEF) == 0x3EFD_EA49_C590_F4EC)
        #expect(ipvsd_maglev_hash(client, clientPort) == 0xDE91_55D6)
        #expect(ipvsd_sh_bucket(0x0A00_0001) == 39)
        #expect(ipvsd_outer_host(client.bigEndian, clientPort.bigEndian) == 0x4700_4805)
        #expect(ipvsd_scale(.max, 256) == 255)
        #expect(ipvsd_scale(1 << 31, 256) == 128)
    }

    @Test("a flow has the same place on both sides") func placeOfAFlow() {
        let key = ipvsd_flow_key(client.bigEndian, clientPort.bigEndian, 7)
        #expect(key == 0x0164_33C6_409C_0007)
        let home = FlowHome(key: key, seed: 0x1122_3344_5566_7788, buckets: 1024)
        #expect(home.bucket == 664)
        #expect(home.second == 355)
        #expect(home.half == 4)
        #expect(ipvsd_flow_identity(UInt16(80).bigEndian, home.hash) == 0x5000_0000_07C0)
    }

    @Test("a listener has the same place on both sides") func placeOfAListener() {
        let word = ipvsd_listener_word(vip, UInt16(80).bigEndian, 6)
        #expect(word == 0x0006_5000_6400_000A)
        #expect(ipvsd_listener_index(word, 64 - 6) == 52)
    }

    @Test("the filter has the bit of a VIP") func filterOfVIPs() {
        var filter = [UInt64](repeating: 0, count: Int(IPVSD_FILTER_WORDS))
        #expect(ipvsd_filter_has(filter, vip) == 0)
        ipvsd_filter_set(&filter, vip)
        #expect(ipvsd_filter_has(filter, vip) == 1)
        #expect(filter[21034 / 64] == 1 << UInt64(21034 % 64) && filter.count(where: { $0 != 0 }) == 1)
    }

    @Test("the words of a flow have their fields") func fieldsOfAFlow() {
        let key = ipvsd_flow_key(0xA1A2_A3A4, 0xB1B2, 0xC1C2)
        #expect(ipvsd_flow_client(key) == 0xA1A2_A3A4)
        #expect(ipvsd_flow_client_port(key) == 0xB1B2)
        #expect(ipvsd_flow_destination(key) == 0xC1C2)
        #expect(ipvsd_flow_key_with(key, 0xD1D2) == 0xA1A2_A3A4_B1B2_D1D2)
        let value = ipvsd_flow_value(0x1234_0000_0ABC, 0x5678, IPVSD_STATE_TIME_WAIT.rawValue, 0x9ABC)
        #expect(value == 0x9ABC_1234_5678_4ABC)
        #expect(ipvsd_flow_stamp(value) == 0x9ABC)
        #expect(ipvsd_flow_port(value) == 0x1234)
        #expect(ipvsd_flow_server(value) == 0x5678)
        #expect(ipvsd_flow_state(value) == IPVSD_STATE_TIME_WAIT.rawValue)
        #expect(value & IPVSD_FLOW_TAG_MASK == 0xABC)
        let refreshed = ipvsd_flow_with_state(value, IPVSD_STATE_CLOSE.rawValue, 1)
        #expect(refreshed == 0x0001_1234_5678_5ABC)
    }

    @Test("ages wrap around") func ages() {
        #expect(ipvsd_stamp_age(65530, 4) == 10)
        // Another CPU's stamp may be ahead of this CPU's time, and counts as fresh.
        #expect(ipvsd_stamp_age(16, 1) == 0)
        #expect(ipvsd_stamp_age(1, 40000) == 39999)
        #expect(ipvsd_stamp_of_now(0) == 1)
        #expect(ipvsd_stamp_of_now(9) == 9)
    }

    @Test("the word of a slice has its fields") func slices() {
        let scheduler = IPVSD_SCHEDULER_SH.rawValue | IPVSD_SCHEDULER_BY_PORT
        let word = ipvsd_slice(0x0102_0304, 0x050607, scheduler)
        #expect(word == UInt64(scheduler) << 56 | 0x05_0607_0102_0304)
        #expect(ipvsd_slice_first(word) == 0x0102_0304)
        #expect(ipvsd_slice_size(word) == 0x050607)
        #expect(ipvsd_slice_scheduler(word) == IPVSD_SCHEDULER_SH.rawValue)
        #expect(ipvsd_slice_flags(word) == IPVSD_SCHEDULER_BY_PORT)
    }

    @Test("words overlay neighbouring fields of rows") func wordsOfRows() {
        func word<Row>(_ row: Row, at field: PartialKeyPath<Row>) -> UInt64? {
            MemoryLayout<Row>.offset(of: field).map { offset in
                withUnsafeBytes(of: row) { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
            }
        }
        var server = ipvsd_server()
        (server.next_hop, server.weight, server.flags) = (0x0102_0304, 0x0506, 0x0708)
        (server.upper_threshold, server.lower_threshold) = (11, 12)
        #expect(word(server, at: \.next_hop) == ipvsd_server_word(0x0102_0304, 0x0506, 0x0708))
        #expect(word(server, at: \.upper_threshold) == ipvsd_threshold_word(11, 12))
        var service = ipvsd_service()
        (service.persistence, service.netmask) = (13, 0x00FF_FFFF)
        #expect(word(service, at: \.persistence) == ipvsd_persistence_word(13, 0x00FF_FFFF))
        #expect(ipvsd_mac_word([1, 2, 3, 4, 5, 6]) == 0x0605_0403_0201)
        var mac = [UInt8](repeating: 0, count: 6)
        ipvsd_mac_bytes(0x0605_0403_0201, &mac)
        #expect(mac == [1, 2, 3, 4, 5, 6])
        #expect(ipvsd_mac_is_complement(~0x0605_0403_0201))
        #expect(!ipvsd_mac_is_complement(0x0605_0403_0201))
        var key = ipvsd_listener_key()
        (key.vip, key.port, key.protocol) = (vip, UInt16(80).bigEndian, 6)
        #expect(word(key, at: \.vip) == ipvsd_listener_word(vip, UInt16(80).bigEndian, 6))
    }

    /// A daemon of layout 3 finds the maps by these names. The pins of layout 4's own maps are at the end.
    @Test("the pins of layout 4 keep their names") func pinsOfLayout4() {
        #expect(IPVSD_ABI_VERSION == 4)
        #expect(
            MapCatalogue.all.map(\.pin) == [
                "settings", "services", "listeners", "schedules", "slots", "servers", "loads", "paths", "statistics",
                "carried", "counters", "flows", "former", "overflows", "pressure", "templates", "fragments",
                "learnt_ports", "answered_ports", "strays", "egress", "outer_ids", "id_blocks", "carried_counters",
                "confirmed",
            ])
        #expect(Set(MapCatalogue.all.map(\.name)).count == MapCatalogue.all.count)
    }
}
