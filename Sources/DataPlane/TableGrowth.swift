internal import BPF
internal import CLinux
internal import Glibc
internal import PacketPrograms
internal import SystemCalls

/// Tables that became too small give way to larger ones while packets pass. What is in them is copied, the program
/// with the larger ones takes the place of the one before, and what changed meanwhile follows. Only flows can not
/// wait that long: until they are moved, the new program also looks where they were.
enum TableGrowth {
    /// Settles what a daemon left that was killed while tables grew: the larger ones are in use, or they are not.
    static func settle(below directory: String) throws(BPFError) {
        let waiting = DirectorMaps.names.filter { access(DirectorMaps.nextPin($0, below: directory), F_OK) == 0 }
        if waiting.isEmpty { return }
        let isInUse = try isAnotherAttached(below: directory)
        for name in waiting {
            if isInUse {
                try publish(name, below: directory)
            } else {
                unlink(DirectorMaps.nextPin(name, below: directory))
            }
        }
    }

    /// Whether an interface has another program than the published one: the one with the larger tables, as it is published
    /// only once those have their names. (Its maps tell it too, but to look a program up takes CAP_SYS_ADMIN.)
    private static func isAnotherAttached(below directory: String) throws(BPFError) -> Bool {
        let published = try BPFProgram(pinnedAt: XDPDataPlane.programPin(directory: directory))?.id()
        for path in XDPDataPlane.linkPins(below: directory) {
            if let link = try BPFLink(pinnedAt: path), try link.programID() != published { return true }
        }
        return false
    }

    /// The larger table is now the table; the flow table before it is kept for the flows that are still there.
    static func publish(_ name: String, below directory: String) throws(BPFError) {
        let path = "\(directory)/\(name)"
        if name == "flows" { try move(path, to: "\(directory)/former") }
        try move(DirectorMaps.nextPin(name, below: directory), to: path)
    }

    private static func move(_ path: String, to other: String) throws(BPFError) {
        if rename(path, other) != 0, errno != ENOENT { throw BPFError("rename \(path) to \(other)", code: errno) }
    }

    /// What only the control plane writes to, and a first copy of the rest.
    static func copy(_ names: Set<String>, from old: DirectorMaps, to new: DirectorMaps) throws(BPFError) {
        func copyAll<Value>(_ old: MappedArray<Value>, _ new: MappedArray<Value>) {
            memcpy(new.pointer(0), old.pointer(0), old.count * old.stride)
        }
        func copyAll<Key, Value>(_ old: BPFMap<Key, Value>, _ new: BPFMap<Key, Value>) throws(BPFError) {
            for (key, value) in try old.entries() { try new.update(value, for: key) }
        }
        for name in names {
            switch name {
            case "services": try copyAll(old.services, new.services)
            case "listeners":
                for key in try old.services.keys() {
                    if let value = try old.services.value(for: key) { new.listeners.set(value, for: key) }
                }
            case "schedules": copyAll(old.schedules, new.schedules)
            case "slots": copyAll(old.slots, new.slots)
            case "servers": copyAll(old.servers, new.servers)
            case "paths": copyAll(old.paths, new.paths)
            case "carried": copyAll(old.carried, new.carried)
            case "overflows": copyOverflows(from: old, to: new)
            case "templates": try copyAll(old.templates, new.templates)
            default: break
            }
        }
    }

    /// A flow's bucket in the larger table has the number of its bucket in the smaller one in its lower bits.
    private static func copyOverflows(from old: DirectorMaps, to new: DirectorMaps) {
        for index in 0..<old.overflows.count {
            var stamps = old.overflows[index]
            // Moved flows are spilled anew, or not.
            stamps.spilled = ipvsd_overflow().spilled
            for other in stride(from: index, to: new.overflows.count, by: old.overflows.count) {
                new.overflows[other] = stamps
            }
        }
    }

    /// What packets added to the old counts since they were copied. `copied` are the loads as they were then.
    static func followCounts(
        _ names: Set<String>, from old: DirectorMaps, since copied: [ipvsd_load], to new: DirectorMaps
    )
        throws(BPFError)
    {
        if names.contains("loads") {
            for (index, before) in copied.enumerated() {
                let now = old.loads[index]
                let load = new.loads.pointer(index)
                clinux_add_u32(load, now.active &- before.active)
                clinux_add_u32(load + 4, now.inactive &- before.inactive)
            }
        }
        if names.contains("statistics") {
            for index in 0..<old.statistics.maxEntries { new.carried[index] = try old.statistics(of: UInt32(index)) }
        }
    }

    /// What packets of the program before have set since these tables were copied: marks of full buckets, and templates of
    /// persistent clients. `copied`: the tick of the copy; nil: it is not known.
    static func followMarks(
        _ names: Set<String>, from old: DirectorMaps, since copied: UInt32?, to new: DirectorMaps
    ) throws(BPFError) {
        if names.contains("overflows") { followOverflows(from: old, to: new) }
        if names.contains("templates") { try followTemplates(from: old, since: copied, to: new) }
    }

    /// Of two stamps the later one.
    private static func followOverflows(from old: DirectorMaps, to new: DirectorMaps) {
        for index in 0..<old.overflows.count {
            for bucket in 0..<32 {
                let stamp = old.overflows.pointer(index).load(fromByteOffset: 2 * bucket, as: UInt16.self)
                if stamp == 0 { continue }
                for other in stride(from: index, to: new.overflows.count, by: old.overflows.count) {
                    let place = new.overflows.pointer(other) + 2 * bucket
                    let present = place.load(as: UInt16.self)
                    if present == 0 || Int16(bitPattern: stamp &- present) > 0 {
                        place.storeBytes(of: stamp, as: UInt16.self)
                    }
                }
            }
        }
    }

    /// A client that has come back since, by the new program, has a later template there.
    private static func followTemplates(
        from old: DirectorMaps, since copied: UInt32?, to new: DirectorMaps
    ) throws(BPFError) {
        for (key, template) in try old.templates.entries() {
            if let copied, Int32(bitPattern: template.stamp &- copied) < 0 { continue }
            if try new.templates.insert(template, for: key) { continue }
            guard let present = try new.templates.value(for: key) else { continue }
            if Int32(bitPattern: template.stamp &- present.stamp) > 0 { try new.templates.update(template, for: key) }
        }
    }

    /// Moves every flow to the table of `maps`. Whoever looks for one finds it in at least one of the tables.
    static func moveFlows(from former: MappedArray<ipvsd_bucket>, to maps: DirectorMaps, now: UInt16?) {
        let seed = maps.settings.pointer(0).load(fromByteOffset: seedOffset, as: UInt64.self)
        for index in 0..<former.count {
            let bucket = former.pointer(index)
            for way in 0..<Int(IPVSD_WAYS) { move(bucket + way * flowSize, to: maps, seed: seed, now: now) }
        }
    }

    private static func move(_ entry: UnsafeMutableRawPointer, to maps: DirectorMaps, seed: UInt64, now: UInt16?) {
        // A packet may change it meanwhile. It does so a few times in a second at most.
        while true {
            let value = clinux_load_u64(entry + 8)
            if value == 0 { return }
            let key = clinux_load_u64(entry)
            let place = insert(key: key, value: value, into: maps, seed: seed, now: now)
            if clinux_compare_and_swap_u64(entry + 8, value, 0) == 1 {
                if place == nil { maps.forgetLoad(of: value) }
                return
            }
            // Changed since: not this copy. A packet that found it has made it a connection of its own.
            if let place, clinux_compare_and_swap_u64(place + 8, value, 0) == 0 { maps.countLoad(of: value, 1) }
        }
    }

    /// Where it went; nil if there is no room in its bucket and its second one.
    private static func insert(
        key: UInt64, value: UInt64, into maps: DirectorMaps, seed: UInt64, now: UInt16?
    ) -> UnsafeMutableRawPointer? {
        let home = FlowHome(key: key, seed: seed, buckets: maps.flows.count)
        for index in [home.bucket, home.second] {
            for way in 0..<Int(IPVSD_WAYS) {
                let place = maps.flows.pointer(index) + way * flowSize
                let seen = clinux_load_u64(place + 8)
                // The copy of a daemon that was killed before it cleared the original, which is the one that counts.
                if seen != 0, (seen ^ value) & identityMask == 0, clinux_load_u64(place) == key,
                    clinux_compare_and_swap_u64(place + 8, seen, value) == 1
                {
                    return place
                }
            }
        }
        for index in [home.bucket, home.second] {
            // Never older than the flow, nor than a mark that is there.
            let stamp = UInt16(value >> 48)
            if index == home.second {
                maps.markSpilled(home.bucket, stamp: now.map { stamp &- $0 < 0x8000 ? stamp : $0 } ?? stamp)
            }
            for way in 0..<Int(IPVSD_WAYS) {
                let place = maps.flows.pointer(index) + (way ^ home.half) * flowSize
                if clinux_compare_and_swap_u64(place + 8, 0, value) == 1 {
                    clinux_store_u64(place, key)
                    return place
                }
            }
        }
        return nil
    }
}

extension DirectorMaps {
    func forgetLoad(of value: UInt64) { countLoad(of: value, -1) }

    /// A flow of the bucket is about to be in its second one; flows.h's mark_spilled.
    func markSpilled(_ bucket: Int, stamp: UInt16) {
        let offset = spilledOffset + bucket % 32 * 2
        overflows.pointer(bucket / 32).storeBytes(of: max(stamp, 1), toByteOffset: offset, as: UInt16.self)
    }

    /// One connection more or less, as flows.h counts them.
    func countLoad(of value: UInt64, _ difference: Int32) {
        let server = Int(value >> 16 & 0xFFFF)
        let state = ipvsd_state(rawValue: UInt32(value >> 12 & 0xF))
        if state == IPVSD_STATE_SYN_RECV { clinux_add_u32(pressure.pointer(0), UInt32(bitPattern: difference)) }
        guard server < loads.count else { return }
        let isActive = [IPVSD_STATE_SYN_RECV, IPVSD_STATE_ESTABLISHED, IPVSD_STATE_BARE_ACK].contains(state)
        clinux_add_u32(loads.pointer(server) + (isActive ? 0 : 4), UInt32(bitPattern: difference))
    }
}

/// Destination port, server and tag of a flow's value.
private let identityMask: UInt64 = 0x0000_FFFF_FFFF_0FFF
private let flowSize = MemoryLayout<ipvsd_flow>.stride
private let seedOffset = MemoryLayout<ipvsd_settings>.offset(of: \.seed) ?? 8
private let spilledOffset = MemoryLayout<ipvsd_overflow>.offset(of: \.spilled) ?? 64
