/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "msg.h"

#define TIMEOUT_DEFAULT_S 30
#define QUEUE_SIZE_MAX	  32768u
#define QUEUES_MAX	  256u

/* clang-format off */
static const struct command commands[] = {
	{"info", "j", 0, 0, cmd_info, "info [--json]"},
	{"ls", "lRaAdnh", 0, -1, cmd_ls, "ls [-lRaAdnh] [PATH]..."},
	{"stat", "L", 1, -1, cmd_stat, "stat [-L] PATH..."},
	{"cat", "", 1, -1, cmd_cat, "cat PATH..."},
	{"get", "rR", 1, 2, cmd_get, "get [-r] REMOTE [LOCAL]"},
	{"put", "rR", 2, 2, cmd_put, "put [-r] LOCAL REMOTE"},
	{"mkdir", "p", 1, -1, cmd_mkdir, "mkdir [-p] PATH..."},
	{"rm", "rRf", 1, -1, cmd_rm, "rm [-rf] PATH..."},
	{"mv", "", 2, 2, cmd_mv, "mv SOURCE DEST"},
	{"ln", "s", 1, 2, cmd_ln, "ln [-s] TARGET [LINK]"},
	{"df", "hi", 0, 1, cmd_df, "df [-hi] [PATH]"},
	{"mount", "fo:", 1, 1, NULL, "mount DIR [-f] [-o OPTION[,OPTION]...]"},
};

/* Those have no URI. */
static const struct command alone[] = {
	{"bind", "", 1, 1, cmd_bind, "bind PCI-ADDRESS"},
	{"unbind", "", 1, 1, cmd_unbind, "unbind PCI-ADDRESS"},
};

enum { OPT_TAG = 256, OPT_QUEUES, OPT_QUEUE_SIZE, OPT_TIMEOUT, OPT_PACKED,
       OPT_IN_ORDER, OPT_NO_EVENT_IDX, OPT_NO_INDIRECT, OPT_POLL, OPT_STATS,
       OPT_HELP, OPT_VERSION };

static const struct option global_opts[] = {
	{"tag", required_argument, NULL, OPT_TAG},
	{"queues", required_argument, NULL, OPT_QUEUES},
	{"queue-size", required_argument, NULL, OPT_QUEUE_SIZE},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"packed", no_argument, NULL, OPT_PACKED},
	{"in-order", no_argument, NULL, OPT_IN_ORDER},
	{"no-event-idx", no_argument, NULL, OPT_NO_EVENT_IDX},
	{"no-indirect", no_argument, NULL, OPT_NO_INDIRECT},
	{"poll", no_argument, NULL, OPT_POLL},
	{"stats", no_argument, NULL, OPT_STATS},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

/* Where a command has the letter, it has the word too. */
static const struct option command_opts[] = {
	{"json", no_argument, NULL, 'j'},
	{"recursive", no_argument, NULL, 'r'},
	{"force", no_argument, NULL, 'f'},
	{"parents", no_argument, NULL, 'p'},
	{"symbolic", no_argument, NULL, 's'},
	{"all", no_argument, NULL, 'a'},
	{"almost-all", no_argument, NULL, 'A'},
	{"directory", no_argument, NULL, 'd'},
	{"numeric-uid-gid", no_argument, NULL, 'n'},
	{"human-readable", no_argument, NULL, 'h'},
	{"inodes", no_argument, NULL, 'i'},
	{"dereference", no_argument, NULL, 'L'},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};
/* clang-format on */

static const char help_text[] =
    "Read and change a virtio-fs file system without a guest.\n"
    "\n"
    "URI names the device: vhost-user:PATH or vfio-user:PATH for the socket\n"
    "of a daemon, vdpa:/dev/vhost-vdpa-N, or vfio:0000:BB:DD.F for a PCI\n"
    "function that vfio-pci has. PATHs, REMOTE, SOURCE and DEST are inside "
    "the\n"
    "share; they start at its root.\n"
    "\n"
    "Commands:\n"
    "  info    the device: tag, queues, features by name, sizes\n"
    "  ls      list directories (-l long, -R with all below, -a all names,\n"
    "          -d the directory itself, -n ids as numbers, -h short sizes)\n"
    "  stat    attributes (-L: of what a link leads to)\n"
    "  cat     files to the standard output\n"
    "  get     copy from the share (-r: trees, with modes and times, and\n"
    "          with owners if you are root; LOCAL is . by default)\n"
    "  put     copy to the share, likewise\n"
    "  mkdir   make directories (-p: with those above, if missing)\n"
    "  rm      remove (-r: directories with all in them, -f: what is missing\n"
    "          is no failure)\n"
    "  mv      rename, or move into a directory\n"
    "  ln      link (-s: by name)\n"
    "  df      space (-h short sizes, -i inodes)\n"
    "  mount   at a directory of this host, until it is unmounted (-f: stay\n"
    "          in the foreground, -o: options as of mount)\n"
    "  bind    give a PCI function to vfio-pci, for vfio:; as root\n"
    "  unbind  give it back to its own driver\n"
    "\n"
    "get and put do as cp: onto a name that does not exist the copy becomes\n"
    "that name, onto a directory it goes inside. A file appears when it is\n"
    "complete. Links of a tree are copied as links; each name of a file with\n"
    "several becomes a file of its own.\n"
    "\n"
    "Options:\n"
    "  --tag TAG          the tag, for daemons that do not tell it\n"
    "  --queues N         request queues to use (1)\n"
    "  --queue-size N     descriptors in each (128)\n"
    "  --timeout SECONDS  give up after so long without an answer (30);\n"
    "                     0: wait for ever\n"
    "  --packed           accept packed rings\n"
    "  --in-order         accept answers in the order of the requests only\n"
    "  --no-event-idx     do without event indices\n"
    "  --no-indirect      do without indirect descriptors\n"
    "  --poll             look for replies: the device need not interrupt\n"
    "  --stats            say at the end how many requests went by each queue\n"
    "                     and how long they took\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 if all went well, 1 if anything did not.\n";

static int try_help(void)
{
	fprintf(stderr, "Try '" PROGRAM " --help' for more information.\n");
	return -1;
}

static int print_help(void)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		printf("%s " PROGRAM " [OPTION]... URI %s\n",
		       i ? "  or: " : "Usage:", commands[i].usage);
	for (i = 0; i < sizeof(alone) / sizeof(alone[0]); i++)
		printf("  or:  " PROGRAM " %s\n", alone[i].usage);
	fputs(help_text, stdout);
	return 0;
}

static int print_version(void)
{
	printf(PROGRAM " (libvirtiofs) %s\n", virtiofs_version());
	return 0;
}

static int parse_number(const char *text, const char *what, uint32_t min,
			uint32_t max)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || v < min ||
	    v > max) {
		msg_error(0, "invalid %s %s: not in %u to %u", what,
			  quote(text), min, max);
		return -1;
	}
	return (int)v;
}

static int parse_timeout(const char *text, uint32_t *ret_ms)
{
	double v;
	char *end;

	v = strtod(text, &end);
	if (end == text || *end || !(v >= 0 && v <= 1e6)) {
		msg_error(0, "invalid timeout %s: not in 0 to 1000000 seconds",
			  quote(text));
		return -1;
	}
	*ret_ms = (uint32_t)(v * 1000);
	if (v > 0 && !*ret_ms)
		*ret_ms = 1;
	return 0;
}

static int parse_tag(const char *text, struct virtiofs_client_opts *opts)
{
	if (!*text || strlen(text) > VIRTIOFS_TAG_MAX) {
		msg_error(0, "invalid tag %s: not 1 to %u bytes", quote(text),
			  VIRTIOFS_TAG_MAX);
		return -1;
	}
	opts->tag = text;
	return 0;
}

static int parse_option(int c, struct session_opts *session)
{
	struct virtiofs_client_opts *opts = &session->client;
	int v = 0;

	switch (c) {
	case OPT_TAG:
		return parse_tag(optarg, opts);
	case OPT_QUEUES:
		v = parse_number(optarg, "number of queues", 1, QUEUES_MAX);
		opts->num_request_queues = (uint32_t)v;
		return v;
	case OPT_QUEUE_SIZE:
		v = parse_number(optarg, "queue size", 1, QUEUE_SIZE_MAX);
		opts->queue_size = (uint32_t)v;
		return v;
	case OPT_TIMEOUT:
		session->timeout_given = true;
		return parse_timeout(optarg, &opts->timeout_ms);
	case OPT_PACKED:
		opts->features |= VIRTIOFS_F_RING_PACKED;
		return 0;
	case OPT_IN_ORDER:
		opts->features |= VIRTIOFS_F_IN_ORDER;
		return 0;
	case OPT_NO_EVENT_IDX:
		opts->features &= ~VIRTIOFS_F_EVENT_IDX;
		return 0;
	case OPT_NO_INDIRECT:
		opts->features &= ~VIRTIOFS_F_INDIRECT_DESC;
		return 0;
	case OPT_POLL:
		opts->flags |= VIRTIOFS_CLIENT_POLL;
		return 0;
	case OPT_STATS:
		opts->flags |= VIRTIOFS_CLIENT_LATENCY;
		return 0;
	default:
		return try_help();
	}
}

static int check_options(const struct virtiofs_client_opts *opts)
{
	bool packed = opts->features & VIRTIOFS_F_RING_PACKED;

	if (!packed && (opts->queue_size & (opts->queue_size - 1))) {
		msg_error(0, "invalid queue size '%u': not a power of two",
			  opts->queue_size);
		return -1;
	}
	return 1;
}

/* Options before the URI. */
static int parse_global(int argc, char **argv, struct session_opts *session)
{
	struct virtiofs_client_opts *opts = &session->client;
	int c;

	*opts = (struct virtiofs_client_opts){
	    .size = sizeof(*opts),
	    .timeout_ms = TIMEOUT_DEFAULT_S * 1000,
	    .features = VIRTIOFS_FEATURES_DEFAULT,
	};
	while ((c = getopt_long(argc, argv, "+", global_opts, NULL)) >= 0) {
		if (c == OPT_HELP)
			return print_help();
		if (c == OPT_VERSION)
			return print_version();
		if (parse_option(c, session) < 0)
			return -1;
	}
	return check_options(opts);
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static const struct command *find_alone(const char *name)
{
	size_t i;

	for (i = 0; name && i < sizeof(alone) / sizeof(alone[0]); i++)
		if (strcmp(alone[i].name, name) == 0)
			return &alone[i];
	return NULL;
}

static int check_operands(const struct command *cmd, const struct args *args)
{
	if (args->argc < cmd->min && !args->argc) {
		msg_error(0, "%s: missing operand", cmd->name);
		return try_help();
	}
	if (args->argc < cmd->min) {
		msg_error(0, "%s: missing operand after %s", cmd->name,
			  quote(args->argv[args->argc - 1]));
		return try_help();
	}
	if (cmd->max >= 0 && args->argc > cmd->max) {
		msg_error(0, "%s: extra operand %s", cmd->name,
			  quote(args->argv[cmd->max]));
		return try_help();
	}
	return 1;
}

static int add_mount_opts(struct args *args, const char *more)
{
	char *old = args->mount_opts;

	if (asprintf(&args->mount_opts, "%s%s%s", old ? old : "",
		     old ? "," : "", more) < 0) {
		msg_error(-ENOMEM, "mount");
		return -1;
	}
	free(old);
	return 0;
}

/* argv[0] is the command's name; options and operands in any order. */
static int parse_command(const struct command *cmd, int argc, char **argv,
			 struct args *args)
{
	static char name[32];
	int c;

	/* getopt puts it before its messages */
	snprintf(name, sizeof(name), PROGRAM ": %s", cmd->name);
	argv[0] = name;
	optind = 0;
	while ((c = getopt_long(argc, argv, cmd->letters, command_opts,
				NULL)) >= 0) {
		if (c == OPT_HELP)
			return print_help();
		if (c == '?')
			return try_help();
		if (!strchr(cmd->letters, c)) {
			msg_error(0, "%s: unrecognized option '%s'", cmd->name,
				  argv[optind - 1]);
			return try_help();
		}
		args->on[c] = true;
		if (c == 'o' && add_mount_opts(args, optarg) < 0)
			return -1;
	}
	args->on['r'] |= args->on['R'] && strcmp(cmd->name, "ls") != 0;
	args->argc = argc - optind;
	args->argv = argv + optind;
	return check_operands(cmd, args);
}

int options_parse(int argc, char **argv, struct options *ret)
{
	static char program[] = PROGRAM;
	int r;

	memset(ret, 0, sizeof(*ret));
	argv[0] = program;
	r = parse_global(argc, argv, &ret->session);
	if (r <= 0)
		return r;
	ret->command = find_alone(argv[optind]);
	if (ret->command)
		return parse_command(ret->command, argc - optind, argv + optind,
				     &ret->args);
	if (optind + 2 > argc) {
		msg_error(0,
			  optind == argc ? "missing URI" : "missing command");
		return try_help();
	}
	ret->session.uri = argv[optind];
	ret->command = find_command(argv[optind + 1]);
	if (!ret->command) {
		msg_error(0, "unknown command %s", quote(argv[optind + 1]));
		return try_help();
	}
	return parse_command(ret->command, argc - optind - 1, argv + optind + 1,
			     &ret->args);
}
