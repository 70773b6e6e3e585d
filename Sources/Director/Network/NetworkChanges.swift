@preconcurrency internal import Dispatch
internal import Netlink

/// The network's changes as a sequence, without holding a thread. Bursts become one element.
enum NetworkChanges {
    static func events(
        of kinds: Set<RouteMonitor.Kind> = Set(RouteMonitor.Kind.allCases)
    ) throws(NetlinkError) -> AsyncStream<Void> {
        // The queue's own from here on.
        nonisolated(unsafe) let monitor = try RouteMonitor()
        let queue = DispatchQueue(label: "network changes")
        return AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let source = DispatchSource.makeReadSource(fileDescriptor: monitor.descriptor, queue: queue)
            source.setEventHandler {
                // Read empty here: the source fires for as long as there is something to read.
                let changed = try? monitor.drain()
                if changed == nil { source.cancel() }
                if changed?.isDisjoint(with: kinds) != true { continuation.yield() }
            }
            source.setCancelHandler { continuation.finish() }
            continuation.onTermination = { _ in source.cancel() }
            source.resume()
        }
    }
}
