import Foundation
import PackagePlugin

/// Compiles every `BPF/*.bpf.c` of a target, and generates a Swift file with the object for each. For a target without
/// a folder `BPF`, it compiles those of the C targets that the target depends on.
@main
struct EmbedBPF: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: Target) throws -> [Command] {
        let clang = try context.tool(named: "clang")
        let objcopy = try context.tool(named: "llvm-objcopy")
        let embed = try context.tool(named: "bpf-embed")
        let cTargets = target.recursiveTargetDependencies.compactMap { $0 as? ClangSourceModuleTarget }
        let shared = programDirectories(of: cTargets)
        let own = programDirectories(of: [target])
        let programs = try (own.isEmpty ? shared : own).flatMap(contents)
        let headerDirectories = cTargets.compactMap(\.publicHeadersDirectoryURL) + shared

        // SwiftPM does not read the compiler's depfiles. So each header, and each program that another one may include,
        // is named as an input.
        let headers = try (headerDirectories + own).flatMap(contents).filter { $0.pathExtension == "h" }

        var flags = [
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu17", "-Wall", "-Wextra", "-Wno-unused-parameter",
            "-Werror",
        ]
        flags += ["-isystem", "/usr/include/\(multiarchTriple)"]
        flags += headerDirectories.flatMap { ["-I", $0.path] }

        return programs.filter { $0.lastPathComponent.hasSuffix(".bpf.c") }.map { source in
            let name = String(source.lastPathComponent.dropLast(".bpf.c".count))
            let output = context.pluginWorkDirectoryURL.appending(path: "\(name).bpf.swift")
            let imported = target.name == Self.module ? "" : "public import \(Self.module)"
            return .buildCommand(
                displayName: "Compiling BPF \(source.lastPathComponent)",
                executable: embed.url,
                arguments: [output.path, name, imported, clang.url.path, objcopy.url.path] + flags + [
                    "-c", source.path,
                ],
                inputFiles: programs + headers,
                outputFiles: [output])
        }
    }

    /// The module that declares `EmbeddedObject`.
    private static let module = "BPF"

    private func programDirectories(of targets: [any Target]) -> [URL] {
        targets.map { $0.directoryURL.appending(path: "BPF") }
            .filter { FileManager.default.fileExists(atPath: $0.path) }
    }

    private func contents(of directory: URL) throws -> [URL] {
        try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
            .sorted { $0.path < $1.path }
    }

    private var multiarchTriple: String {
        #if arch(arm64)
        "aarch64-linux-gnu"
        #else
        "x86_64-linux-gnu"
        #endif
    }
}
