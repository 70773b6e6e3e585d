internal import Addresses
internal import Glibc
internal import LoadBalancing
internal import NIOCore
internal import Processes

/// The checks by this machine's programs and files.
extension ProtocolChecks {
    /// The threads that read files, by path. A file system that stalls blocks at most one thread for each of its files.
    private static let files = WorkThreads<String>(limit: 4096)

    func run(_ check: ScriptCheck, by way: Check.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        let environment = ScriptEnvironment.variables(check, by: way, timeout: deadline)
        let process = ChildProcess.script(check.arguments, environment: environment)
        progress.stage = .run
        progress.hangUp = { process.kill() }
        process.start(eventLoop: progress.eventLoop) { result in
            // A program that cannot be started proves nothing about the real server.
            if case .failure = result { bound.value.isOwn = true }
            switch result.flatMap(\.judgement) {
            case .success(let weight): bound.value.pass(weight: weight)
            case .failure(let failure): bound.value.fail(failure.reason)
            }
        }
    }

    func read(_ check: FileCheck, progress: CheckProgress) {
        progress.stage = .read
        progress.run(on: Self.files, check.path, shortage: "\(check.path) was not read in time") {
            Result { () throws(ScriptFailure) in try FileReader.read(check.path) }
        } completion: { progress, result in
            switch result {
            case .success(let bytes):
                if let weight = WeightText.parse(String(decoding: bytes, as: UTF8.self)) {
                    progress.pass(weight: weight)
                } else {
                    let quoted = UDPDialogue.quoted(Array(bytes.prefix { $0 != 10 }))
                    progress.fail("\(check.path): \(quoted) is no weight, 0 to 65535")
                }
            case .failure(let failure): progress.fail(failure.reason)
            }
        }
    }
}

/// The environment of a script. `ScriptCheck` documents the variables.
enum ScriptEnvironment {
    static func variables(_ check: ScriptCheck, by way: Check.Way, timeout: Duration) -> [String: String] {
        var variables = [
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "IPVSD_ADDRESS": way.destination.description,
            "IPVSD_TIMEOUT": String(timeout.seconds.dropLast(2)),
        ]
        switch way {
        case .tunnel(_, let mark, let device, let source):
            variables["IPVSD_VIA"] = "tunnel"
            variables["IPVSD_MARK"] = "\(mark)"
            variables["IPVSD_DEVICE"] = "\(device)"
            variables["IPVSD_SOURCE"] = source.description
        case .direct:
            variables["IPVSD_VIA"] = "direct"
        }
        return variables.merging(check.environment) { $1 }
    }
}

extension ChildProcess.Outcome {
    /// The weight that a check's program requested, or the reason of its failure.
    var judgement: Result<Int?, ScriptFailure> {
        let first = Self.firstLine(output)
        switch ending {
        case .exited(0): return .success(WeightText.parse(first))
        case .exited(let code): return .failure(ScriptFailure(reason: "exit code \(code)\(said)"))
        case .signalled(let signal): return .failure(ScriptFailure(reason: "killed by signal \(signal)\(said)"))
        }
    }

    private var said: String {
        let lines = [errors, output].map(Self.firstLine)
        guard let line = lines.first(where: { !$0.isEmpty }) else { return "" }
        return ": \(String(line.prefix(120)))"
    }

    private static func firstLine(_ bytes: [UInt8]) -> String {
        let line = bytes.prefix { $0 != 10 }
        return String(decoding: line.filter { $0 >= 32 && $0 != 127 }, as: UTF8.self)
    }
}

struct ScriptFailure: Error, Hashable { var reason: String }

/// The reading of the beginning of a regular file.
enum FileReader {
    static let longest = 64

    static func read(_ path: String) throws(ScriptFailure) -> [UInt8] {
        // Without O_NONBLOCK, open(2) would wait for the writer of a named pipe.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("stat", path) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw ScriptFailure(reason: "open \(path): no regular file") }
        var bytes = [UInt8](repeating: 0, count: longest)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw failure("read", path) }
        return Array(bytes.prefix(count))
    }

    private static func failure(_ operation: String, _ path: String) -> ScriptFailure {
        ScriptFailure(reason: "\(operation) \(path): \(String(cString: strerror(errno)))")
    }
}

/// The text form of a weight in a script's output or a file.
enum WeightText {
    static let accepted = 0...65_535

    /// Returns the weight. Returns nil if the text, apart from surrounding white space, is not a weight.
    static func parse(_ text: some StringProtocol) -> Int? {
        let digits = text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed()
        guard (1...5).contains(digits.count), digits.allSatisfy({ ("0"..."9").contains($0) }),
            let weight = Int(String(digits)), accepted.contains(weight)
        else { return nil }
        return weight
    }
}
