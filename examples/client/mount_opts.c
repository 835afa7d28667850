/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount_opts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"

/* What /etc/fstab says to mount(8) and others, not to us. */
static bool ignored(const char *opt)
{
	static const char *const names[] = {
	    "auto",  "noauto", "defaults", "user",    "nouser",
	    "users", "owner",  "group",	   "_netdev", "nofail",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(opt, names[i]) == 0)
			return true;
	return !strncmp(opt, "x-", 2) || !strncmp(opt, "comment=", 8);
}

/* One after the other, with commas between; a name cannot have any. */
static void put(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s%s", ftell(out) ? "," : "", name);
	for (; value && *value; value++)
		fputc(*value == ',' ? '_' : *value, out);
}

static void put_all(FILE *out, struct mount_opts *mo, char *given,
		    const char *uri)
{
	bool fsname = false, who = false;
	char *opt;

	while ((opt = strsep(&given, ","))) {
		if (!*opt || ignored(opt))
			continue;
		mo->default_permissions |= !strcmp(opt, "default_permissions");
		who |= mo->default_permissions || !strcmp(opt, "allow_other");
		fsname |= !strncmp(opt, "fsname=", 7);
		put(out, opt, NULL);
	}
	if (!fsname)
		put(out, "fsname=", uri);
	/* As a disk would be: for all, as modes and owners say. */
	if (!who && geteuid() == 0) {
		put(out, "allow_other,default_permissions", NULL);
		mo->default_permissions = true;
	}
}

int mount_opts_parse(struct mount_opts *mo, const char *given, const char *uri)
{
	char *copy = strdup(given ? given : "");
	size_t len;
	FILE *out = open_memstream(&mo->text, &len);

	if (copy && out)
		put_all(out, mo, copy, uri);
	free(copy);
	if (out && fclose(out) == 0 && copy)
		return 0;
	msg_error(-ENOMEM, "options");
	return -1;
}

void mount_opts_free(struct mount_opts *mo)
{
	free(mo->text);
	mo->text = NULL;
}
