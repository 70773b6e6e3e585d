import ArgumentParser
import ServiceConfiguration

/// The director's flags, but those of the daemon itself, in the groups of `--help`.
struct DirectorOptions: ParsableArguments {
    @OptionGroup(title: OptionTopic.services.rawValue) var services: ServiceFlags
    @OptionGroup(title: OptionTopic.scheduling.rawValue) var scheduling: SchedulingFlags
    @OptionGroup(title: OptionTopic.checks.rawValue) var checks: CheckFlags
    @OptionGroup(title: OptionTopic.recovery.rawValue) var recovery: RecoveryFlags
    @OptionGroup(title: OptionTopic.network.rawValue) var network: NetworkFlags
    @OptionGroup(title: OptionTopic.connections.rawValue) var connections: ConnectionFlags
    @OptionGroup(title: OptionTopic.events.rawValue) var events: EventFlags

    var flags: DirectorFlags { DirectorFlags(givenOptions()) }
}

struct ServiceFlags: ParsableArguments {
    @Option(each: Options.listeners) var vip
    @Option(each: Options.servers) var backends
    @Flag(Options.oneService) var oneService
    @Option(Options.upperThreshold) var uThreshold
    @Option(Options.lowerThreshold) var lThreshold
}

struct SchedulingFlags: ParsableArguments {
    @Option(Options.scheduler) var scheduler
    @Option(each: Options.schedulerFlags) var schedFlags
    @Option(Options.maglevSize) var maglevSize
    @Option(Options.persistent) var persistent
    @Option(Options.persistentNetmask) var persistentNetmask
    @Flag(Options.onePacket) var onePacket
}

struct CheckFlags: ParsableArguments {
    @Option(Options.check) var check
    @Option(Options.checkInterval) var checkInterval
    @Option(Options.checkFastInterval) var checkFastInterval
    @Option(Options.checkTimeout) var checkTimeout
    @Option(Options.rise) var rise
    @Option(Options.fall) var fall
    @Flag(Options.synWatch) var noSynWatch
}

struct RecoveryFlags: ParsableArguments {
    @Option(Options.onServerLoss) var onServerLoss
    @Option(Options.onServerRemoval) var onServerRemoval
    @Flag(Options.inhibit) var inhibit
    @Option(Options.slowStart) var slowStart
    @Option(Options.flapDamping) var flapDamping
    @Option(Options.quorum) var quorum
    @Option(Options.sorryServer) var sorryServer
}

struct NetworkFlags: ParsableArguments {
    @Option(each: Options.interfaces) var interface
    @Option(Options.xdp) var xdp
    @Flag(Options.addresses) var noAddress
    @Option(Options.outerSources) var outerSourcePrefix
}

struct ConnectionFlags: ParsableArguments {
    @Option(Options.connections) var connections
    @Option(Options.tcpTimeout) var tcpTimeout
    @Option(Options.tcpFinTimeout) var tcpFinTimeout
    @Option(Options.udpTimeout) var udpTimeout
    @Option(Options.halfOpenLimit) var halfOpenLimit
}

struct EventFlags: ParsableArguments {
    @Option(Options.notify) var notify
    @Flag(Options.notifyAtStart) var notifyAtStart
    @Option(Options.metricsListen) var metricsListen
}
