public import Addresses

/// The place of a number in a header. The number is in network byte order there.
package struct Field<Value: FieldValue>: Sendable {
    /// The number of bytes from the header's first byte to the field.
    package let offset: Int

    package init(_ offset: Int) { self.offset = offset }

    static var size: Int { Value.Number.bitWidth / 8 }
}

/// The value of a field. It is as wide as `Number`.
package protocol FieldValue: Sendable {
    associatedtype Number: FixedWidthInteger & UnsignedInteger

    /// The value as a number in host byte order.
    var number: Number { get }
    init(number: Number)
}

extension UInt8: FieldValue {
    package var number: UInt8 { self }
    package init(number: UInt8) { self = number }
}

extension UInt16: FieldValue {
    package var number: UInt16 { self }
    package init(number: UInt16) { self = number }
}

extension UInt32: FieldValue {
    package var number: UInt32 { self }
    package init(number: UInt32) { self = number }
}

extension IPv4Address: FieldValue {
    package var number: UInt32 { value }
    package init(number: UInt32) { self.init(number) }
}

extension RandomAccessCollection where Element == UInt8, Index == Int {
    /// Returns the value of the field in the header at the start of the bytes. Nil if the bytes end before the field
    /// does.
    package subscript<Value>(field: Field<Value>) -> Value? {
        let (start, size) = (startIndex + field.offset, Field<Value>.size)
        guard start + size <= endIndex else { return nil }
        return Value(number: self[start..<start + size].reduce(0) { $0 << 8 | Value.Number($1) })
    }
}

extension MutableCollection where Self: RandomAccessCollection, Element == UInt8, Index == Int {
    /// Writes a field of the header at the start of the bytes. Traps if the bytes end before the field does.
    package mutating func write<Value>(_ value: Value, at field: Field<Value>) {
        var rest = value.number
        for index in (0..<Field<Value>.size).reversed() {
            self[startIndex + field.offset + index] = UInt8(truncatingIfNeeded: rest)
            rest >>= 8
        }
    }
}
