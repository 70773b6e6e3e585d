#!/bin/bash
# classic-lvs.sh - LVS with IP tunnels, set up by hand (ipvsadm, tunl0, sysctls), and then by two commands of ipvsd. The
# answers come from the same real servers, and no answer passes the director.
#
# The network is that of Tests/Lab/lab.sh: client 10.0.0.1, director 10.0.0.2, real servers 10.0.0.11 to .13, all on one
# switch; the VIP is 10.0.0.100. Needs kernel IPVS (ip_vs) besides ipip.
# shellcheck source=walk.sh
source "$(dirname "${BASH_SOURCE[0]}")/walk.sh"

# ask WHAT   nine requests, each on a connection of its own, while tcpdump on the director counts answers from the VIP
ask() {
    capture director eth0 100000 "src host $VIP and tcp"
    printf '    %-9s # curl http://%s/    (nine times)\n' client "$VIP"
    ANSWERS=$(LAB_VIA=nsenter in_ns client curl -s -H 'Connection: close' --max-time $((10 * LAB_SLOW)) "http://$VIP/?[1-9]" | sort | uniq -c |
        awk '{ print $2 ": " $1 }' | paste -sd' ')
    printf '                %s\n' "$ANSWERS"
    expect "$1: three answers from each real server" test "$ANSWERS" = "rs1: 3 rs2: 3 rs3: 3"
    expect "$1: none of them passed the director" test "$(capture_count)" = 0
}

needs ipvsadm
step "a client, a director, three real servers with web servers"
lab_up
for host in rs1 rs2 rs3; do server_start $host; done

step "by hand: the real servers"
modprobe -a ipip ip_vs ip_vs_rr
for host in rs1 rs2 rs3; do
    on $host ip link set tunl0 up
    on $host ip addr add $VIP/32 dev tunl0
    on $host sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    on $host sysctl -w net.ipv4.conf.tunl0.rp_filter=0
done
step "by hand: the director"
on director ip addr add $VIP/32 dev eth0
on director ipvsadm -A -t $VIP:80 -s rr
for address in $RS1 $RS2 $RS3; do on director ipvsadm -a -t $VIP:80 -r "$address" -i; done
on director ipvsadm -Ln
ask "by hand"
BY_HAND=$ANSWERS

step "all of that taken back"
on director ipvsadm -C
on director ip addr del $VIP/32 dev eth0
for host in rs1 rs2 rs3; do
    on $host ip addr del $VIP/32 dev tunl0
    on $host ip link set tunl0 down
    on $host sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0
done

step "by ipvsd: the real servers"
for host in rs1 rs2 rs3; do on $host ipvsd realserver-setup --vip $VIP; done
step "by ipvsd: the director"
printf '    %-9s # ipvsd --vip %s:80 --backends %s,%s,%s --scheduler rr\n' director $VIP $RS1 $RS2 $RS3
director_start --vip $VIP:80 --backends $RS1,$RS2,$RS3 --scheduler rr --check none
ask "by ipvsd"
on director ipvsd status
expect "the same result" test "$ANSWERS" = "$BY_HAND"
director_stop
finish
