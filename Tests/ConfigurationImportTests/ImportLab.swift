import ConfigurationImport
import Addresses
import LoadBalancing
import ServiceConfiguration
import Testing

/// An import whose result is read as `ipvsd check` reads it.
struct ImportLab {
    var format: Import.Format?
    var marks: [UInt32: [ServiceAddress]] = [:]
    var id: String?
    /// The files that can be included, by path.
    var files: [String: String] = [:]

    struct Outcome {
        let configuration: DirectorConfiguration
        let text: String
        let remarks: [ImportRemark]
        let isComplete: Bool

        /// The remarks' lines and kinds, such as `3 changed`.
        var marks: [String] {
            remarks.map { "\($0.place.split(separator: ":").last ?? "") \($0.kind.rawValue)" }
        }

        func has(_ text: String) -> Bool { remarks.contains { "\($0)".contains(text) } }
    }

    var source: Import {
        let files = files
        return Import(
            format: format, marks: marks, configurationID: id,
            surroundings: ImportSurroundings(
                addresses: {
                    ["www.example.org": "10.0.0.100", "rs1": "10.0.0.11"][$0].flatMap(IPAddress.init).map { [$0] }
                        ?? []
                },
                port: { name, transport in name == "http" && transport == .tcp ? 80 : nil },
                matches: { pattern in
                    pattern.hasSuffix("*.conf")
                        ? files.keys.filter { $0.hasPrefix(pattern.dropLast(6)) }.sorted()
                        : files[pattern] == nil ? [] : [pattern]
                },
                text: { files[$0] }, files: .unseen))
    }

    func read(_ text: String) throws -> Outcome {
        let result = try source.read(text, name: "in")
        let printed = try #require(result.text)
        return Outcome(
            configuration: try ConfigurationFile.parse(printed, file: "out"), text: printed, remarks: result.remarks,
            isComplete: result.isComplete)
    }

    func errors(_ text: String) -> [String] {
        do {
            _ = try source.read(text, name: "in")
            return []
        } catch { return error.errors.map(\.description) }
    }
}

func address(_ text: String) -> ServiceAddress {
    guard let address = try? AddressText.service(text) else { preconditionFailure("\(text) is no listener") }
    return address
}

func server(_ text: String) -> RealServer {
    guard let server = try? AddressText.server(text) else { preconditionFailure("\(text) is no real server") }
    return server
}
