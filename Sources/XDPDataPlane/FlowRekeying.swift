internal import BPF
internal import PacketPrograms

/// Gives flows the key of layout 4, or, where the change to it is undone, that of layout 3, in the table that they are in, while
/// packets pass. The program of layout 4 looks for a flow by its former key first: what has that key is what counts.
struct FlowRekeying {
    enum Direction { case forward, back }

    private let maps: DirectorMaps
    private let translation: Translation
    private var flowMove: FlowMove
    /// Some listener's flows have another key.
    let isNeeded: Bool

    /// `isResumed`: a daemon was killed that may have left the copy of one flow.
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

    /// Moves the flows of a bucket. The first one may have a copy already: they are moved one after the other, always in the
    /// same order.
    mutating func move(bucket: Int) {
        let translation = translation
        for entry in maps.flows.ways(ofBucket: bucket)
        where flowMove.move(entry, to: { translation.newKey($0, value: $1) }) {
            flowMove.expectsCopy = false
        }
    }
}

extension FlowRekeying {
    /// From a flow's key to its other one.
    private struct Translation {
        /// By the number in a key: whether it may become another one. An array, since there may be millions of flows.
        private(set) var concerned = [Bool](repeating: false, count: 1 << 16)
        private let direction: Direction
        private let seed: UInt64
        /// By the former number of a listener.
        private var destinations: [UInt16: UInt16] = [:]
        /// By number and port, 0 for an any-port service's, the former number, or 0.
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

        /// Nil: it keeps it.
        func newKey(_ key: UInt64, value: UInt64) -> UInt64? {
            let number = ipvsd_flow_destination(key)
            // A new flow's entry may still have the key of the one before: the tag tells. New flows have the right key.
            guard concerned[Int(number)],
                ipvsd_flow_identity(0, ipvsd_flow_hash(key, seed)) == value & UInt64(IPVSD_FLOW_TAG_MASK)
            else { return nil }
            let other =
                switch direction {
                case .forward:
                    // A flow from before its port was named has the number of another listener. Nobody finds it.
                    destinations[number].flatMap { former(of: $0, port: ipvsd_flow_port(value)) == number ? $0 : nil }
                case .back: former(of: number, port: ipvsd_flow_port(value))
                }
            return other.flatMap { $0 == 0 ? nil : ipvsd_flow_key_with(key, $0) }
        }

        /// The former number of the listener of that port, or 0.
        private func former(of destination: UInt16, port: UInt16) -> UInt16? {
            formers[Listener(destination: destination, port: port)]
                ?? formers[Listener(destination: destination, port: 0)]
        }
    }
}

extension DirectorMaps {
    /// A connection that found no room has no entry, and a mark at the bucket of its key: where its key becomes another one, nobody
    /// knows at which bucket it will be looked for. All buckets get the newest mark, and packets without a connection are
    /// rederived for as long.
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

/// The listeners of layout 3 as listeners of layout 4. There a flow's key has the number of its VIP and protocol, in the place
/// where layout 3 had a number of each listener.
enum Layout4 {
    typealias Listener = (key: ipvsd_listener_key, value: ipvsd_listener_value)

    /// The number of a VIP and a protocol is the lowest that their listeners had: the flows of that listener, in most
    /// services all flows, keep their keys. The others are moved, and until then found by `former`.
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
