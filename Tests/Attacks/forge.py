"""Packets that nobody sent in earnest.

    forge.py udp SOURCE PORT DESTINATION PORT      a datagram of one byte
    forge.py syn SOURCE PORT DESTINATION PORT      a SYN
    forge.py too-big OUTER QUOTED MTU DIRECTOR SERVER [CLIENT PORT VIP PORT]
                                                   ICMP "fragmentation needed" from OUTER to the director about a packet of
                                                   1,500 bytes to the server: QUOTED is "tunnel" (the IPIP header and, where
                                                   a client is named, its TCP packet), or "ping"
    forge.py listen PORT                           prints the source of each datagram
"""

import socket
import struct
import sys


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source, destination, protocol, length):
    # DF
    fields = (0x45, 0, length, 1, 0x4000, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(destination))
    header = struct.pack("!BBHHHBBH4s4s", *fields)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:]


def send(source, destination, protocol, payload):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.sendto(ip(source, destination, protocol, 20 + len(payload)) + payload, (destination, 0))


def udp(source, source_port, destination, port):
    send(source, destination, 17, struct.pack("!HHHH", int(source_port), int(port), 9, 0) + b"x")


def syn(source, source_port, destination, port):
    fields = [int(source_port), int(port), 1, 0, 0x5002, 1000]
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", 6, 20)
    value = checksum(pseudo + struct.pack("!HHIIHHHH", *fields, 0, 0))
    send(source, destination, 6, struct.pack("!HHIIHHHH", *fields, value, 0))


def too_big(router, quoted, mtu, director, server, client=None, client_port=0, vip=None, port=0):
    quote = ip(director, server, 1 if quoted == "ping" else 4, 1500)
    if quoted == "ping":
        quote += struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    elif client:
        quote += ip(client, vip, 6, 1480) + struct.pack("!HHI", int(client_port), int(port), 1)
    message = struct.pack("!BBHHH", 3, 4, 0, 0, int(mtu)) + quote
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    send(router, director, 1, message)


def listen(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", int(port)))
    print("listening", flush=True)
    while True:
        print(server.recvfrom(64)[1][0], flush=True)


if __name__ == "__main__":
    {"udp": udp, "syn": syn, "too-big": too_big, "listen": listen}[sys.argv[1]](*sys.argv[2:])
