internal import ServiceConfiguration

/// A block of a keepalived.conf with its keywords, as keepalived 2.2.7 to 2.4 install them. keepalived ignores a
/// keyword outside of its block.
struct KeepalivedKeywords: Sendable {
    enum Content: Sendable {
        /// A line of values, without a block.
        case line
        case block(KeepalivedKeywords)
        /// A line with or without a block. The block has lines of values, or keywords that have no effect here.
        case any
    }

    let name: String
    /// Whether values of the block get into the configuration, and so have to be UTF-8.
    private let carries: Bool
    private let contents: [String: Content]

    private init(
        _ name: String, lines: [String], blocks: [KeepalivedKeywords] = [], any: [String] = [], carries: Bool = true
    ) {
        self.name = name
        self.carries = carries
        var contents: [String: Content] = [:]
        for keyword in lines { contents[keyword] = .line }
        for block in blocks { contents[block.name] = .block(block) }
        for keyword in any { contents[keyword] = .any }
        self.contents = contents
    }

    /// Returns the statements that begin with keywords of this block. Notes each of the others.
    func known(_ statements: [KeepalivedStatement]) -> [KeepalivedStatement] {
        statements.compactMap { statement in
            // Swift compares strings by characters, and keepalived compares keywords by bytes.
            let isASCII = statement.keyword.utf8.allSatisfy { $0 < 0x80 }
            switch isASCII ? contents[statement.keyword] : nil {
            case nil: skip(statement, "no keyword of \(name)")
            case .any?: return statement
            case .line?:
                if statement.block != nil {
                    skip(statement, "no block of \(name)")
                } else if carries, statement.text.unicodeScalars.contains("\u{FFFD}") {
                    statement.notes.add(.left, statement.place, "\(statement.keyword): it is not UTF-8")
                } else {
                    return statement
                }
            case .block(let keywords)?:
                guard let block = statement.block else {
                    statement.notes.errors.add(
                        statement.place,
                        InvalidValue("\(statement.keyword) without its block", accepted: "{ … } behind it"))
                    return nil
                }
                var statement = statement
                statement.block = keywords.known(block)
                return statement
            }
            return nil
        }
    }

    private func skip(_ statement: KeepalivedStatement, _ problem: String) {
        if statement.block == nil {
            statement.notes.add(
                .note, statement.place, "\(statement.title): \(problem): keepalived ignores it, too")
        } else {
            statement.notes.add(
                .changed, statement.place,
                "\(statement.title) { … }: \(problem): it is left out as a whole; keepalived leaves out \(statement.keyword) "
                    + "alone, and takes the lines of its block, and the }, for those of \(name)")
        }
    }

    // MARK: The tables

    /// The keywords outside of all blocks.
    static let root = KeepalivedKeywords(
        "the file",
        lines: [
            "linkbeat_use_polling", "net_namespace", "net_namespace_ipvs", "namespace_with_ipsets", "use_pid_dir",
            "instance", "child_wait_time",
        ],
        blocks: [
            KeepalivedKeywords("SSL", lines: ["password", "ca", "certificate", "key"]), global, virtualServer,
        ],
        any: [
            "virtual_server_group", "vrrp_instance", "vrrp_sync_group", "vrrp_script", "vrrp_track_file",
            "vrrp_track_process", "track_file", "track_group", "garp_group", "interface_up_down_delays",
            "linkbeat_interfaces", "static_ipaddress", "static_routes", "static_rules", "bfd_instance",
        ])

    private static let virtualServer = KeepalivedKeywords(
        "virtual_server",
        lines: [
            "ip_family", "retry", "delay_before_retry", "warmup", "connect_timeout", "delay_loop", "inhibit_on_failure",
            "lb_algo", "lvs_sched", "hashed", "ops", "flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port",
            "mh-fallback", "lb_kind", "lvs_method", "persistence_engine", "persistence_timeout",
            "persistence_granularity", "protocol", "ha_suspend", "smtp_alert", "virtualhost", "snmp_name", "alpha",
            "omega", "quorum_up", "quorum_down", "quorum", "hysteresis", "weight", "sorry_server",
            "sorry_server_inhibit", "sorry_server_lvs_method",
        ], blocks: [realServer])

    private static let realServer = KeepalivedKeywords(
        "real_server",
        lines: [
            "weight", "lvs_method", "uthreshold", "lthreshold", "inhibit_on_failure", "notify_up", "notify_down",
            "alpha", "retry", "delay_before_retry", "warmup", "connect_timeout", "delay_loop", "smtp_alert",
            "virtualhost", "snmp_name",
        ],
        blocks: [
            http("HTTP_GET", tls: []), http("SSL_GET", tls: ["tls_compliant", "sni_name"]),
            KeepalivedKeywords("TCP_CHECK", lines: connection + common),
            KeepalivedKeywords("PING_CHECK", lines: connection + common),
            KeepalivedKeywords("SMTP_CHECK", lines: connection + common + ["helo_name"], any: ["host"]),
            KeepalivedKeywords("DNS_CHECK", lines: connection + common + ["type", "name"]),
            KeepalivedKeywords(
                "UDP_CHECK",
                lines: connection + common + ["payload", "require_reply", "min_reply_length", "max_reply_length"]),
            KeepalivedKeywords(
                "MISC_CHECK", lines: common + ["misc_path", "misc_timeout", "misc_dynamic", "user"]),
            KeepalivedKeywords("FILE_CHECK", lines: ["track_file", "weight"]),
            KeepalivedKeywords("BFD_CHECK", lines: ["name", "alpha"]),
        ])

    /// The keywords of checkers that connect (install_checker_common_keywords).
    private static let connection = [
        "connect_ip", "connect_port", "bindto", "bind_port", "bind_if", "connect_timeout", "fwmark",
    ]
    private static let common = ["retry", "delay_before_retry", "warmup", "delay_loop", "alpha", "log_all_failures"]

    private static func http(_ name: String, tls: [String]) -> KeepalivedKeywords {
        KeepalivedKeywords(
            name,
            lines: connection + common + [
                "nb_get_retry", "virtualhost", "http_protocol", "enable_sni", "fast_recovery",
            ]
                + tls,
            blocks: [
                KeepalivedKeywords(
                    "url",
                    lines: [
                        "path", "digest", "status_code", "virtualhost", "regex", "regex_no_match", "regex_options",
                        "regex_min_offset", "regex_max_offset", "regex_stack",
                    ] + tls.filter { $0 == "tls_compliant" })
            ])
    }

    private static let global = KeepalivedKeywords(
        "global_defs",
        lines: [
            "process_names", "process_name", "vrrp_process_name", "checker_process_name", "lvs_process_name",
            "bfd_process_name", "use_symlink_paths", "router_id", "notification_email_from", "smtp_server",
            "smtp_helo_name", "smtp_connect_timeout", "smtp_alert", "startup_script", "startup_script_timeout",
            "shutdown_script", "shutdown_script_timeout", "max_auto_priority", "min_auto_priority_delay",
            "smtp_alert_vrrp", "smtp_alert_checker", "checker_log_all_failures", "dynamic_interfaces",
            "no_email_faults", "default_interface", "disable_local_igmp", "v3_checksum_as_v2", "lvs_timeouts",
            "lvs_flush", "lvs_flush_on_stop", "lvs_flush_onstop", "lvs_sync_daemon", "vrrp_mcast_group4",
            "vrrp_mcast_group6", "vrrp_garp_master_delay", "vrrp_garp_master_repeat", "vrrp_garp_master_refresh",
            "vrrp_garp_master_refresh_repeat", "vrrp_garp_lower_prio_delay", "vrrp_garp_lower_prio_repeat",
            "vrrp_down_timer_adverts", "vrrp_garp_interval", "vrrp_gna_interval", "vrrp_min_garp",
            "vrrp_garp_extra_if", "vrrp_vmac_garp_intvl", "vrrp_lower_prio_no_advert", "vrrp_higher_prio_send_advert",
            "vrrp_version", "vrrp_iptables", "vrrp_ipsets", "nftables", "nftables_priority", "nftables_ifindex",
            "vrrp_check_unicast_src", "vrrp_skip_check_adv_addr", "vrrp_strict", "vrrp_priority", "vrrp_no_swap",
            "vrrp_rt_priority", "vrrp_cpu_affinity", "vrrp_rlimit_rttime", "vrrp_rlimit_rtime", "nftables_ipvs",
            "nftables_ipvs_priority", "nftables_ipvs_start_fwmark", "nftables_counters", "notify_fifo",
            "notify_fifo_script", "vrrp_notify_fifo", "vrrp_notify_fifo_script", "vrrp_notify_priority_changes",
            "fifo_write_vrrp_states_on_reload", "lvs_notify_fifo", "lvs_notify_fifo_script", "checker_priority",
            "checker_no_swap", "checker_rt_priority", "checker_cpu_affinity", "checker_rlimit_rttime",
            "checker_rlimit_rtime", "bfd_priority", "bfd_no_swap", "bfd_rt_priority", "bfd_cpu_affinity",
            "bfd_rlimit_rttime", "bfd_rlimit_rtime", "snmp_socket", "enable_traps", "enable_snmp_vrrp",
            "enable_snmp_keepalived", "enable_snmp_rfc", "enable_snmp_rfcv2", "enable_snmp_rfcv3",
            "enable_snmp_checker", "snmp_vs_stats_update_interval", "snmp_rs_stats_update_interval", "enable_dbus",
            "dbus_service_name", "dbus_no_interface_name", "script_user", "enable_script_security",
            "vrrp_netlink_cmd_rcv_bufs", "vrrp_netlink_cmd_rcv_bufs_force", "vrrp_netlink_monitor_rcv_bufs",
            "vrrp_netlink_monitor_rcv_bufs_force", "process_monitor_rcv_bufs", "process_monitor_rcv_bufs_force",
            "lvs_netlink_cmd_rcv_bufs", "lvs_netlink_cmd_rcv_bufs_force", "lvs_netlink_monitor_rcv_bufs",
            "lvs_netlink_monitor_rcv_bufs_force", "rs_init_notifies", "no_checker_emails", "vrrp_rx_bufs_policy",
            "vrrp_rx_bufs_multiplier", "vrrp_startup_delay", "vrrp_delay_after_boot", "log_unknown_vrids",
            "vrrp_owner_ignore_adverts", "vmac_prefix", "vmac_addr_prefix", "umask", "random_seed",
            "reload_check_config", "reload_time_file", "reload_repeat", "reload_file", "include_check",
            "config_save_dir", "tmp_config_directory", "data_use_instance", "json_version", "iproute_usr_dir",
            "iproute_etc_dir", "state_dump_file", "stats_dump_file", "json_dump_file",
        ], any: ["notification_email"], carries: false)
}
