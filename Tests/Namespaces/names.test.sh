#!/bin/bash
# Interfaces that are renamed, or go by other names.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() { lab_up; }

# rename HOST FROM TO   renames an interface. Older kernels do so only while it is down, which removes its routes.
rename() {
    local host
    host=$(ns "$1")
    ip -n "$host" link set "$2" down
    ip -n "$host" link set "$2" name "$3"
    ip -n "$host" link set "$3" up
    ip -n "$host" route replace default via 10.0.0.1
}

has_vip() { ip -n "$(ns director)" -o addr show dev wan0 | grep -qF "$VIP/32"; }

test_a_stop_after_a_renaming_leaves_nothing() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$RS1"
    rename director eth0 wan0
    director_stop
    rename director wan0 eth0
    same_state "$before" "$(machine_state director)"
}

test_a_cleanup_after_a_renaming_leaves_nothing() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$RS1"
    director_kill
    rename director eth0 wan0
    exits 0 ipvsd cleanup
    rename director wan0 eth0
    same_state "$before" "$(machine_state director)"
}

test_the_vip_is_put_back_on_a_renamed_interface() {
    director_start --vip "$VIP" --backends "$RS1"
    rename director eth0 wan0
    ip -n "$(ns director)" addr del "$VIP/32" dev wan0
    wait_until 3 "the VIP to be put back" has_vip
    director_stop
    rename director wan0 eth0
}

test_an_undo_after_a_renaming_leaves_nothing() {
    local before
    before=$(machine_state rs1)
    realservers_setup rs1
    rename rs1 eth0 wan0
    exits 0 in_ns rs1 "$IPVSD" realserver-setup --undo
    rename rs1 wan0 eth0
    same_state "$before" "$(machine_state rs1)"
}

test_an_interface_is_found_by_its_altname() {
    ip -n "$(ns director)" link property add dev eth0 altname enp5s0f0np0
    director_start --vip "$VIP" --backends "$RS1" --interface enp5s0f0np0
    director_stop
}

# The file names the interface by its present name, and the director knows it by its former name.
test_a_reload_takes_the_new_name() {
    local file=$LAB_DIR/named.yaml
    printf 'interfaces: eth0\nservices:\n- {listeners: %s, servers: %s, check: none}\n' "$VIP" "$RS1" >"$file"
    director_start --config "$file"
    rename director eth0 wan0
    sed -i 's/eth0/wan0/' "$file"
    exits 0 ipvsd reload
    matches "$OUTPUT" "reloaded: settings changed" "what it says"
    sed -i 's/wan0/eth1/' "$file"
    exits 64 ipvsd reload
    matches "$OUTPUT" "interfaces .wan0, now eth1.: cannot change" "what it says"
    director_stop
    rename director wan0 eth0
}

run_tests
