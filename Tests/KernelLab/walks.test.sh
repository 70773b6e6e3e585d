#!/bin/bash
# The walks of examples/, each as an operator would run it.
here=$(cd "$(dirname "$0")" && pwd)
failed=0
for walk in "$here"/../../examples/walks/*.sh; do
    name=$(basename "$walk" .sh)
    [[ $name != walk && "walk $name" =~ ${ONLY:-.} ]] || continue
    began=$SECONDS
    if output=$(LAB="ipvsd-$name" "$walk" 2>&1); then
        echo "ok - walk $name # $((SECONDS - began)) s"
    else
        failed=1
        echo "not ok - walk $name"
        echo "  ${output//$'\n'/$'\n  '}"
    fi
done
exit $failed
