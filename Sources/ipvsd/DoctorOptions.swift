import Addresses
import ArgumentParser
import Doctor
import LoadBalancing
import RealServerSetup
import ServiceConfiguration

/// What `doctor` and `realserver-setup --check` are told besides the VIPs.
struct DoctorOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Of a check: the director's own address, to be asked whether it can be reached, and how large packets may be.",
            valueName: "address"))
    var director: String?

    @Option(
        help: ArgumentHelp(
            "Of a check: the port at which the service has to listen. Default: any.", valueName: "number"))
    var port: String?

    @Option(
        name: .declared(Options.outerSources),
        help: ArgumentHelp("Of a check: what the director was given by that name.", valueName: "A.B.C.D/LENGTH"))
    var outerSourcePrefix: String?

    @Flag(help: "Of a check: print JSON.")
    var json = false

    @Flag(help: "Mend what a check finds and may be mended; realserver-setup --undo takes it back.")
    var fix = false

    func examiner(vips: [IPAddress], mss: MSSPolicy) throws -> RealServerExaminer {
        RealServerExaminer(
            vips: vips,
            director: try director.map { text in
                try valid("--director \(text)") { () throws(InvalidValue) in try AddressText.address(text) }
            },
            outerSources: try outerSourcePrefix.map { text in
                try valid("\(Options.outerSources.flagName) \(text)") { () throws(InvalidValue) in
                    try Options.outerSources.syntax.parse(text)
                }
            },
            port: try port.map { text in
                try valid("--port \(text)") { () throws(InvalidValue) in try AddressText.port(text) }
            }, mss: mss)
    }
}
