import Addresses
import Testing

@testable import Doctor

/// The fate of the director's packets by rulesets in the output of nft and iptables-save.
struct FirewallTests {
    private func nft(_ rules: [String], policy: String = "accept") -> String {
        let chain =
            #"{"chain":{"family":"inet","table":"f","name":"i","type":"filter","hook":"input","policy":"\#(policy)"}}"#
        let lines = rules.map { #"{"rule":{"family":"inet","table":"f","chain":"i","handle":4,"expr":[\#($0)]}}"# }
        return #"{"nftables":[{"metainfo":{"json_schema_version":1}},\#(([chain] + lines).joined(separator: ","))]}"#
    }

    private let dropIPIP =
        #"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"protocol"}},"right":"ipencap"}},{"counter":{"packets":0,"bytes":0}},{"drop":null}"#
    private let acceptTCP =
        #"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,80]}}},{"accept":null}"#
    private let otherSources =
        #"{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"10.0.0.0","len":24}}}},{"drop":null}"#

    private func tunnelled(from source: String? = nil) -> Firewall.Packet {
        Firewall.Packet(
            protocolNumber: 4, input: "eth0", source: source.flatMap { IPAddress($0) },
            destination: IPAddress("10.0.0.11"), state: "new")
    }

    private func isDropped(_ text: String, _ packet: Firewall.Packet) throws -> Bool {
        try #require(Firewall(nft: text)).drop(of: packet, at: [.prerouting, .input]) != nil
    }

    @Test("a drop names its rule")
    func namesTheRule() throws {
        let drop = try #require(Firewall(nft: nft([dropIPIP]))).drop(of: tunnelled(), at: [.input])
        #expect(drop?.text == "inet f/i: ip protocol ipencap drop")
        #expect(try !isDropped(nft([]), tunnelled()))
        #expect(Firewall(nft: "nonsense") == nil)
    }

    @Test("a policy drops packets that no rule accepts")
    func aPolicyDropsWhatNoRuleAccepts() throws {
        #expect(try isDropped(nft([acceptTCP], policy: "drop"), tunnelled()))
        #expect(try !isDropped(nft([#"{"accept":null}"#], policy: "drop"), tunnelled()))
        // A named set may hold protocol 4.
        let named = #"{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"@s"}},{"accept":null}"#
        #expect(try !isDropped(nft([named], policy: "drop"), tunnelled()))
        let lan = #"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"@lan"}},{"accept":null}"#
        #expect(try !isDropped(nft([lan], policy: "drop"), tunnelled()))
        let limited = #"{"limit":{"rate":5,"per":"second"}},{"accept":null}"#
        #expect(try !isDropped(nft([limited], policy: "drop"), tunnelled()))
        #expect(try isDropped(nft([limited, dropIPIP], policy: "drop"), tunnelled()))
    }

    @Test("a rule about other sources does not drop")
    func sourcesAreToldApart() throws {
        #expect(try !isDropped(nft([otherSources]), tunnelled(from: "10.0.0.2")))
        #expect(try isDropped(nft([otherSources]), tunnelled(from: "172.16.0.0")))
        #expect(try !isDropped(nft([otherSources]), tunnelled()))
    }

    @Test("jumps and verdict maps are followed")
    func jumpsAndVerdictMaps() throws {
        let jump = nft([#"{"jump":{"target":"o"}}"#])
        let chains = jump.replacing(
            #"{"rule""#,
            with:
                #"{"chain":{"family":"inet","table":"f","name":"o","handle":1}},{"rule":{"family":"inet","table":"f","chain":"o","handle":9,"expr":[\#(dropIPIP)]}},{"rule""#,
            maxReplacements: 1)
        #expect(try isDropped(chains, tunnelled()))

        let states = #"{"set":[["invalid",{"drop":null}],["established",{"accept":null}]]}"#
        let map = #"{"vmap":{"key":{"ct":{"key":"state"}},"data":\#(states)}}"#
        var packet = tunnelled()
        #expect(try !isDropped(nft([map]), packet))
        packet.state = "invalid"
        let drop = try #require(Firewall(nft: nft([map]))).drop(of: packet, at: [.input])
        #expect(drop?.isByState == true)
    }

    private func published(at port: UInt16?, vip: UInt32 = 0x0A00_0064) -> Firewall.Packet {
        Firewall.Packet(
            protocolNumber: 6, input: "tunl0", destination: IPAddress(vip), destinationPort: port, state: "new")
    }

    @Test("a published port is a translation")
    func publishedPortsAreTranslations() throws {
        let docker = """
            *nat
            :PREROUTING ACCEPT [0:0]
            :DOCKER - [0:0]
            -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
            -A DOCKER -i docker0 -j RETURN
            -A DOCKER -d 10.0.0.11/32 ! -i docker0 -p tcp -m tcp --dport 53 -j DNAT --to-destination 172.17.0.3:53
            -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
            COMMIT
            *filter
            :INPUT ACCEPT [0:0]
            COMMIT
            """
        let firewall = Firewall(iptables: docker)
        #expect(firewall.translation(of: published(at: 8080))?.contains("--dport 8080") == true)
        #expect(firewall.translation(of: published(at: nil))?.contains("--dport 8080") == true)
        #expect(firewall.translation(of: published(at: 80)) == nil)
        // The port is published at another address of the host.
        #expect(firewall.translation(of: published(at: 53)) == nil)
        #expect(firewall.translation(of: published(at: 53, vip: 0x0A00_000B)) != nil)

        let dnat =
            #"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":8080}},{"dnat":{"addr":"172.17.0.2","port":80}}"#
        let nat = nft([dnat]).replacing(#""type":"filter","hook":"input""#, with: #""type":"nat","hook":"prerouting""#)
        let rules = try #require(Firewall(nft: nat))
        #expect(rules.translation(of: published(at: 8080)) == "inet f/i: tcp dport 8080 dnat")
        #expect(rules.translation(of: published(at: 80)) == nil)
        // A filter's chain translates nothing.
        #expect(try #require(Firewall(nft: nft([dnat]))).translation(of: published(at: 8080)) == nil)
    }

    @Test("rules about a type of ICMP match that type only")
    func typesOfICMPAreToldApart() throws {
        func echo(_ type: UInt8) -> Firewall.Packet {
            Firewall.Packet(protocolNumber: 1, input: "tunl0", icmpType: type, state: "new")
        }
        let drop =
            #"{"match":{"op":"==","left":{"payload":{"protocol":"icmp","field":"type"}},"right":"echo-request"}},{"drop":null}"#
        #expect(try isDropped(nft([drop]), echo(8)))
        #expect(try !isDropped(nft([drop]), echo(3)))
        #expect(try !isDropped(nft([drop]), tunnelled()))
        let accept = """
            *filter
            :INPUT DROP [0:0]
            -A INPUT -p icmp -m icmp --icmp-type 3/4 -j ACCEPT
            -A INPUT -p icmp -m icmp --icmp-type 0 -j ACCEPT
            COMMIT
            """
        #expect(Firewall(iptables: accept).drop(of: echo(8), at: [.input]) != nil)
        #expect(Firewall(iptables: accept).drop(of: echo(3), at: [.input]) == nil)
        #expect(Firewall(iptables: accept).drop(of: echo(0), at: [.input]) == nil)
    }

    @Test("rules of iptables-save are read")
    func iptables() {
        let text = """
            *filter
            :INPUT DROP [0:0]
            :OUTPUT ACCEPT [0:0]
            :own - [0:0]
            -A INPUT -i lo -j ACCEPT
            -A INPUT -m comment --comment "a tunnel, not -p 4" -m conntrack --ctstate INVALID -j DROP
            -A INPUT -j own
            -A own -s 10.0.0.0/24 -p ipencap -j ACCEPT
            -A own ! -i eth0 -p tcp -m tcp --dport 80 -j ACCEPT
            COMMIT
            """
        let firewall = Firewall(iptables: text)
        #expect(firewall.drop(of: tunnelled(from: "10.0.0.2"), at: [.input]) == nil)
        let byPolicy = firewall.drop(of: tunnelled(from: "10.9.0.2"), at: [.input])
        #expect(byPolicy?.text == "policy drop of chain iptables filter/INPUT")
        var inner = Firewall.Packet(protocolNumber: 6, input: "tunl0", destinationPort: 80, state: "new")
        #expect(firewall.drop(of: inner, at: [.input]) == nil)
        inner.state = "invalid"
        #expect(firewall.drop(of: inner, at: [.input])?.isByState == true)
        #expect(Firewall(iptables: "").drop(of: inner, at: [.input]) == nil)
    }

    @Test("the remedy of a drop is a command of the program that has the rule")
    func remedies() throws {
        let firewall = try #require(Firewall(nft: nft([dropIPIP])))
        let nftDrop = try #require(firewall.drop(of: tunnelled(), at: [.input]))
        #expect(nftDrop.accept(from: "tunl0") == "nft insert rule inet f i iifname tunl0 accept")
        let text = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"
        let policy = try #require(Firewall(iptables: text).drop(of: tunnelled(), at: [.input]))
        #expect(policy.accept("ip protocol 4", iptables: "-p 4") == "iptables -t filter -I INPUT -p 4 -j ACCEPT")
    }
}
