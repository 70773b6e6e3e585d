import ArgumentParser
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import ipvsd

/// The command line and the configuration file say the same.
struct DirectorOptionTests {
    private func configuration(_ arguments: [String]) throws -> DirectorConfiguration {
        try #require(try RootCommand.parse(asTyped: arguments) as? DirectorCommand).directorConfiguration()
    }

    @Test("a flag and the key of the file give the same configuration", arguments: DirectorOption.all)
    func flagAndKeyAgree(option: DirectorOption) throws {
        let ofFlags = try configuration(option.commandLine)
        let ofFile = try ConfigurationFile.parse(option.file, file: "file")
        #expect(ofFlags == ofFile)
    }

    @Test("each option of the table changes the configuration", arguments: DirectorOption.all)
    func optionHasEffect(option: DirectorOption) throws {
        var plain = DirectorOption(flag: "", arguments: [])
        if option.flag != "--vip" { plain.vips = option.vips }
        if option.flag != "--backends" { plain.backends = option.backends }
        #expect(try configuration(option.commandLine) != configuration(plain.commandLine))
    }

    @Test("the table has every flag that says something of the configuration")
    func tableIsComplete() throws {
        #expect(DirectorOption.all.map(\.flag).sorted() == (try DirectorOption.names().sorted()))
    }
}
