import Addresses
import DataPlane
import TestSupport

@testable import XDPDataPlane

/// A model of the flow table's room, in buckets of two halves of four flows. A flow goes to the half that its hash
/// names, or else to the other half. If neither has room, the flow goes to a second bucket that its hash names. If no
/// entry is free there either, the entry of the lowest rank gives way.
struct FlowTableModel {
    enum State: UInt64 {
        case none, synReceived, established, finWait, timeWait, closed, udp, bareACK, oneDatagram

        /// Whether IPVS counts the state as active (tcp_state_active_table).
        var isActive: Bool { [.synReceived, .established, .bareACK].contains(self) }
        var isClosing: Bool { [.finWait, .timeWait, .closed].contains(self) }

        /// Returns the next state by IPVS's input-only table. An ACK without data may be spoofed. If `needsData` is
        /// true, as in a persistent service, a further packet without data proves no more than that ACK.
        func next(_ flags: PacketBuilder.TCPFlags, carriesData: Bool, needsData: Bool) -> State {
            if flags.contains(.rst) { return self == .synReceived ? self : .closed }
            let goesOn = carriesData || flags.contains(.fin) || !needsData
            let state = self == .bareACK && goesOn ? .established : self
            if flags.contains(.syn) { return [.established, .bareACK].contains(state) ? state : .synReceived }
            if flags.contains(.fin) {
                return switch state {
                case .established, .finWait: .finWait
                case .synReceived, .timeWait: .timeWait
                default: .closed
                }
            }
            guard flags.contains(.ack) else { return .closed }
            guard state == .none || state == .synReceived else { return state }
            return carriesData ? .established : .bareACK
        }
    }

    struct Identity: Hashable {
        var client: IPv4Address
        var clientPort: UInt16
        var port: UInt16
        /// The number of the VIP and protocol, which is the destination in the flow's key.
        var flowID: UInt16

        var key: UInt64 {
            UInt64(client.bigEndian) << 32 | UInt64(clientPort.bigEndian) << 16 | UInt64(flowID)
        }
    }

    struct Entry: Equatable {
        var identity: Identity
        var server: UInt32
        var state: State
        /// The tick at which the entry was last used.
        var stamp: UInt16

        /// Returns the age in ticks. A stamp may be ahead of `now` by a tick that began meanwhile. The age is 0 then.
        func age(_ now: UInt16) -> UInt16 {
            let age = now &- stamp
            return age > UInt16.max - 16 ? 0 : age
        }

    }

    struct Place: Hashable {
        var bucket: Int
        var way: Int
    }

    static let youngestToGiveWay: UInt16 = 2

    let seed: UInt64
    let bucketCount: Int
    /// The time-outs in ticks, by state.
    var timeouts = [UInt16](repeating: 0, count: 16)
    private(set) var buckets: [Int: [Entry?]] = [:]
    /// The tick of the last flow without room, by bucket. A packet without a connection may belong to such a flow.
    private(set) var overflows: [Int: UInt16] = [:]
    /// The buckets of which some flow went to its second bucket. They are never removed, since a mark only allows a
    /// search.
    private var spilled: Set<Int> = []

    init(seed: UInt64, bucketCount: Int) {
        self.seed = seed
        self.bucketCount = bucketCount
    }

    subscript(place: Place) -> Entry? {
        get { buckets[place.bucket]?[place.way] }
        set {
            if let newValue, bucket(of: newValue.identity) != place.bucket {
                spilled.insert(bucket(of: newValue.identity))
            }
            buckets[place.bucket, default: [Entry?](repeating: nil, count: 8)][place.way] = newValue
        }
    }

    func hash(_ identity: Identity) -> UInt64 { PacketHash.mix(identity.key ^ seed) }

    func bucket(of identity: Identity) -> Int { Int(hash(identity) % UInt64(bucketCount)) }

    func secondBucket(of identity: Identity) -> Int { Int(hash(identity) >> 25 % UInt64(bucketCount)) }

    /// The ways in the order in which the flow tries them.
    private func ways(of identity: Identity) -> [Int] {
        hash(identity) >> 51 & 1 == 0 ? [0, 1, 2, 3, 4, 5, 6, 7] : [4, 5, 6, 7, 0, 1, 2, 3]
    }

    func timeout(_ state: State) -> UInt16 { timeouts[Int(state.rawValue)] }

    func isExpired(_ entry: Entry, now: UInt16) -> Bool { entry.age(now) > timeout(entry.state) }

    func find(_ identity: Identity, now: UInt16) -> Place? {
        let first = bucket(of: identity)
        for bucket in spilled.contains(first) ? [first, secondBucket(of: identity)] : [first] {
            let entries = buckets[bucket] ?? []
            let way = ways(of: identity).first {
                $0 < entries.count && entries[$0].map { $0.identity == identity && !isExpired($0, now: now) } ?? false
            }
            if let way { return Place(bucket: bucket, way: way) }
        }
        return nil
    }

    /// The ways in the order in which the flow tries them.
    func places(for identity: Identity) -> [Place] {
        [bucket(of: identity), secondBucket(of: identity)].flatMap { bucket in
            ways(of: identity).map { Place(bucket: bucket, way: $0) }
        }
    }

    /// Returns the place of a new flow, and whether another flow is evicted from it. Of equal entries, the first way
    /// gives way. Returns nil if there is no room.
    func room(for identity: Identity, now: UInt16) -> (place: Place, evicts: Bool)? {
        let places = places(for: identity)
        let free = places.first { self[$0].map { isExpired($0, now: now) } ?? true }
        if let free { return (free, false) }
        for places in [places.prefix(8), places.suffix(8)] {
            for states in [[.synReceived], [.timeWait, .closed], [.oneDatagram], [.bareACK]] as [[State]] {
                let loser = places.first { place in
                    self[place].map { states.contains($0.state) && $0.age(now) >= Self.youngestToGiveWay } ?? false
                }
                if let loser { return (loser, true) }
            }
        }
        return nil
    }

    mutating func markOverflow(of identity: Identity, now: UInt16) {
        overflows[bucket(of: identity)] = max(now, 1)
    }

    func hasOverflowed(_ identity: Identity, now: UInt16) -> Bool {
        overflows[bucket(of: identity)].map { now &- $0 <= timeout(.established) } ?? false
    }

    var places: [Place] {
        buckets.flatMap { bucket, entries in
            entries.indices.filter { entries[$0] != nil }.map { Place(bucket: bucket, way: $0) }
        }
    }
}
