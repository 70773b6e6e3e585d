internal import LoadBalancing

/// keepalived's global_defs: little of it is about virtual servers.
enum KeepalivedGlobals {
    private static let own: Set<String> = [
        "router_id", "smtp_server", "smtp_helo_name", "smtp_connect_timeout", "notification_email_from",
        "dynamic_interfaces", "no_email_faults", "no_checker_emails", "default_interface", "disable_local_igmp",
        "process_names", "process_name", "use_symlink_paths", "set_supplementary_groups", "max_auto_priority",
        "min_auto_priority_delay", "log_unknown_vrids", "umask", "random_seed", "reload_check_config",
        "reload_time_file",
        "reload_repeat", "reload_file", "include_check", "config_save_dir", "tmp_config_directory", "data_use_instance",
        "json_version", "iproute_usr_dir", "iproute_etc_dir", "state_dump_file", "stats_dump_file", "json_dump_file",
        "rs_init_notifies", "enable_script_security", "checker_log_all_failures", "lvs_flush", "lvs_flush_on_stop",
        "lvs_flush_onstop", "v3_checksum_as_v2", "smtp_alert_vrrp", "enable_traps", "vmac_prefix", "vmac_addr_prefix",
        "lvs_process_name", "nftables_counters", "use_pid_dir", "instance", "child_wait_time",
    ]
    private static let ownPrefixes = [
        "vrrp_", "bfd_", "snmp_", "enable_snmp_", "dbus_", "enable_dbus", "nftables", "process_",
        "checker_", "lvs_netlink_", "startup_script_timeout", "shutdown_script_timeout",
    ]

    static func take(_ statement: KeepalivedStatement, _ reader: inout KeepalivedImport) {
        var kept: [String] = []
        for line in statement.block ?? [] {
            if isOwn(line.keyword) { kept.append(line.keyword) } else { take(line: line, &reader) }
        }
        guard !kept.isEmpty else { return }
        reader.remark(.note, statement.place, "global_defs: keepalived's own: \(kept.joined(separator: ", "))")
    }

    private static func isOwn(_ keyword: String) -> Bool {
        own.contains(keyword) || ownPrefixes.contains(where: keyword.hasPrefix)
    }

    private static func take(line: KeepalivedStatement, _ reader: inout KeepalivedImport) {
        let place = line.place
        switch line.keyword {
        case "lvs_timeouts":
            reader.errors.attempt(place) { () throws(InvalidValue) in try takeTimeouts(line, &reader) }
        case "lvs_sync_daemon":
            reader.remark(
                .left, place,
                "lvs_sync_daemon: ipvsd does not synchronise connections with another director; with the "
                    + "scheduler mh each director chooses the same real servers")
        case "notification_email":
            reader.remark(
                .left, place, "notification_email: ipvsd sends no mails; a program at notify: is told of every event")
        case "smtp_alert", "smtp_alert_checker":
            reader.errors.attempt(place) { () throws(InvalidValue) in
                let isOn = try line.flag()
                if isOn { reader.remark(.left, place, KeepalivedRemarks.mails(line)) }
            }
        case "notify_fifo", "notify_fifo_script", "lvs_notify_fifo", "lvs_notify_fifo_script":
            reader.remark(.left, place, "\(line.title): 'ipvsd events --follow --json' tells of every event")
        case "script_user": reader.scriptUser = line
        case "startup_script", "shutdown_script":
            reader.remark(.left, place, "\(line.title): ExecStartPre= and ExecStopPost= of the unit run programs")
        case "net_namespace", "net_namespace_ipvs":
            reader.remark(
                .changed, place, "\(line.title): start ipvsd in it: ip netns exec \(line.values.joined()) ipvsd …")
        default: reader.remark(.left, place, "\(line.title): unknown to ipvsd import")
        }
    }

    /// `lvs_timeouts [tcp SECONDS] [tcpfin SECONDS] [udp SECONDS]`; 0 leaves one as it is.
    private static func takeTimeouts(
        _ line: KeepalivedStatement, _ reader: inout KeepalivedImport
    ) throws(InvalidValue) {
        var timeouts = reader.file.timeouts ?? Timeouts()
        var rest = line.values
        while let name = rest.popFirst() {
            let paths: [String: WritableKeyPath<Timeouts, Int>] = ["tcp": \.tcp, "tcpfin": \.tcpFin, "udp": \.udp]
            guard let path = paths[name], let text = rest.popFirst() else {
                throw InvalidValue("lvs_timeouts \(name)", accepted: "lvs_timeouts tcp N tcpfin N udp N, in seconds")
            }
            let seconds = try ImportNumbers.seconds(text)
            guard seconds > 0 else { continue }
            timeouts[keyPath: path] = min(seconds, Timeouts.range.upperBound)
            if seconds > Timeouts.range.upperBound {
                reader.remark(
                    .changed, line.place,
                    "lvs_timeouts \(name) \(seconds) becomes \(Timeouts.range.upperBound), the longest")
            }
        }
        reader.file.timeouts = timeouts
    }
}
