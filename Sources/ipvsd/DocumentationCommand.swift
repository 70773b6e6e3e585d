import ArgumentParser
import Director
import ServiceConfiguration

/// `ipvsd documentation NAME`: a document that packages install, made of the declared options.
struct DocumentationCommand: AsyncParsableCommand {
    enum Document: String, CaseIterable, ExpressibleByArgument {
        case fileManual = "file-manual"
        case schema
    }

    static let configuration = CommandConfiguration(
        commandName: "documentation",
        abstract: "Print the manual page ipvsd.yaml(5), or the JSON Schema of the configuration file.",
        shouldDisplay: false)

    @Argument(help: "The document: file-manual or schema.")
    var document: Document

    @Option(help: ArgumentHelp("The date in the manual page, as \"March 1, 2026\".", valueName: "date"))
    var date: String?

    func run() async throws {
        try await reporting {
            switch document {
            case .fileManual: print(FileManual(date: date ?? "", version: Director.version).text, terminator: "")
            case .schema: print(FileSchema.text, terminator: "")
            }
        }
    }
}
