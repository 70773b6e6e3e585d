import LoadBalancing

@testable import DataPlane

/// The flow table's room: buckets of two halves of four flows. A flow belongs in the half that its hash names, and finds
/// room in the other. Where none is free, what is least worth gives way.
struct FlowTableModel {
    enum State: UInt64 {
        case none, synReceived, established, finWait, timeWait, closed, udp, bareACK, oneDatagram

        /// IPVS's tcp_state_active_table.
        var isActive: Bool { [.synReceived, .established, .bareACK].contains(self) }
        var isClosing: Bool { [.finWait, .timeWait, .closed].contains(self) }

        /// IPVS's input-only table. What is known of a connection by an ACK without data may be made up.
        func next(_ flags: PacketBuilder.TCPFlags, carriesData: Bool) -> State {
            if flags.contains(.rst) { return self == .synReceived ? self : .closed }
            let state = self == .bareACK ? .established : self
            if flags.contains(.syn) { return state == .established ? .established : .synReceived }
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
        /// The listener's.
        var flowID: UInt16

        var key: UInt64 {
            UInt64(client.bigEndian) << 32 | UInt64(clientPort.bigEndian) << 16 | UInt64(flowID)
        }
    }

    struct Entry: Equatable {
        var identity: Identity
        var server: UInt32
        var state: State
        /// The tick at which it was last used.
        var stamp: UInt16

        /// In ticks. The tick may have moved on after it was read as `now`: that is no age at all.
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
    /// By state, in ticks.
    var timeouts = [UInt16](repeating: 0, count: 16)
    private(set) var buckets: [Int: [Entry?]] = [:]
    /// Since when packets without a connection may belong to one that found no room.
    private(set) var overflows: [Int: UInt16] = [:]

    init(seed: UInt64, bucketCount: Int) {
        self.seed = seed
        self.bucketCount = bucketCount
    }

    subscript(place: Place) -> Entry? {
        get { buckets[place.bucket]?[place.way] }
        set { buckets[place.bucket, default: [Entry?](repeating: nil, count: 8)][place.way] = newValue }
    }

    func hash(_ identity: Identity) -> UInt64 { FlowHash.mix(identity.key ^ seed) }

    func bucket(of identity: Identity) -> Int { Int(hash(identity) % UInt64(bucketCount)) }

    /// The ways in the order in which the flow tries them.
    private func ways(of identity: Identity) -> [Int] {
        hash(identity) >> 51 & 1 == 0 ? [0, 1, 2, 3, 4, 5, 6, 7] : [4, 5, 6, 7, 0, 1, 2, 3]
    }

    func timeout(_ state: State) -> UInt16 { timeouts[Int(state.rawValue)] }

    func isExpired(_ entry: Entry, now: UInt16) -> Bool { entry.age(now) > timeout(entry.state) }

    func find(_ identity: Identity, now: UInt16) -> Place? {
        let bucket = bucket(of: identity)
        guard let entries = buckets[bucket] else { return nil }
        return ways(of: identity).first {
            entries[$0].map { $0.identity == identity && !isExpired($0, now: now) } ?? false
        }.map { Place(bucket: bucket, way: $0) }
    }

    /// Where a new flow finds room, and whether somebody loses by it. Of equals the first way gives way.
    func room(for identity: Identity, now: UInt16) -> (place: Place, evicts: Bool)? {
        let bucket = bucket(of: identity)
        let entries = buckets[bucket] ?? [Entry?](repeating: nil, count: 8)
        let ways = ways(of: identity)
        if let free = ways.first(where: { entries[$0].map { isExpired($0, now: now) } ?? true }) {
            return (Place(bucket: bucket, way: free), false)
        }
        for states in [[.synReceived], [.timeWait, .closed], [.oneDatagram], [.bareACK]] as [[State]] {
            let loser = ways.first { way in
                entries[way].map { states.contains($0.state) && $0.age(now) >= Self.youngestToGiveWay } ?? false
            }
            if let loser { return (Place(bucket: bucket, way: loser), true) }
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
