# manual.awk -v os="ipvsd VERSION" - one page of swift-argument-parser's generate-manual in, one for section 8 out: named
# ipvsd-drain, paragraphs and examples as such, exit codes in the section of that name.

# Lines that begin with blanks are examples and tables.
/^  / {
    if (!literal) print ".Bd -literal"
    literal = 1; blank = 0
    gsub(/\\/, "\\e")
    print
    next
}
literal && NF { print ".Ed"; literal = 0; blank = !/^\./ && blank }
/^$/ { blank = 1; next }

/^Exit codes?: / { exit_codes = substr($0, index($0, ":") + 2); blank = 0; next }
/^\.Ex -std/ && exit_codes != "" { print toupper(substr(exit_codes, 1, 1)) substr(exit_codes, 2); next }

/^\.Dt / { root = ($2 == "IPVSD"); gsub(/\./, "-", $2); $0 = ".Dt " $2 " " $3 }
# In NAME it is called after its page, which apropos(1) finds, elsewhere as one types it.
/^\.Nm "/ { typed = $0; gsub(/"/, ""); $0 = ".Nm " $2 ($3 == "" ? "" : "-" $3) ($4 == "" ? "" : "-" $4) }
/^\.Nm$/ && typed != "" { $0 = typed }
/^\.Os/ { $0 = ".Os \"" os "\"" }
/^\.Nd / { gsub(/"|\.$/, ""); sub(/\."?$/, "") }
/^\.Xr / { gsub(/\./, "-", $2); if ($2 ~ /^ipvsd-(help|documentation)$/) next }
# A subcommand is a choice.
/^\.Ar "?subcommand"?$/ { $0 = ".Op Ar subcommand" }

/^\.Sh "?SEE ALSO/ && !root { print; print ".Xr ipvsd 8 ,"; sees = 1; next }
/^\.Sh "?SEE ALSO/ && root { print; print ".Xr ipvsd.yaml 5 ,"; next }
/^\.Sh "?EXIT/ && root { files() }
/^\.Bl / || /^\.Sh / { blank = 0 }
{ if (blank) print ".Pp"; blank = 0; print }

END {
    if (literal) print ".Ed"
    if (!root && !sees) print ".Sh \"SEE ALSO\"\n.Xr ipvsd 8"
}

function files() {
    print ".Sh FILES\n.Bl -tag -width 6n"
    print ".It Pa /etc/ipvsd/ipvsd.yaml\nThe configuration that the unit ipvsd.service starts the director with."
    print ".It Pa /usr/share/doc/ipvsd/examples/ipvsd.yaml\nAn example of it; its keys are in\n.Xr ipvsd.yaml 5 ."
    print ".It Pa /usr/share/ipvsd/ipvsd.schema.json\nIts JSON Schema, for editors."
    print ".It Pa /etc/default/ipvsd\nOPTIONS=... for the unit: --instance and --verbose."
    print ".It Pa /run/ipvsd\nThe control socket, and the journals of what was changed in the machine."
    print ".It Pa /var/lib/ipvsd\nDrains, which outlive a restart of the machine."
    print ".It Pa /sys/fs/bpf/ipvsd\nThe data plane.\n.El"
}
