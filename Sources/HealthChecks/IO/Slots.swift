/// The name of a value in `Slots`: the index of its place, and its number as the place's tenant. A place has one tenant
/// after another.
struct Slot: Hashable {
    fileprivate(set) var index: UInt32
    fileprivate(set) var tenant: UInt32

    fileprivate init(index: UInt32, tenant: UInt32) {
        self.index = index
        self.tenant = tenant
    }

    /// The slot as a number of 63 bits.
    var key: UInt64 { UInt64(tenant) << 32 | UInt64(index) }

    init(key: UInt64) {
        index = UInt32(truncatingIfNeeded: key)
        tenant = UInt32(truncatingIfNeeded: key >> 32)
    }
}

/// A table of values whose places are reused.
struct Slots<Value> {
    private var places: [(tenant: UInt32, value: Value?)] = []
    private var free: [UInt32] = []

    mutating func insert(_ value: Value) -> Slot {
        guard let index = free.popLast() else {
            places.append((0, value))
            return Slot(index: UInt32(places.count - 1), tenant: 0)
        }
        places[Int(index)].value = value
        return Slot(index: index, tenant: places[Int(index)].tenant)
    }

    subscript(slot: Slot) -> Value? {
        get {
            guard slot.index < places.count, places[Int(slot.index)].tenant == slot.tenant else { return nil }
            return places[Int(slot.index)].value
        }
        set {
            guard slot.index < places.count, places[Int(slot.index)].tenant == slot.tenant else { return }
            places[Int(slot.index)].value = newValue
        }
    }

    func all(where isMeant: (Value) -> Bool) -> [Slot] {
        places.indices.compactMap { index in
            guard let value = places[index].value, isMeant(value) else { return nil }
            return Slot(index: UInt32(index), tenant: places[index].tenant)
        }
    }

    /// Removes and returns the value, or nil if the slot has another tenant or none.
    mutating func remove(_ slot: Slot) -> Value? {
        guard let value = self[slot] else { return nil }
        // The tenant's number has 31 bits, so that one bit of the key is free.
        places[Int(slot.index)] = ((slot.tenant + 1) & 0x7FFF_FFFF, nil)
        free.append(slot.index)
        return value
    }
}
