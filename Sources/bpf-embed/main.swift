import Foundation

// bpf-embed OUTPUT.swift NAME IMPORT CLANG OBJCOPY CLANG-ARGUMENT...
//
// Compiles one BPF program, and writes the object as a Swift file. The file begins with the line IMPORT, which may be
// empty. All steps share one build command, because SwiftPM would copy a declared `.o` output into a resource bundle.
// The object is a hexadecimal StaticString, as the type checker needs 10 s for an array literal of 64 KiB.

func run(_ executable: String, _ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { exit(process.terminationStatus) }
}

let arguments = CommandLine.arguments
guard arguments.count > 6 else { exit(64) }
let output = URL(fileURLWithPath: arguments[1])
let object = output.deletingPathExtension().appendingPathExtension("o")

try run(arguments[4], Array(arguments[6...]) + ["-o", object.path])
try run(arguments[5], ["--strip-debug", object.path])

let digits = Array("0123456789abcdef".utf8)
var hex: [UInt8] = []
for byte in try Data(contentsOf: object) {
    hex.append(digits[Int(byte >> 4)])
    hex.append(digits[Int(byte & 15)])
}
let text = """
    \(arguments[3])

    extension EmbeddedObject {
        public static let \(arguments[2]) = EmbeddedObject(name: "\(arguments[2])", hex: "\(String(decoding: hex, as: UTF8.self))")
    }

    """
try text.write(to: output, atomically: true, encoding: .utf8)
