#!/bin/bash
# joined-networks.sh - two private networks joined by a tunnel that has no addresses; HTTP from one to the other.
#
#     client .10 -- 192.168.1.0/24 -- .1 gw1 198.51.100.1 --- internet --- 203.0.113.1 gw2 .1 -- 192.168.2.0/24 -- .10 server
#                                        ================== t1 ==================
# shellcheck source=walk.sh
source "$(dirname "${BASH_SOURCE[0]}")/walk.sh"

step "two private networks, and an internet that knows neither"
hosts client gw1 internet gw2 server
wire client eth0 192.168.1.10/24 gw1 lan 192.168.1.1/24
wire gw1 wan 198.51.100.1/24 internet eth0 198.51.100.254/24
wire gw2 wan 203.0.113.1/24 internet eth1 203.0.113.254/24
wire server eth0 192.168.2.10/24 gw2 lan 192.168.2.1/24
on internet sysctl -w net.ipv4.ip_forward=1
on gw1 ip route add default via 198.51.100.254
on gw2 ip route add default via 203.0.113.254
on client ip route add default via 192.168.1.1
on server ip route add default via 192.168.2.1
on gw1 sysctl -w net.ipv4.ip_forward=1
on gw2 sysctl -w net.ipv4.ip_forward=1
expect "the internet brings nothing from the one to the other" \
    not in_ns client ping -c 1 -W "$LAB_SLOW" 192.168.2.10 >/dev/null

step "a tunnel between the gateways: no address on it, a route into it"
on gw1 ipvsd tunnel add t1 --local 198.51.100.1 --remote 203.0.113.1 --ttl 64
on gw1 ip route add 192.168.2.0/24 dev t1
on gw2 ipvsd tunnel add t1 --local 203.0.113.1 --remote 198.51.100.1 --ttl 64
on gw2 ip route add 192.168.1.0/24 dev t1
on client ping -c 1 -W $((2 * LAB_SLOW)) 192.168.2.10
expect "there and back, one hop for each gateway" says 'ttl=62'

step "HTTP across"
LAB_BIG=$LAB_DIR/big
head -c 300000 /dev/urandom >"$LAB_BIG"
server_start server
capture internet eth0 2 "ip proto 4"
on client curl -s --max-time $((10 * LAB_SLOW)) http://192.168.2.10/
expect "the page" says '^server$'
captured
expect "the internet saw the gateways' addresses outside" says '(198.51.100.1 > 203.0.113.1|203.0.113.1 > 198.51.100.1)'
expect "and the private ones inside: nothing was translated" says '192.168.1.10\.[0-9]+ > 192.168.2.10.80'

step "300,000 bytes: segments that fill 1500 bytes do not fit the tunnel, and gw2 says so (path MTU discovery)"
on client curl -s --max-time $((20 * LAB_SLOW)) -o "$LAB_DIR/got" http://192.168.2.10/big
expect "they arrive whole" cmp "$LAB_BIG" "$LAB_DIR/got"
on server ip route get 192.168.1.10
expect "the server has learnt the tunnel's MTU" says 'mtu 1480'
finish
