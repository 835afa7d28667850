/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <virtiofs/virtiofs.h>

#include "log.h"

#define QUEUES_MAX     64u
#define QUEUE_SIZE_MAX 32768u
#define POOL_MAX       1024u

enum {
	OPT_SOCKET_PATH = 256,
	OPT_SOCKET_GROUP,
	OPT_FD,
	OPT_LISTEN,
	OPT_SHARED_DIR,
	OPT_TAG,
	OPT_POOL,
	OPT_CACHE,
	OPT_DIRECT_IO,
	OPT_XATTR,
	OPT_POSIX_ACL,
	OPT_READONLY,
	OPT_SUBMOUNTS,
	OPT_NO_SUBMOUNTS,
	OPT_NO_READDIRPLUS,
	OPT_KILLPRIV,
	OPT_NO_KILLPRIV,
	OPT_NOATIME,
	OPT_CHECK,
	OPT_HANDLES,
	OPT_RLIMIT,
	OPT_SANDBOX,
	OPT_LOG_LEVEL,
	OPT_SYSLOG,
	OPT_CAPABILITIES,
	OPT_QUEUES,
	OPT_QUEUE_SIZE,
	OPT_PACKED,
	OPT_IN_ORDER,
	OPT_RING_RESET,
	OPT_STATS,
};

static const struct option long_options[] = {
    {"socket-path", required_argument, NULL, OPT_SOCKET_PATH},
    {"socket-group", required_argument, NULL, OPT_SOCKET_GROUP},
    {"fd", required_argument, NULL, OPT_FD},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"shared-dir", required_argument, NULL, OPT_SHARED_DIR},
    {"tag", required_argument, NULL, OPT_TAG},
    {"thread-pool-size", required_argument, NULL, OPT_POOL},
    {"cache", required_argument, NULL, OPT_CACHE},
    {"allow-direct-io", no_argument, NULL, OPT_DIRECT_IO},
    {"xattr", no_argument, NULL, OPT_XATTR},
    {"posix-acl", no_argument, NULL, OPT_POSIX_ACL},
    {"readonly", no_argument, NULL, OPT_READONLY},
    {"announce-submounts", no_argument, NULL, OPT_SUBMOUNTS},
    {"no-announce-submounts", no_argument, NULL, OPT_NO_SUBMOUNTS},
    {"no-readdirplus", no_argument, NULL, OPT_NO_READDIRPLUS},
    {"killpriv-v2", no_argument, NULL, OPT_KILLPRIV},
    {"no-killpriv-v2", no_argument, NULL, OPT_NO_KILLPRIV},
    {"preserve-noatime", no_argument, NULL, OPT_NOATIME},
    {"check-permissions", no_argument, NULL, OPT_CHECK},
    {"inode-file-handles", required_argument, NULL, OPT_HANDLES},
    {"rlimit-nofile", required_argument, NULL, OPT_RLIMIT},
    {"sandbox", required_argument, NULL, OPT_SANDBOX},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"syslog", no_argument, NULL, OPT_SYSLOG},
    {"print-capabilities", no_argument, NULL, OPT_CAPABILITIES},
    {"queues", required_argument, NULL, OPT_QUEUES},
    {"queue-size", required_argument, NULL, OPT_QUEUE_SIZE},
    {"packed", no_argument, NULL, OPT_PACKED},
    {"in-order", no_argument, NULL, OPT_IN_ORDER},
    {"ring-reset", no_argument, NULL, OPT_RING_RESET},
    {"stats", no_argument, NULL, OPT_STATS},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: virtiofs-server --shared-dir DIR (--listen URI |\n"
    "                       --socket-path PATH | --fd N)... [OPTION]...\n"
    "Serve a directory as a virtio-fs device.\n"
    "\n"
    "  --shared-dir DIR        the directory to serve\n"
    "  --listen URI            be a device at vhost-user:PATH, vfio-user:PATH\n"
    "                          (a PCI function) or vduse:NAME (vDPA)\n"
    "  --socket-path PATH      listen on this socket; given several times, a\n"
    "                          device on each\n"
    "  --socket-group GROUP    the sockets' group, which may then connect\n"
    "  --fd N                  serve on this socket, listening or connected\n"
    "  --tag TAG               the device's name, at most 36 bytes; without\n"
    "                          it the front-end gives one. One for all\n"
    "                          sockets, or one for each in their order\n"
    "  --queues N              request queues of each device (default 1)\n"
    "  --queue-size N          entries of a queue, a power of two, where the\n"
    "                          device decides (default 1024)\n"
    "  --packed                offer packed virtqueues\n"
    "  --in-order              offer to answer in the order of the requests;\n"
    "                          nobody can wait for a lock then (ENOLCK)\n"
    "  --ring-reset            offer to reset a single queue\n"
    "  --thread-pool-size N    threads that share a device's queues (default\n"
    "                          0: each queue's own thread does its work)\n"
    "  --cache MODE            auto, always, never or metadata (auto)\n"
    "  --allow-direct-io       honour O_DIRECT\n"
    "  --xattr                 serve extended attributes\n"
    "  --posix-acl             serve POSIX ACLs; implies --xattr\n"
    "  --readonly              refuse all changes\n"
    "  --[no-]announce-submounts\n"
    "                          show mount points as such (default yes)\n"
    "  --no-readdirplus        do not list and look up in one request\n"
    "  --[no-]killpriv-v2      clear set-user-id bits here (default yes)\n"
    "  --preserve-noatime      honour O_NOATIME\n"
    "  --check-permissions     judge requests by their user here: for\n"
    "                          clients that do not judge, as Linux does\n"
    "  --inode-file-handles MODE\n"
    "                          never, prefer or mandatory (prefer)\n"
    "  --rlimit-nofile N       open files; 0: leave the limit as it is\n"
    "                          (default: 1000000, or what the system allows)\n"
    "  --sandbox MODE          namespace, chroot or none (namespace)\n"
    "  --log-level LEVEL       error, warn, info, debug, trace or off (info)\n"
    "  --syslog                log to syslog, not to stderr\n"
    "  --stats                 print statistics at the end; SIGUSR1 prints\n"
    "                          them at any time\n"
    "  --print-capabilities    print what the program can do, as JSON\n"
    "  --help                  print this help\n"
    "  --version               print the version\n";

static const char capabilities_text[] = "{\n"
					"  \"type\": \"fs\",\n"
					"  \"features\": [\n"
					"    \"separate-options\"\n"
					"  ]\n"
					"}\n";

struct choice {
	const char *name;
	int value;
};

static const struct choice cache_modes[] = {
    {"auto", CACHE_AUTO},
    {"always", CACHE_ALWAYS},
    {"never", CACHE_NEVER},
    {"metadata", CACHE_METADATA},
    {NULL, 0},
};

static const struct choice sandbox_modes[] = {
    {"namespace", SANDBOX_NAMESPACE},
    {"chroot", SANDBOX_CHROOT},
    {"none", SANDBOX_NONE},
    {NULL, 0},
};

static const struct choice handles_modes[] = {
    {"never", HANDLES_NEVER},
    {"prefer", HANDLES_PREFER},
    {"mandatory", HANDLES_MANDATORY},
    {NULL, 0},
};

static const struct choice log_levels[] = {
    {"error", LOG_ERR},
    {"warn", LOG_WARNING},
    {"info", LOG_INFO},
    {"debug", LOG_DEBUG},
    {"trace", LOG_DEBUG},
    {"off", LOG_OFF},
    {NULL, 0},
};

static int parse_choice(const char *option, const char *arg,
			const struct choice *choices, int *ret)
{
	for (const struct choice *c = choices; c->name; c++) {
		if (strcmp(c->name, arg) == 0) {
			*ret = c->value;
			return 0;
		}
	}
	log_err("--%s: no such choice: %s", option, arg);
	return -EINVAL;
}

static int parse_number(const char *option, const char *arg, uint64_t max,
			uint64_t *ret)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || v > max) {
		log_err("--%s: not a number from 0 to %llu: %s", option,
			(unsigned long long)max, arg);
		return -EINVAL;
	}
	*ret = v;
	return 0;
}

static int set_number(const char *option, const char *arg, unsigned max,
		      unsigned *ret)
{
	uint64_t v;
	int r = parse_number(option, arg, max, &v);

	if (r == 0)
		*ret = (unsigned)v;
	return r;
}

static int set_tag(struct options *o, const char *arg)
{
	size_t len = strlen(arg);

	if (len == 0 || len > VIRTIOFS_TAG_MAX) {
		log_err("--tag: must have 1 to %u bytes, has %zu: %s",
			VIRTIOFS_TAG_MAX, len, arg);
		return -EINVAL;
	}
	if (o->tag_cnt == SOCKETS_MAX) {
		log_err("--tag: more than %u", SOCKETS_MAX);
		return -EINVAL;
	}
	o->sockets[o->tag_cnt++].tag = arg;
	return 0;
}

/* path NULL: fd. */
static int add_socket(struct options *o, const char *path, int fd)
{
	struct socket_opts *s = &o->sockets[o->socket_cnt];

	if (o->socket_cnt == SOCKETS_MAX) {
		log_err("more than %u sockets", SOCKETS_MAX);
		return -EINVAL;
	}
	if (o->socket_cnt && !path != !o->sockets[0].path) {
		log_err(
		    "--fd and --socket-path or --listen exclude each other");
		return -EINVAL;
	}
	for (unsigned i = 0; i < o->socket_cnt; i++) {
		if (!path && o->sockets[i].fd == fd) {
			log_err("--fd: %d is given twice", fd);
			return -EINVAL;
		}
	}
	s->path = path;
	s->fd = fd;
	o->socket_cnt++;
	return 0;
}

static int set_queue_size(struct options *o, const char *arg)
{
	unsigned v = 0;
	int r = set_number("queue-size", arg, QUEUE_SIZE_MAX, &v);

	if (r < 0)
		return r;
	if (v == 0 || (v & (v - 1))) {
		log_err("--queue-size: not a power of two: %s", arg);
		return -EINVAL;
	}
	o->queue_size = v;
	return 0;
}

static int set_queues(struct options *o, const char *arg)
{
	int r = set_number("queues", arg, QUEUES_MAX, &o->queues);

	if (r == 0 && o->queues == 0) {
		log_err("--queues: there must be at least one");
		r = -EINVAL;
	}
	return r;
}

static int set_listen(struct options *o, const char *uri)
{
	bool is_vduse = !strncmp(uri, "vduse:", 6);
	bool is_vfio = !strncmp(uri, "vfio-user:", 10);
	struct socket_opts *s = &o->sockets[o->socket_cnt];
	int r;

	if (!is_vduse && !is_vfio && strncmp(uri, "vhost-user:", 11)) {
		log_err("--listen: can't be a device at %s", uri);
		return -EINVAL;
	}
	r = add_socket(o, is_vduse ? uri : strchr(uri, ':') + 1, -1);
	if (r < 0)
		return r;
	s->vduse = is_vduse;
	s->vfio_user = is_vfio;
	return 0;
}

static int set_fd(struct options *o, const char *arg)
{
	uint64_t v;
	int r = parse_number("fd", arg, INT32_MAX, &v);

	return r < 0 ? r : add_socket(o, NULL, (int)v);
}

/* Options that only switch something. False: it has an argument. */
static bool set_flag(struct options *o, int opt)
{
	switch (opt) {
	case OPT_DIRECT_IO:
		return o->allow_direct_io = true;
	case OPT_XATTR:
		return o->xattr = true;
	case OPT_POSIX_ACL:
		return o->posix_acl = o->xattr = true;
	case OPT_READONLY:
		return o->readonly = true;
	case OPT_SUBMOUNTS:
	case OPT_NO_SUBMOUNTS:
		o->announce_submounts = opt == OPT_SUBMOUNTS;
		return true;
	case OPT_NO_READDIRPLUS:
		o->readdirplus = false;
		return true;
	case OPT_KILLPRIV:
	case OPT_NO_KILLPRIV:
		o->killpriv_v2 = opt == OPT_KILLPRIV;
		return true;
	case OPT_NOATIME:
		return o->preserve_noatime = true;
	case OPT_CHECK:
		return o->check_permissions = true;
	case OPT_SYSLOG:
		return o->syslog = true;
	case OPT_PACKED:
		return o->packed = true;
	case OPT_IN_ORDER:
		return o->in_order = true;
	case OPT_RING_RESET:
		return o->ring_reset = true;
	case OPT_STATS:
		return o->stats = true;
	default:
		return false;
	}
}

static int set_choice(struct options *o, int opt, const char *arg)
{
	int v = 0;
	int r;

	switch (opt) {
	case OPT_CACHE:
		r = parse_choice("cache", arg, cache_modes, &v);
		o->cache = (enum cache_mode)v;
		return r;
	case OPT_SANDBOX:
		r = parse_choice("sandbox", arg, sandbox_modes, &v);
		o->sandbox = (enum sandbox_mode)v;
		return r;
	case OPT_HANDLES:
		r = parse_choice("inode-file-handles", arg, handles_modes, &v);
		o->handles = (enum handles_mode)v;
		return r;
	default:
		return parse_choice("log-level", arg, log_levels,
				    &o->log_level);
	}
}

static int set_value(struct options *o, int opt, const char *arg)
{
	switch (opt) {
	case OPT_SOCKET_PATH:
		return add_socket(o, arg, -1);
	case OPT_SOCKET_GROUP:
		o->socket_group = arg;
		return 0;
	case OPT_SHARED_DIR:
		o->shared_dir = arg;
		return 0;
	case OPT_LISTEN:
		return set_listen(o, arg);
	case OPT_FD:
		return set_fd(o, arg);
	case OPT_TAG:
		return set_tag(o, arg);
	case OPT_POOL:
		return set_number("thread-pool-size", arg, POOL_MAX,
				  &o->thread_pool_size);
	case OPT_RLIMIT:
		return parse_number("rlimit-nofile", arg, INT64_MAX,
				    &o->rlimit_nofile);
	case OPT_QUEUES:
		return set_queues(o, arg);
	case OPT_QUEUE_SIZE:
		return set_queue_size(o, arg);
	default:
		return set_choice(o, opt, arg);
	}
}

static int print_and_done(int opt)
{
	if (opt == 'h')
		fputs(help_text, stdout);
	else if (opt == 'V')
		printf("virtiofs-server %s\n", virtiofs_version());
	else
		fputs(capabilities_text, stdout);
	return 1;
}

/* One for all, or each its own. */
static int share_tag(struct options *o)
{
	if (o->tag_cnt > 1 && o->tag_cnt != o->socket_cnt) {
		log_err("--tag: %u of them for %u sockets", o->tag_cnt,
			o->socket_cnt);
		return -EINVAL;
	}
	for (unsigned i = o->tag_cnt; i < o->socket_cnt; i++)
		o->sockets[i].tag = o->sockets[0].tag;
	return 0;
}

static int check(struct options *o)
{
	if (!o->shared_dir) {
		log_err("no directory to serve: --shared-dir is missing");
		return -EINVAL;
	}
	if (!o->socket_cnt) {
		log_err(
		    "no socket: --listen, --socket-path or --fd is missing");
		return -EINVAL;
	}
	if (o->socket_group && !o->sockets[0].path) {
		log_err("--socket-group needs --socket-path");
		return -EINVAL;
	}
	return share_tag(o);
}

static const struct options defaults = {
    .rlimit_nofile = RLIMIT_DEFAULT,
    .queues = 1,
    .queue_size = 1024,
    .log_level = LOG_INFO,
    .cache = CACHE_AUTO,
    .sandbox = SANDBOX_NAMESPACE,
    .handles = HANDLES_PREFER,
    .announce_submounts = true,
    .readdirplus = true,
    .killpriv_v2 = true,
};

int options_parse(struct options *o, int argc, char **argv)
{
	int opt, r;

	*o = defaults;
	optind = 0;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":hV", long_options, NULL)) !=
	       -1) {
		if (opt == '?' || opt == ':') {
			log_err(opt == '?' ? "unknown option: %s"
					   : "option needs a value: %s",
				argv[optind - 1]);
			return -EINVAL;
		}
		if (opt == 'h' || opt == 'V' || opt == OPT_CAPABILITIES)
			return print_and_done(opt);
		if (set_flag(o, opt))
			continue;
		r = set_value(o, opt, optarg);
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		log_err("not an option: %s", argv[optind]);
		return -EINVAL;
	}
	return check(o);
}
