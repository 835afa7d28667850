/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_COMMAND_H
#define CLIENT_COMMAND_H
/* The commands: each returns the exit status. */
#include <stdbool.h>

#include "session.h"

struct args {
	int argc; /* operands */
	char **argv;
	bool on[128];	  /* options, by letter */
	char *mount_opts; /* of all -o, or NULL */
};

int cmd_info(struct session *s, const struct args *args);
int cmd_ls(struct session *s, const struct args *args);
int cmd_stat(struct session *s, const struct args *args);
int cmd_cat(struct session *s, const struct args *args);
int cmd_get(struct session *s, const struct args *args);
int cmd_put(struct session *s, const struct args *args);
int cmd_mkdir(struct session *s, const struct args *args);
int cmd_rm(struct session *s, const struct args *args);
int cmd_mv(struct session *s, const struct args *args);
int cmd_ln(struct session *s, const struct args *args);
int cmd_df(struct session *s, const struct args *args);

#endif
