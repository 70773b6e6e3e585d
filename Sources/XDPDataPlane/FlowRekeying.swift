internal import BPF
internal import PacketPrograms

/// Gives flows the key of layout 4, in the same table, while packets pass. Where the migration is undone, it gives them
/// the key of layout 3 again. The program of layout 4 looks for the former key first, so the entry with that key is the
/// valid one.
struct FlowRekeying {
    enum Direction { case forward, back }

    private let maps: DirectorMaps
    private let translation: Translation
    private var flowMove: FlowMove
    /// Whether the flows of some listener change their key.
    let isNeeded: Bool

    /// Reads the listeners. `isResumed`: a killed daemon may have left the copy of one flow.
    init(
        _ maps: DirectorMaps, _ direction: Direction = .forward, now: UInt16?, isResumed: Bool = false
    ) throws(BPFError) {
        self.maps = maps
        translation = Translation(
            of: try maps.listeners.entries(), direction, seed: maps.settings.field(\.seed).pointee)
        isNeeded = translation.concerned.contains(true)
        flowMove = FlowMove(to: maps, now: now, twins: direction == .forward ? .giveWay : .prevail)
        flowMove.expectsCopy = isResumed
    }

    /// Moves all flows.
    mutating func move() {
        guard isNeeded else { return }
        for bucket in 0..<maps.flows.count { move(bucket: bucket) }
    }

    /// Moves the flows of a bucket. Only the first flow may already have a copy, since flows are moved one by one in a
    /// fixed order.
    mutating func move(bucket: Int) {
        let translation = translation
        for entry in maps.flows.ways(ofBucket: bucket)
        where flowMove.move(entry, to: { translation.newKey($0, value: $1) }) {
            flowMove.expectsCopy = false
        }
    }
}

extension FlowRekeying {
    /// The translation of a flow's key into its other key.
    private struct Translation {
        /// Whether a key with this destination may change, by the destination. An array, since there may be millions of
        /// flows.
        private(set) var concerned = [Bool](repeating: false, count: 1 << 16)
        private let direction: Direction
        private let seed: UInt64
        /// The destination of layout 4, by the former number.
        private var destinations: [UInt16: UInt16] = [:]
        /// The former number, or 0, by destination and port. The port of an any-port service is 0.
        private var formers: [Listener: UInt16] = [:]

        private struct Listener: Hashable {
            let destination: UInt16
            let port: UInt16
        }

        init(of listeners: [Layout4.Listener], _ direction: Direction, seed: UInt64) {
            self.direction = direction
            self.seed = seed
            for (key, value) in listeners where key.protocol != 0 {
                formers[Listener(destination: value.destination, port: key.port)] = value.former
                guard value.former != 0 else { continue }
                destinations[value.former] = value.destination
                concerned[Int(direction == .forward ? value.former : value.destination)] = true
            }
        }

        /// Returns the new key; nil: the flow keeps its key.
        func newKey(_ key: UInt64, value: UInt64) -> UInt64? {
            let number = ipvsd_flow_destination(key)
            // An entry whose value is that of a new flow may still have the key of the flow before. The tag then does
            // not fit the key. A new flow gets the right key anyway.
            guard concerned[Int(number)],
                ipvsd_flow_identity(0, ipvsd_flow_hash(key, seed)) == value & UInt64(IPVSD_FLOW_TAG_MASK)
            else { return nil }
            let other =
                switch direction {
                case .forward:
                    // A flow from before its port had a listener has the number of another listener. No packet finds
                    // the flow, and it keeps its key.
                    destinations[number].flatMap { former(of: $0, port: ipvsd_flow_port(value)) == number ? $0 : nil }
                case .back: former(of: number, port: ipvsd_flow_port(value))
                }
            return other.flatMap { $0 == 0 ? nil : ipvsd_flow_key_with(key, $0) }
        }

        /// Returns the former number of the port's listener; 0 where it has not changed, nil where there is no
        /// listener.
        private func former(of destination: UInt16, port: UInt16) -> UInt16? {
            formers[Listener(destination: destination, port: port)]
                ?? formers[Listener(destination: destination, port: 0)]
        }
    }
}

extension DirectorMaps {
    /// Gives all buckets the newest overflow mark, where keys change. A connection without an entry left its mark at
    /// the bucket of its former key, and the bucket of its new key is unknown. Until the mark expires, a packet of any
    /// bucket without an entry goes to a real server, and gets no reset.
    func spreadOverflowMarks(now: UInt16?) throws(BPFError) {
        guard try listeners.entries().contains(where: { $0.value.former != 0 }) else { return }
        let timeout = timeouts[Int(IPVSD_STATE_ESTABLISHED.rawValue)]
        func age(_ mark: UInt16) -> UInt16 { now.map { ipvsd_stamp_age(mark, $0) } ?? 0 }
        var newest: UInt16 = 0
        forEachOverflowMark { mark in
            let isLive = mark.pointee != 0 && age(mark.pointee) <= timeout
            if isLive, newest == 0 || age(mark.pointee) < age(newest) { newest = mark.pointee }
        }
        if newest == 0 { return }
        forEachOverflowMark { mark in
            if mark.pointee == 0 || age(mark.pointee) > age(newest) { mark.pointee = newest }
        }
    }

    private func forEachOverflowMark(_ body: (UnsafeMutablePointer<UInt16>) -> Void) {
        for row in 0..<overflows.count {
            let marks = overflows.field(\.stamp, of: row, as: UInt16.self)
            for place in 0..<Int(IPVSD_OVERFLOW_BUCKETS) { body(marks + place) }
        }
    }
}

/// The conversion of listeners of layout 3. In layout 3 a flow's key has the number of its listener. In layout 4 it has
/// the number of a VIP and protocol instead.
enum Layout4 {
    typealias Listener = (key: ipvsd_listener_key, value: ipvsd_listener_value)

    /// Converts listeners. A VIP and protocol gets the lowest number of its listeners, so that the flows of that
    /// listener keep their keys. These are all flows of most services. The other flows are moved, and are found by
    /// `former` until then.
    static func rows(of listeners: [Listener]) -> [Listener] {
        var lowest: [Destination: UInt16] = [:]
        for (key, value) in listeners {
            lowest[Destination(key), default: value.destination] = min(
                lowest[Destination(key)] ?? .max, value.destination)
        }
        return listeners.map { key, value in
            var value = value
            let number = lowest[Destination(key)] ?? value.destination
            (value.former, value.destination) = (number == value.destination ? 0 : value.destination, number)
            return (key, value)
        }
    }
}
