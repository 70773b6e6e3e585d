import Addresses
import ArgumentParser
import Doctor
import LoadBalancing
import RealServerSetup
import ServiceConfiguration

/// The options of `doctor` and `realserver-setup --check` besides the VIPs.
struct DoctorOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The director's own address, to check that it can be reached, and by packets of which size.",
            valueName: "address"))
    var director: String?

    @Option(
        help: ArgumentHelp("The port at which the service has to listen. Default: any.", valueName: "number"))
    var port: String?

    @Option(
        name: .declared(Options.outerSources),
        help: ArgumentHelp("The value of the director's option of that name.", valueName: "A.B.C.D/LENGTH"))
    var outerSourcePrefix: String?

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Repair faults where possible. 'ipvsd realserver-setup --undo' takes the repairs back.")
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
