"""What tcpdump does not tell of a pcapng file, by the draft's words (draft-ietf-opsawg-pcapng).

    pcapng.py FILE    a line for each frame, "frame INTERFACE in|out ID VERDICT LOST LENGTH COMMENT", and for each
                      interface's statistics, "end INTERFACE ACCEPTED LOST DELIVERED"
"""

import struct
import sys


def options(data):
    found = {}
    while len(data) >= 4:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            break
        found[code] = data[4 : 4 + length]
        data = data[4 + (length + 3) // 4 * 4 :]
    return found


def number(value):
    return int.from_bytes(value, "little")


def main(path):
    data = open(path, "rb").read()
    names = []
    while data:
        kind, length = struct.unpack_from("<II", data)
        body = data[8 : length - 4]
        assert length % 4 == 0 and struct.unpack_from("<I", data, length - 4)[0] == length, "block length"
        if kind == 0x0A0D0D0A:
            assert number(body[:4]) == 0x1A2B3C4D
        elif kind == 1:
            names.append(options(body[8:])[2].decode())
        elif kind == 6:
            interface, _, _, captured, size = struct.unpack_from("<IIIII", body)
            told = options(body[20 + (captured + 3) // 4 * 4 :])
            way = {1: "in", 2: "out"}[number(told[2]) & 3]
            assert told[7][0] == 2
            lost = number(told.get(4, b""))
            print("frame", names[interface], way, number(told[5]), number(told[7][1:]), lost, size, told[1].decode())
        elif kind == 5:
            told = options(body[12:])
            print("end", names[number(body[:4])], number(told[6]), number(told[7]), number(told[8]))
        else:
            raise SystemExit(f"a block of type {kind}")
        data = data[length:]


main(sys.argv[1])
