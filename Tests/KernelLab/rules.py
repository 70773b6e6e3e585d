"""Prints a configuration file that `ipvsd import` wrote as rules of ipvsadm: one of each listener."""
import re
import sys


def rules(lines):
    for line in lines:
        line = re.sub(r"\s+# .*", "", line.rstrip())
        if match := re.match(r"  - listeners: \[?([^]]*)\]?$", line):
            service = {"listeners": match[1].split(", "), "servers": []}
            yield service
        elif match := re.match(r"      - ([0-9.]+)=([0-9]+)$", line):
            service["servers"].append((match[1], match[2]))
        elif match := re.match(r"    ([a-z-]+): (.+)$", line):
            service[match[1]] = match[2]


def seconds(text):
    match = re.fullmatch(r"([0-9]+)([smh])", text)
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def options(service):
    text = f"-s {service['scheduler']}"
    if persistence := service.get("persistence"):
        match = re.fullmatch(r"\{timeout: (.*), netmask: (.*)\}", persistence)
        text += f" -p {seconds(match[1] if match else persistence)}"
        if match:
            mask = 0xFFFFFFFF << (32 - int(match[2])) & 0xFFFFFFFF
            text += " -M " + ".".join(str(mask >> shift & 255) for shift in (24, 16, 8, 0))
    if "one-packet" in service:
        text += " -o"
    if flags := service.get("sched-flags"):
        text += " -b " + ",".join(sorted(flags.strip("[]").split(", ")))
    return text


for service in list(rules(open(sys.argv[1], encoding="utf-8"))):
    for listener in service["listeners"]:
        address, transport = listener.split("/")
        name = f"-{transport[0]} {address}"
        print(f"-A {name} {options(service)}")
        for server, weight in service["servers"]:
            print(f"-a {name} -r {server}:{address.split(':')[1]} -i -w {weight}")
