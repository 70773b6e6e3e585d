import ArgumentParser
import ConfigurationImport
import Director
import LoadBalancing
import ServiceConfiguration

/// `ipvsd import FILE`: a configuration file from ipvsadm's rules or a keepalived.conf.
struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Convert ipvsadm's rules or a keepalived.conf.",
        discussion: """
            Prints a configuration file with comments on standard output, which 'ipvsd check' accepts. Each part that is \
            not carried over, or that changes, is named on standard error by file and line, with its meaning and a \
            replacement, and again in a comment. Nothing on the host changes, and no privilege is needed.

              ipvsadm -S -n | ipvsd import >ipvsd.yaml
              ipvsd import /etc/keepalived/keepalived.conf >ipvsd.yaml
              ipvsd import --fwmark 1=10.0.0.100:80,10.0.0.100:443 rules >ipvsd.yaml

            Lines on standard error begin with 'not carried over' or 'changed' where something behaves otherwise than \
            before, and with 'note' elsewhere.

            From ipvsadm the command takes all that -R takes. -S does not print thresholds, time-outs (ipvsadm --set) and \
            the synchronisation daemon. Real servers of direct routing (-g), masquerading (-m) and other tunnels than IPIP \
            are carried over, and need 'ipvsd realserver-setup'.

            From keepalived it takes virtual servers, their groups and real servers, checkers, notify scripts, quorum, \
            sorry server, lvs_timeouts, include, definitions and @ID lines. A real server's checkers become its service's, \
            so all real servers of a service need the same ones. VRRP stays with keepalived. Where VRRP has the VIPs, the \
            file has '\(Options.addresses.field(false))'.

            Exit codes: 0 everything behaves as before, 1 something behaves otherwise (the file is printed all the same), \
            64 a syntax error, or nothing that ipvsd could serve (no file is printed), 74 some output could not be written.
            """)

    @Argument(
        help: "What 'ipvsadm -S -n' printed, or a keepalived.conf; - is standard input, as is none.",
        completion: .file())
    var file = "-"

    @Option(
        help: ArgumentHelp(
            "What it is: ipvsadm or keepalived. Default: seen from its first line.", valueName: "format"))
    var from: String?

    @Option(
        help: ArgumentHelp(
            "The listeners that a firewall mark stands for, which only the firewall's rules tell. Repeats.",
            valueName: "mark=listener,..."))
    var fwmark: [String] = []

    @Option(
        help: ArgumentHelp(
            "Whose @ID lines of a keepalived.conf count, as keepalived's option -i.", valueName: "id"))
    var configId: String?

    func run() async throws {
        let isComplete = try await reporting {
            let source = try Import(
                format: format(), marks: marks(), configurationID: configId, surroundings: .present)
            let result: Import.Result
            do {
                result = try source.read(try Import.text(of: file), name: file == "-" ? "<stdin>" : file)
            } catch let errors as ConfigurationErrors { throw Failure(.badValue, "\(errors)") }
            for remark in result.remarks { Failure.write("\(remark)") }
            guard let text = result.text else {
                throw Failure(
                    .badValue, "\(file): no service is left (accepted: one of IPv4 with a real server, at least)")
            }
            // Swift's own `print` writes the file's text as it is, since YAML has its own escapes.
            Swift.print(text, terminator: "")
            return result.isComplete
        }
        if !isComplete { throw ExitCode(Failure.Code.changed.rawValue) }
    }

    private func format() throws -> Import.Format? {
        guard let from else { return nil }
        guard let format = Import.Format(rawValue: from) else {
            throw Failure(.badValue, "--from \(from): no such format (accepted: ipvsadm, keepalived)")
        }
        return format
    }

    private func marks() throws -> [UInt32: [ServiceAddress]] {
        var marks: [UInt32: [ServiceAddress]] = [:]
        for text in fwmark {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let mark = UInt32(parts[0]), mark > 0 else {
                throw Failure(.badValue, "--fwmark \(text): no mark (accepted: N=A.B.C.D:PORT,…, with N from 1 on)")
            }
            for listener in parts[1].split(separator: ",", omittingEmptySubsequences: false) {
                let address = try valid("--fwmark \(text)") { () throws(InvalidValue) in
                    try AddressText.service(listener)
                }
                marks[mark, default: []].append(address)
            }
        }
        return marks
    }
}

/// `ipvsd check FILE`: the errors of a configuration file.
struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find the errors of a configuration file.",
        discussion: """
            Names all errors, with their lines and the accepted values. Nothing is changed, and no privilege is needed.

            Exit codes: 0 the file is good, 64 it is not.
            """)

    @Argument(help: "The file, as for --config.", completion: .file())
    var file: String

    func run() async throws {
        try await reporting {
            let configuration: DirectorConfiguration
            do { configuration = try ConfigurationFile.read(file) } catch { throw Failure(.badValue, "\(error)") }
            for note in configuration.notes { print("note: \(note)") }
            let servers = configuration.services.reduce(0) { $0 + $1.servers.count }
            print("\(file) is good: services: \(configuration.services.count), real servers: \(servers)")
        }
    }
}

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
