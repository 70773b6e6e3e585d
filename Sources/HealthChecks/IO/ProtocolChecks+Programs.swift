internal import NIOCore
internal import Processes

/// What this machine itself says of a real server: its programs and files.
extension ProtocolChecks {
    /// By path. A file system may stall, and then costs a thread for each of its files, no more.
    private static let files = WorkThreads<String>(limit: 4096)

    func run(_ check: ScriptCheck, by way: Check.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        let environment = ScriptEnvironment.variables(check, by: way, timeout: deadline)
        let process = ChildProcess.script(check.arguments, environment: environment)
        progress.stage = .run
        progress.hangUp = { process.kill() }
        process.start(eventLoop: progress.eventLoop) { result in
            // That it cannot be started says nothing about the real server.
            if case .failure = result { bound.value.isOwn = true }
            switch result.flatMap(\.judgement) {
            case .success(let weight): bound.value.pass(weight: weight)
            case .failure(let failure): bound.value.fail(failure.reason)
            }
        }
    }

    func read(_ check: FileCheck, progress: CheckProgress) {
        progress.stage = .read
        progress.run(on: Self.files, check.path, lack: "\(check.path) was not read in time") {
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
