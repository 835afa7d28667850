/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H
/* The command line. */
#include "command.h"

struct command {
	const char *name;
	const char *letters; /* options */
	int min, max;	     /* operands; max -1: any number */
	/* NULL: mount_run() */
	int (*run)(struct session *s, const struct args *args);
	const char *usage;
};

struct options {
	struct session_opts session;
	const struct command *command;
	struct args args;
};

/* 1: go on; 0: all is done (--help); -1: said what is wrong. */
int options_parse(int argc, char **argv, struct options *ret);

#endif
