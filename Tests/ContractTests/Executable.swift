import Foundation
import Testing

@testable import ipvsd

/// The program that the tests' build made, as users run it.
struct Executable {
    struct Outcome {
        var output: [String]
        var errors: [String]
        var code: Int32

        /// The outcome as a terminal and its shell show it.
        var lines: [String] { output + errors + ["exit code \(code)"] }
    }

    /// Runs the program in the directory of the fixtures, with a terminal's width of 80 columns.
    static func run(_ arguments: [String]) throws -> Outcome {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let program = (tests as NSString).deletingLastPathComponent + "/ipvsd"
        try #require(FileManager.default.isExecutableFile(atPath: program), "there is no \(program)")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: Snapshot.sibling("Fixtures"))
        process.environment = ["COLUMNS": "80", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC"]
        process.standardInput = FileHandle.nullDevice
        // Files, as two pipes could fill up while one of them is read.
        let files = try (0..<2).map { _ in try TemporaryFile() }
        process.standardOutput = files[0].handle
        process.standardError = files[1].handle
        try process.run()
        process.waitUntilExit()
        return Outcome(output: try files[0].lines(), errors: try files[1].lines(), code: process.terminationStatus)
    }

    private final class TemporaryFile {
        private let path = NSTemporaryDirectory() + "/ipvsd-contract-\(UUID().uuidString)"
        let handle: FileHandle

        init() throws {
            try #require(FileManager.default.createFile(atPath: path, contents: nil))
            handle = try #require(FileHandle(forWritingAtPath: path))
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        /// The lines without blanks at their ends, which editors remove from snapshots.
        func lines() throws -> [String] {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            guard !text.isEmpty else { return [] }
            return text.trimmingCharacters(in: .newlines).components(separatedBy: "\n").map { line in
                String(line.reversed().drop { $0 == " " }.reversed())
            }
        }
    }
}
