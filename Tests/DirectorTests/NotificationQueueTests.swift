import Addresses
import LoadBalancing
import ServiceConfiguration
import TestSupport
import Testing

@testable import Director

/// The order and the bounds of notification scripts.
struct NotificationQueueTests {
    private static func service(_ number: Int) -> ServiceAddress {
        ServiceAddress(vip: IPAddress(0x0A00_0064), port: UInt16(number), transport: .tcp)
    }

    private static func item(_ service: Int, _ sequence: Int) -> NotificationQueue.Item {
        var event = EventTests.event(service: Self.service(service))
        event.sequence = UInt64(sequence)
        return .init(event: event, notification: NotificationScript(command: ["/x"]))
    }

    private static func name(_ item: NotificationQueue.Item?) -> [Int]? {
        item.map { [Int($0.event.service.port ?? 0), Int($0.event.sequence)] }
    }

    @Test("the scripts of a service run one after another")
    func aServiceTakesTurnsWithItself() {
        var queue = NotificationQueue()
        for sequence in 1...3 { #expect(queue.add(Self.item(1, sequence)) == nil) }
        #expect(Self.name(queue.next()) == [1, 1])
        #expect(queue.next() == nil, "the second waits for the first")
        queue.ended(Self.service(1))
        #expect(Self.name(queue.next()) == [1, 2])
        queue.ended(Self.service(1))
        #expect(Self.name(queue.next()) == [1, 3])
        queue.ended(Self.service(1))
        #expect(queue.next() == nil)
        #expect(queue.waitingCount == 0)
        #expect(queue.running.isEmpty)
    }

    @Test("a script that hangs does not delay other services")
    func oneServiceThatHangsHoldsNoOtherUp() {
        var queue = NotificationQueue(parallelism: 2)
        for sequence in 1...5 { _ = queue.add(Self.item(1, sequence)) }
        _ = queue.add(Self.item(2, 1))
        _ = queue.add(Self.item(3, 1))
        #expect(Self.name(queue.next()) == [1, 1])
        #expect(Self.name(queue.next()) == [2, 1])
        #expect(queue.next() == nil, "no more than two at once")
        queue.ended(Self.service(2))
        #expect(Self.name(queue.next()) == [3, 1])
        queue.ended(Self.service(3))
        #expect(queue.next() == nil)
    }

    @Test("a full queue drops the oldest item of the service, or of the longest queue")
    func theOldestGivesWay() {
        var queue = NotificationQueue(perService: 2, total: 4)
        #expect(queue.add(Self.item(1, 1)) == nil)
        #expect(queue.add(Self.item(1, 2)) == nil)
        #expect(Self.name(queue.add(Self.item(1, 3))) == [1, 1], "of the same service")
        _ = queue.add(Self.item(2, 1))
        _ = queue.add(Self.item(3, 1))
        #expect(queue.waitingCount == 4)
        #expect(Self.name(queue.add(Self.item(4, 1))) == [1, 2], "of the service that has most")
        #expect(queue.waitingCount == 4)
        var order: [[Int]] = []
        while let item = queue.next() {
            order.append(Self.name(item) ?? [])
            queue.ended(item.event.service)
        }
        #expect(order == [[1, 3], [2, 1], [3, 1], [4, 1]])
    }

    @Test("random events and ends keep the bounds, and the order within each service")
    func boundsAndOrderHold() {
        var generator = SplitMix(seed: 8)
        var queue = NotificationQueue(parallelism: 3, perService: 4, total: 10)
        var last: [Int: Int] = [:]
        for sequence in 1...20_000 {
            if Bool.random(using: &generator) {
                _ = queue.add(Self.item(Int.random(in: 1...6, using: &generator), sequence))
            } else if let service = queue.running.randomElement(using: &generator) {
                queue.ended(service)
            }
            while let item = queue.next() {
                let service = Int(item.event.service.port ?? 0)
                #expect(last[service, default: 0] < Int(item.event.sequence))
                last[service] = Int(item.event.sequence)
            }
            #expect(queue.running.count <= 3)
            #expect(queue.waitingCount <= 10)
        }
        #expect(last.count == 6)
    }
}
