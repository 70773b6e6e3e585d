import CLibBPF
import Glibc

/// The reader of a BPF ring buffer (BPF_MAP_TYPE_RINGBUF). A buffer has one reader only.
public final class RingBuffer {
    private let buffer: OpaquePointer
    private let consumer: Consumer

    /// The target of libbpf's callback. `body` is set while `read` runs.
    private final class Consumer {
        var body: ((UnsafeRawBufferPointer) -> Bool)?
    }

    public init(_ map: BPFDescriptor) throws(BPFError) {
        let consumer = Consumer()
        let buffer = ring_buffer__new(
            map.number,
            { context, data, size in
                guard let context, let body = Unmanaged<Consumer>.fromOpaque(context).takeUnretainedValue().body
                else { return -ECANCELED }
                return body(UnsafeRawBufferPointer(start: data, count: size)) ? 0 : -ECANCELED
            }, Unmanaged.passUnretained(consumer).toOpaque(), nil)
        guard let buffer else { throw BPFError("read a ring buffer", code: errno) }
        self.buffer = buffer
        self.consumer = consumer
    }

    deinit { ring_buffer__free(buffer) }

    /// Passes records to `body`, each once and in order, until there is none or `body` returns false. Waits at most
    /// `milliseconds` for the first record. A signal ends the wait. A record for which `body` returns false counts as
    /// read. A record's bytes are valid only until `body` returns.
    public func read(waiting milliseconds: Int32, _ body: (UnsafeRawBufferPointer) -> Bool) throws(BPFError) {
        let code = withoutActuallyEscaping(body) { body in
            consumer.body = body
            defer { consumer.body = nil }
            return milliseconds == 0 ? ring_buffer__consume(buffer) : ring_buffer__poll(buffer, milliseconds)
        }
        if code < 0, code != -ECANCELED, code != -EINTR { throw BPFError("read a ring buffer", code: -code) }
    }
}
