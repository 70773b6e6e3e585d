#!/bin/bash
# two-hosts.sh - two hosts, a tunnel between them, a ping through it: 84 bytes inside, 104 on the wire.
#
#     a 10.0.0.1 ------- eth0, 10.0.0.0/24 ------- 10.0.0.2 b
#       10.255.0.1 ===== t1: IPv4 in IPv4 ==== 10.255.0.2
# shellcheck source=walk.sh
source "$(dirname "${BASH_SOURCE[0]}")/walk.sh"

step "two hosts on one wire"
hosts a b
wire a eth0 10.0.0.1/24 b eth0 10.0.0.2/24

step "a tunnel: on a by ipvsd, on b by hand, as the device is the same"
on a ipvsd tunnel add t1 --local 10.0.0.1 --remote 10.0.0.2 --address 10.255.0.1 --peer 10.255.0.2
on b ip tunnel add t1 mode ipip local 10.0.0.2 remote 10.0.0.1
on b ip addr add 10.255.0.2 peer 10.255.0.1 dev t1
on b ip link set t1 up
on a ipvsd tunnel show t1
expect "an MTU of 1480: the wire's 1500 less a second IPv4 header" says 'mtu 1480'
on a ip -d link show t1
expect "ip(8) says the same of it" says 'ipip .*remote 10.0.0.2 local 10.0.0.1 ttl inherit pmtudisc'

step "a ping of 84 bytes: 20 of IPv4, 8 of ICMP, 56 of data"
capture a eth0 2 "ip proto 4"
on a ping -c 1 -W $((2 * LAB_SLOW)) 10.255.0.2
expect "it is answered" says ' 1 received'
captured
expect "two packets of 104 bytes on the wire, protocol 4" test "$(grep -c 'proto IPIP (4), length 104' <<<"$OUTPUT")" = 2
expect "two packets of 84 bytes inside them" test "$(grep -c 'proto ICMP (1), length 84' <<<"$OUTPUT")" = 2

step "once more changes nothing; other values are an error that names them"
on a ipvsd tunnel add t1 --local 10.0.0.1 --remote 10.0.0.2
expect "it is there" says 'already'
expect "another remote end is refused" not in_ns a "$IPVSD" tunnel add t1 --local 10.0.0.1 --remote 10.0.0.3

step "deleted"
on a ipvsd tunnel delete t1
expect "no device is left" not ip -n "$(ns a)" link show t1
finish
