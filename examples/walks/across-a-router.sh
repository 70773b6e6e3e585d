#!/bin/bash
# across-a-router.sh - two hosts in two networks, a router with static routes between them, and a tunnel through it.
#
#     a 10.1.0.2 --- 10.1.0.1 router 10.2.0.1 --- 10.2.0.2 b
#       10.255.0.1 ============ t1 ============ 10.255.0.2
# shellcheck source=walk.sh
source "$(dirname "${BASH_SOURCE[0]}")/walk.sh"

step "two networks and a router"
hosts a router b
wire a eth0 10.1.0.2/24 router eth0 10.1.0.1/24
wire b eth0 10.2.0.2/24 router eth1 10.2.0.1/24
on router sysctl -w net.ipv4.ip_forward=1
on a ip route add 10.2.0.0/24 via 10.1.0.1
on b ip route add 10.1.0.0/24 via 10.2.0.1
on a ping -c 1 -W $((2 * LAB_SLOW)) 10.2.0.2
expect "the router forwards" says ' 1 received'

step "a tunnel from end to end; of the router it takes nothing but the two routes"
on a ipvsd tunnel add t1 --local 10.1.0.2 --remote 10.2.0.2 --address 10.255.0.1 --peer 10.255.0.2 --ttl 64
on b ipvsd tunnel add t1 --local 10.2.0.2 --remote 10.1.0.2 --address 10.255.0.2 --peer 10.255.0.1 --ttl 64
capture router eth1 2 "ip proto 4"
on a ping -c 1 -W $((2 * LAB_SLOW)) 10.255.0.2
expect "it is answered" says ' 1 received'
captured
expect "the router has taken one from the outer TTL of 64" says 'ttl 63, .*proto IPIP \(4\), length 104'

step "the tunnel is one hop: packets of TTL 1 pass through it, and not by the router alone"
on a ping -c 1 -t 1 -W $((2 * LAB_SLOW)) 10.255.0.2
expect "TTL 1 is enough inside" says ' 1 received'
expect "TTL 1 ends at the router outside" not in_ns a ping -c 1 -t 1 -W "$LAB_SLOW" 10.2.0.2 >/dev/null

step "without its static route the tunnel has no way"
on b ip route del 10.1.0.0/24
expect "no answer comes back" not in_ns a ping -c 1 -W "$LAB_SLOW" 10.255.0.2 >/dev/null
on b ip route add 10.1.0.0/24 via 10.2.0.1
on a ping -c 1 -W $((2 * LAB_SLOW)) 10.255.0.2
expect "with it, there is one again" says ' 1 received'
finish
