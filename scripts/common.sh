# SPDX-License-Identifier: LGPL-2.1-or-later
# Small things that scripts/ and tests/guest share. Sourced by bash.

# Say what happens, on standard error: standard output is for results.
say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Run as root: directly, or with sudo where that is what there is.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "needs root for: $* (become root, or install sudo)"
	fi
}

# apt_need PACKAGE...: install what is missing; no network if all is there.
apt_need() {
	local p missing=()

	for p in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null |
			grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	command -v apt-get >/dev/null || die "no apt-get here; install: ${missing[*]}"
	say "installing: ${missing[*]}"
	apt_install "${missing[@]}" && return 0
	say "trying again with new package lists"
	as_root apt-get -qq update >&2 || say "apt-get update reported errors"
	apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
		--no-install-recommends install "$@" >/dev/null
}

# The folder that the peers live in, outside of any checkout.
peers_dir() {
	if [ -n "${VIRTIOFS_PEERS:-}" ]; then
		printf '%s\n' "$VIRTIOFS_PEERS"
	elif [ "$(id -u)" = 0 ]; then
		printf '%s\n' /var/cache/libvirtiofs-peers
	else
		printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/libvirtiofs-peers"
	fi
}

# A folder in memory for what guests map; user-mode Linux wants it so.
memory_tmp() {
	if [ -d /dev/shm ] && [ -w /dev/shm ]; then
		printf '%s\n' /dev/shm
	else
		printf '%s\n' "${TMPDIR:-/tmp}"
	fi
}

# uml_exec FOLDER SOCKET KERNEL PRELOAD VARIABLE=VALUE...: becomes user-mode
# Linux (KERNEL: a peer's folder), with this machine's files as its root, read
# only, and tests/guest/guest.sh as its first process. Console: standard output.
uml_exec() {
	local dir=$1 sock=$2 kernel=$3 preload=$4

	shift 4
	mkdir -p "$dir/uml"
	TMPDIR=$(memory_tmp) LD_PRELOAD=$preload exec setsid "$kernel/linux" mem=512M \
		root=/dev/root rootfstype=hostfs rootflags=/ ro \
		init="$top/tests/guest/guest.sh" uml_dir="$dir/uml" \
		virtio_uml.device="$sock:26" con0=null,fd:1 con=null seccomp=auto quiet \
		"VT_MODULES=$kernel/modules" "$@" </dev/null
}

# qemu_exec QEMU FOLDER MEMORY CPUS PROPERTIES ARGUMENT...: becomes QEMU with a
# virtio-fs of FOLDER/sock. Console: FOLDER/console. The properties are of
# vhost-user-fs-pci; or the word vfio-user: the socket has a whole PCI function;
# or vfio-user-nofd: which gets no file descriptor of the guest's memory.
# qemu_first: arguments that have to come before it.
qemu_exec() {
	local qemu=$1 dir=$2 mem=$3 cpus=$4 props=$5
	local share=${qemu%/bin/*}/share function backend=memory-backend-memfd,share=on

	function=(-chardev "socket,id=c0,path=$dir/sock" -device "vhost-user-fs-pci,chardev=c0,$props")
	[[ $props != vfio-user* ]] || function=(-device
		"{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$dir/sock\"}}")
	[ "$props" != vfio-user-nofd ] || backend=memory-backend-ram,share=off

	# QEMU 11.1 looks for its firmware in /usr/share, not beside itself.
	shift 5
	exec setsid "$qemu" -L "$share/qemu" -L "$share/seabios" -accel tcg,thread=multi -M q35 -m "$mem" -smp "$cpus" \
		-nodefaults -display none -serial chardev:s0 \
		-chardev "file,id=s0,path=$dir/console,append=on" \
		-object "$backend,id=mem,size=$mem" -numa node,memdev=mem \
		${qemu_first:-} "${function[@]}" "$@" </dev/null
}
# For the end of its kernel's command line.
qemu_append="console=ttyS0 quiet nokaslr tsc=reliable mitigations=off"

# Wait at most SECONDS for a daemon's socket: wait_for_socket PATH PID SECONDS
wait_for_socket() {
	local i

	for ((i = 0; i < $3 * 20; i++)); do
		[ -S "$1" ] && return 0
		kill -0 "$2" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

# How the server is confined: a root that is no mount point (in a chroot) can't
# be left by a namespace of its own.
best_sandbox() {
	if [ "$(id -u)" = 0 ] && mountpoint -q /; then
		echo namespace
	else
		echo chroot
	fi
}
