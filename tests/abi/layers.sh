#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Who may include what. Usage: layers.sh SOURCE_DIR
#
# - A file of libvirtiofs/LAYER includes headers of its own and of lower layers
#   only, as "layer/file.h".
# - Of the public headers it takes what its layer may know: rings and memory
#   know no FUSE, nothing below sessions knows the sessions' objects.
# - Programs under examples/ include public headers and their own.
set -eu
cd "$1"

awk '
BEGIN {
	split("base wire mem vq transport fuse session adapter", order, " ")
	for (i in order)
		rank[order[i]] = i + 0
	# Lowest layer that may include a public header.
	public["base.h"] = rank["base"]
	public["stats.h"] = rank["base"]
	public["fuse_kernel.h"] = rank["wire"]
	public["transport.h"] = rank["transport"]
	public["transport_impl.h"] = rank["transport"]
	public["device.h"] = rank["fuse"]
	public["client.h"] = rank["fuse"]
	public["bridge.h"] = rank["adapter"]
	public["ops.h"] = rank["session"]
	public["virtiofs.h"] = rank["session"]
	no_fuse["mem"] = no_fuse["vq"] = no_fuse["transport"] = 1
}
function wrong(why) {
	printf "%s:%d: %s: %s\n", FILENAME, FNR, why, $0
	bad = 1
}
# The layer a file is in, or "" for programs and public headers.
function layer_of(file, part) {
	split(file, part, "/")
	return part[1] == "libvirtiofs" ? part[2] : ""
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
	match($0, /"[^"]*"/)
	header = substr($0, RSTART + 1, RLENGTH - 2)
	mine = layer_of(FILENAME)
	split(header, part, "/")
	if (mine == "") {
		if (header ~ /^\// || header ~ /libvirtiofs/ ||
		    part[1] in rank)
			wrong("programs use public headers only")
	} else if (!(mine in rank)) {
		wrong("layer " mine " has no place in the order")
	} else if (header == "vtfs_config.h") {
		next
	} else if (!(part[1] in rank)) {
		wrong("write it as \"layer/file.h\"")
	} else if (rank[part[1]] > rank[mine]) {
		wrong("upward: " mine " is below " part[1])
	}
}
/^[ \t]*#[ \t]*include[ \t]*<virtiofs\// {
	match($0, /<virtiofs\/[^>]*/)
	header = substr($0, RSTART + 10, RLENGTH - 10)
	mine = layer_of(FILENAME)
	if (mine == "" || !(mine in rank))
		next
	if (!(header in public))
		wrong("no layer knows this header")
	else if (public[header] > rank[mine])
		wrong("upward: " mine " does not know this header")
	else if (header == "fuse_kernel.h" && mine in no_fuse)
		wrong("upward: " mine " knows no FUSE")
}
/^[ \t]*#[ \t]*include[ \t]*<(linux\/fuse|linux\/virtio)/ {
	if (layer_of(FILENAME) != "")
		wrong("the wire formats are ours: the system may be older")
}
END { exit bad }
' $(find libvirtiofs examples include -name '*.[ch]' | sort)
