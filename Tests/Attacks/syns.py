"""Spoofed handshakes, each from another address that nobody has.

    syns.py VIP PORT RATE SECONDS [pairs]   SYNs at that rate a second; with `pairs` an ACK follows each
"""

import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Namespaces"))
from handshakes import ACK, SYN, segment  # noqa: E402


def main(vip, port, rate, seconds, pairs=None):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    other = socket.inet_aton(vip)
    random.seed(20)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        source = bytes([10, 8, random.randrange(256), random.randrange(1, 255)])
        ports = (random.randrange(1024, 65536), int(port))
        raw.sendto(segment(source, other, ports, 1000, 0, SYN), (vip, 0))
        if pairs:
            raw.sendto(segment(source, other, ports, 1001, 2001, ACK), (vip, 0))
        time.sleep(1 / float(rate))


if __name__ == "__main__":
    main(*sys.argv[1:])
