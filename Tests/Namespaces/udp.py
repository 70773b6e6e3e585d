"""UDP server and clients of the namespace tests.

    udp.py serve NAME PORT              answers every datagram with "NAME ", from the address it was sent to, and what
                                        came, or of a long one its digest
    udp.py ask VIP PORT COUNT [FIRST]   COUNT datagrams; with FIRST each from the next client address; prints who answered
    udp.py repeat VIP PORT COUNT [FROM] COUNT datagrams of one flow, from that port; prints who answered each
    udp.py large VIP PORT BYTES COUNT   COUNT datagrams of BYTES (payload) that may be fragmented; prints who got all of each
    udp.py too-big VIP PORT BYTES       one datagram of BYTES (IP length) with DF; prints the MTU and sender of the ICMP error
"""

import hashlib
import ipaddress
import random
import socket
import struct
import sys

IP_PKTINFO, IP_MTU_DISCOVER, IP_PMTUDISC_DONT, IP_PMTUDISC_DO, IP_RECVERR = 8, 10, 0, 2, 11
MSG_ERRQUEUE = 0x2000


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


def serve(name, port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind(("0.0.0.0", int(port)))
    while True:
        data, control, _, client = server.recvmsg(65535, 256)
        for level, kind, value in control:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                # in_pktinfo: interface, local address (source of the answer), destination of the request
                destination = struct.unpack("=I4s4s", value[:12])[2]
                info = struct.pack("=I4s4s", 0, destination, bytes(4))
                answer = name.encode() + b" " + (data if len(data) <= 64 else digest(data))
                server.sendmsg([answer], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, client)


def ask(vip, port, count, first=None):
    for number in range(int(count)):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(3)
        if first:
            client.bind((str(ipaddress.ip_address(first) + number), 0))
        client.connect((vip, int(port)))  # so that only the VIP's own answer is taken
        client.send(b"%d" % number)
        try:
            name, _, echo = client.recv(2048).decode().partition(" ")
            print(name if echo == str(number) else f"failed: wrong echo {echo}")
        except OSError as error:
            print(f"failed: {error}")
        client.close()


def repeat(vip, port, count, source=0):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(3)
    client.bind(("", int(source)))
    client.connect((vip, int(port)))
    for number in range(int(count)):
        client.send(b"%d" % number)
        try:
            name, _, echo = client.recv(2048).decode().partition(" ")
            print(name if echo == str(number) else f"failed: wrong echo {echo}")
        except OSError as error:
            print(f"failed: {error}")


def large(vip, port, length, count):
    for number in range(int(count)):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        client.settimeout(8)
        client.connect((vip, int(port)))
        data = random.randbytes(int(length))
        client.send(data)
        try:
            name, _, echo = client.recv(2048).partition(b" ")
            print(name.decode() if echo == digest(data) else f"failed: {len(data)} bytes arrived changed")
        except OSError as error:
            print(f"failed: {error}")
        client.close()


def too_big(vip, port, length):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    client.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    client.settimeout(3)
    client.connect((vip, int(port)))
    client.send(bytes(int(length) - 28))
    try:
        print("answered:", client.recv(2048)[:16])
        return
    except socket.timeout:
        print("nothing")
        return
    except OSError:
        pass
    _, control, _, _ = client.recvmsg(2048, 512, MSG_ERRQUEUE)
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR):
            # sock_extended_err, then the sockaddr_in of the error's sender
            _, origin, icmp_type, code, _, mtu, _ = struct.unpack("=IBBBBII", value[:16])
            print(f"mtu {mtu} from {socket.inet_ntoa(value[20:24])} origin {origin} type {icmp_type} code {code}")


if __name__ == "__main__":
    {"serve": serve, "ask": ask, "repeat": repeat, "large": large, "too-big": too_big}[sys.argv[1]](*sys.argv[2:])
