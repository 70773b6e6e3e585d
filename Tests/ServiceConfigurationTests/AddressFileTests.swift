import Addresses
import ServiceConfiguration
import Testing

struct AddressFileTests {
    @Test func addressesCommentsAndBlanks() throws {
        let text = "# VIPs\n10.0.0.100\n\n  10.0.0.101\t# web\r\n10.0.0.100\n#10.0.0.102\n10.0.0.103"
        #expect(
            try AddressFile.addresses(text, name: "f") == [
                IPAddress(0x0A00_0064), IPAddress(0x0A00_0065), IPAddress(0x0A00_0067),
            ])
    }

    @Test func everyBadLineIsTold() {
        let error = #expect(throws: ConfigurationErrors.self) {
            try AddressFile.addresses("10.0.0.100\n10.0.0\n\n127.0.0.1\n10.0.0.1 10.0.0.2\n", name: "vips")
        }
        #expect(error?.errors.map(\.place) == ["vips line 2", "vips line 4", "vips line 5"])
        #expect(
            error?.errors.first?.description == "vips line 2: 10.0.0 is no IPv4 address (accepted: one A.B.C.D a line)")
    }

    @Test(arguments: ["", "# none\n", "\n\n"]) func anEmptyFileIsAnError(text: String) {
        let error = #expect(throws: ConfigurationErrors.self) { try AddressFile.addresses(text, name: "vips") }
        #expect(error?.description == "vips: no address in it (accepted: one A.B.C.D a line)")
    }
}
