/// Which of the flags were typed.
extension DirectorFlags {
    /// Their names; one that was typed with its default value does not count.
    public var given: [String] {
        let standard = DirectorFlags()
        func name<Value: Equatable>(_ path: KeyPath<DirectorFlags, Value>, _ name: String) -> String? {
            self[keyPath: path] == standard[keyPath: path] ? nil : name
        }
        return [
            name(\.vips, "--vip"), name(\.backends, "--backends"), name(\.scheduler, "--scheduler"),
            name(\.schedulerFlags, "--sched-flags"), name(\.upperThreshold, "--u-threshold"),
            name(\.lowerThreshold, "--l-threshold"), name(\.maglevSize, "--maglev-size"),
            name(\.onServerLoss, "--on-server-loss"), name(\.onServerRemoval, "--on-server-removal"),
            name(\.oneService, "--one-service"),
            name(\.persistent, "--persistent"), name(\.persistentNetmask, "--persistent-netmask"),
            name(\.onePacket, "--one-packet"), name(\.connections, "--connections"),
            name(\.tcpTimeout, "--tcp-timeout"), name(\.tcpFinTimeout, "--tcp-fin-timeout"),
            name(\.udpTimeout, "--udp-timeout"), name(\.halfOpenLimit, "--half-open-limit"),
            name(\.interfaces, "--interface"), name(\.xdp, "--xdp"), name(\.check, "--check"),
            name(\.checkInterval, "--check-interval"), name(\.checkTimeout, "--check-timeout"),
            name(\.checkFastInterval, "--check-fast-interval"), name(\.inhibit, "--inhibit"),
            name(\.slowStart, "--slow-start"), name(\.flapDamping, "--flap-damping"), name(\.quorum, "--quorum"),
            name(\.sorryServer, "--sorry-server"),
            name(\.rise, "--rise"), name(\.fall, "--fall"), name(\.noSYNWatch, "--no-syn-watch"),
            name(\.noAddress, "--no-address"), name(\.outerSourcePrefix, "--outer-source-prefix"),
            name(\.notify, "--notify"), name(\.notifyAtStart, "--notify-at-start"),
            name(\.metricsListen, "--metrics-listen"),
        ].compactMap(\.self)
    }
}
