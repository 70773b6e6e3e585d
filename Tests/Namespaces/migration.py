"""Traffic of the migration's tests, and the version of a data plane's layout.

    migration.py serve NAME PORT...         UDP: of a stream counts the datagrams, and answers each WINDOWth with their
                                            number; all others it answers with NAME
    migration.py stream VIP PORT COUNT END  COUNT datagrams of sequence numbers on one flow, then the file END.PORT, and
                                            more until END is there; prints how many there were and were lost
    migration.py flows VIP UDP,.. TCP,.. RATE HOLD END
                                            RATE new flows a second of each protocol, ports in turn, until END is there.
                                            Each asks at its begin and, HOLD seconds later, at its end; prints their number
                                            and how many datagrams were lost
    migration.py version PIN [VERSION]      prints the first word of the map that is pinned there, or writes it

Whatever is lost, reset or answered by another server is a line that begins with "failed".
"""

import collections
import ctypes
import mmap
import os
import platform
import select
import socket
import struct
import sys
import time

WINDOW = 16
IP_PKTINFO, SO_RCVBUFFORCE = 8, 33


def serve(name, *ports):
    counts = collections.Counter()
    poll = select.epoll()
    servers = {}
    for port in ports:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        server.bind(("0.0.0.0", int(port)))
        server.setblocking(False)
        servers[server.fileno()] = server
        poll.register(server, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            take(servers[descriptor], name.encode(), counts)


def take(server, name, counts):
    while True:
        try:
            data, control, _, client = server.recvmsg(2048, 256)
        except BlockingIOError:
            return
        answer = name
        if len(data) == 8:
            counts[client] += 1
            if (struct.unpack("!Q", data)[0] + 1) % WINDOW:
                continue
            answer += b" %d" % counts[client]
        # in_pktinfo: interface, local address (source of the answer), destination of the request
        destination = struct.unpack("=I4s4s", control[0][2][:12])[2]
        info = struct.pack("=I4s4s", 0, destination, bytes(4))
        server.sendmsg([answer], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, client)


def stream(vip, port, count, end):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(1)
    client.connect((vip, int(port)))
    sent, arrived, server = 0, 0, None

    def receive():
        """False where no answer came in time: it, or what is answered, is lost or late. The next one has the count."""
        nonlocal arrived, server
        try:
            name, count = client.recv(64).split()
        except TimeoutError:
            return False
        server = server or name
        if name != server:
            sys.exit(f"failed: the stream of port {port} moved from {server.decode()} to {name.decode()} after {sent}")
        arrived = int(count)
        return True

    while sent < int(count) or not os.path.exists(end):
        for number in range(sent, sent + WINDOW):
            client.send(struct.pack("!Q", number))
        sent += WINDOW
        if sent - WINDOW < int(count) <= sent:
            open(f"{end}.{port}", "w").close()
        if not receive() and sent - arrived > 20 * WINDOW:
            sys.exit(f"failed: the stream of port {port} stopped at {arrived} of {sent}")
    while arrived < sent and receive():
        pass
    print(sent, sent - arrived)


class Flow:
    """One connection or UDP flow: it asks once, is quiet, and asks once more."""

    def __init__(self, kind, vip, port, now, hold):
        self.what = f"{kind} {port}"
        self.request = b"?" if kind == "udp" else b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.connect_ex((vip, port))
        self.next, self.limit = now + hold, now + hold + 16
        self.server, self.asked, self.answers = None, 0, 0

    def write(self):
        self.socket.send(self.request)
        self.asked += 1

    def read(self):
        """True at its end."""
        data = self.socket.recv(4096)
        name = data if self.request == b"?" else data.rsplit(b"\r\n", 1)[-1].strip()
        if not data.startswith((b"HTTP/1.1 200", b"rs")):
            raise OSError(f"the answer {data[:40]}")
        self.server = self.server or name
        if name != self.server:
            raise OSError(f"moved from {self.server.decode()} to {name.decode()}")
        self.answers += 1
        return self.answers == 2


def flows(vip, udp, tcp, rate, hold, end):
    ports = [("udp", int(port)) for port in udp.split(",")], [("tcp", int(port)) for port in tcp.split(",")]
    poll, open_flows, made, hold = select.epoll(), {}, 0, float(hold)
    begin = time.monotonic()
    quiet = collections.deque()
    failed = lost = 0

    def close(flow):
        if open_flows.pop(flow.socket.fileno(), None):
            flow.socket.close()

    def fail(flow, error):
        nonlocal failed
        failed += 1
        if failed <= 5:
            print(f"failed: {flow.what} after {flow.answers} answers: {error}", flush=True)
        close(flow)

    def ask_again(flow, now):
        nonlocal lost
        if now > flow.limit and flow.request == b"?":
            lost += 1
            return close(flow)
        if now > flow.limit:
            return fail(flow, "no answer")
        if flow.asked == flow.answers:
            flow.write()
        flow.next = now + hold
        quiet.append(flow)

    while open_flows or not os.path.exists(end):
        now = time.monotonic()
        if not os.path.exists(end):
            # After a time without a turn not all at once.
            for _ in range(min(int((now - begin) * float(rate)) - made, 50)):
                for of_protocol in ports:
                    kind, port = of_protocol[made % len(of_protocol)]
                    flow = Flow(kind, vip, port, now, hold)
                    open_flows[flow.socket.fileno()] = flow
                    poll.register(flow.socket, select.EPOLLOUT)
                    quiet.append(flow)
                made += 1
        while quiet and quiet[0].next <= now:
            flow = quiet.popleft()
            if flow.socket.fileno() >= 0:
                try:
                    ask_again(flow, now)
                except OSError as error:
                    fail(flow, error)
        for descriptor, events in poll.poll(0.005):
            flow = open_flows.get(descriptor)
            if flow is None:
                continue
            try:
                if events & select.EPOLLOUT and flow.asked == 0:
                    flow.write()
                    poll.modify(flow.socket, select.EPOLLIN)
                elif flow.read():
                    close(flow)
            except OSError as error:
                fail(flow, error)
    if failed:
        print(f"failed: {failed} in all")
    print(2 * made, lost)


def version(pin, value=None):
    attribute = ctypes.create_string_buffer(128)
    path = ctypes.create_string_buffer(pin.encode())
    struct.pack_into("=QII", attribute, 0, ctypes.addressof(path), 0, 0)
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    # BPF_OBJ_GET
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(number, 7, attribute, 16)
    if descriptor < 0:
        sys.exit(f"{pin}: {os.strerror(ctypes.get_errno())}")
    memory = mmap.mmap(descriptor, mmap.PAGESIZE)
    if value:
        memory[:4] = struct.pack("=I", int(value))
    print(struct.unpack("=I", memory[:4])[0])


if __name__ == "__main__":
    {"serve": serve, "stream": stream, "flows": flows, "version": version}[sys.argv[1]](*sys.argv[2:])
