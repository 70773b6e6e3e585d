internal import NIOCore
internal import NIOPosix

/// What this machine itself says of a real server: its programs and files.
extension ProtocolChecks {
    func run(_ check: ScriptCheck, by way: Check.Way, deadline: Duration, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        let environment = ScriptEnvironment.variables(check, by: way, timeout: deadline)
        let run = ScriptRun()
        progress.stage = .run
        progress.hangUp = { run.kill() }
        run.start(arguments: check.arguments, environment: environment, eventLoop: progress.eventLoop) { result in
            switch result.flatMap(\.judgement) {
            case .success(let weight): bound.value.pass(weight: weight)
            case .failure(let failure): bound.value.fail(failure.reason)
            }
        }
    }

    func read(_ check: FileCheck, progress: CheckProgress) {
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        progress.stage = .read
        // A file system may stall.
        NIOThreadPool.singleton.runIfActive(eventLoop: progress.eventLoop) { try FileReader.read(check.path) }
            .whenComplete { result in
                switch result {
                case .success(let bytes):
                    let text = String(decoding: bytes, as: UTF8.self)
                    if let weight = WeightText.parse(text) {
                        bound.value.pass(weight: weight)
                    } else {
                        let quoted = UDPDialogue.quoted(Array(bytes.prefix { $0 != 10 }))
                        bound.value.fail("\(check.path): \(quoted) is no weight, 0 to 65535")
                    }
                case .failure(let error):
                    bound.value.fail((error as? ScriptFailure)?.reason ?? "\(error)")
                }
            }
    }
}
