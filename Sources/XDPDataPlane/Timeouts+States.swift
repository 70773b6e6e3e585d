internal import LoadBalancing
internal import PacketPrograms

extension Timeouts {
    var ofStates: [(ipvsd_state, Int)] {
        [
            (IPVSD_STATE_NONE, 2), (IPVSD_STATE_SYN_RECV, tcpSyn), (IPVSD_STATE_ESTABLISHED, tcp),
            (IPVSD_STATE_FIN_WAIT, tcpFin), (IPVSD_STATE_TIME_WAIT, 120), (IPVSD_STATE_CLOSE, 10),
            (IPVSD_STATE_UDP, udp), (IPVSD_STATE_BARE_ACK, tcp), (IPVSD_STATE_ONE_DATAGRAM, udp),
        ]
    }
}
