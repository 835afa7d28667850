/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stat, cat, df */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "format.h"
#include "get.h"
#include "msg.h"
#include "path.h"

static void print_title(struct session *s, const char *path,
			const struct node *node)
{
	char target[IO_TEXT_MAX], *shown = printable(path);

	printf("  File: %s", shown ? shown : path);
	free(shown);
	if (S_ISLNK(node->attr.mode) &&
	    call_readlink(s, node->id, target) >= 0) {
		shown = printable(target);
		printf(" -> %s", shown ? shown : target);
		free(shown);
	}
	putchar('\n');
}

static void print_stat(struct session *s, const char *path,
		       const struct node *node)
{
	const struct fuse_attr *a = &node->attr;
	char mode[MODE_TEXT_MAX], when[TIME_TEXT_MAX];

	print_title(s, path, node);
	printf("  Size: %-10" PRIu64 "\tBlocks: %-10" PRIu64
	       " IO Block: %-6u %s\n",
	       a->size, a->blocks, a->blksize,
	       S_ISREG(a->mode) && !a->size ? "regular empty file"
					    : type_name(a->mode));
	printf("Inode: %-11" PRIu64 " Links: %u", a->ino, a->nlink);
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
		printf("     Device type: %u,%u", rdev_major(a->rdev),
		       rdev_minor(a->rdev));
	printf("\nAccess: (%04o/%s)", a->mode & 07777,
	       mode_text(mode, a->mode));
	printf("  Uid: (%5u/%8s)", a->uid, user_name(a->uid));
	printf("   Gid: (%5u/%8s)\n", a->gid, group_name(a->gid));
	printf("Access: %s\n", time_full(when, a->atime, a->atimensec));
	printf("Modify: %s\n", time_full(when, a->mtime, a->mtimensec));
	printf("Change: %s\n", time_full(when, a->ctime, a->ctimensec));
}

int cmd_stat(struct session *s, const struct args *args)
{
	unsigned flags = args->on['L'] ? PATH_FOLLOW : 0;
	struct node node;
	int i, r, failed = 0;

	for (i = 0; i < args->argc; i++) {
		r = path_walk(s, args->argv[i], flags, &node);
		if (r < 0) {
			msg_error(r, "cannot stat %s", quote(args->argv[i]));
			failed = 1;
			continue;
		}
		print_stat(s, args->argv[i], &node);
		node_put(s, &node);
	}
	return failed;
}

static void cat(struct copy *cp, const char *path)
{
	struct node node;
	int r;

	r = path_walk(cp->s, path, PATH_FOLLOW, &node);
	if (r < 0) {
		copy_fail(cp, r, "cannot open", path);
		return;
	}
	if (S_ISDIR(node.attr.mode))
		copy_fail(cp, -EISDIR, "cannot read", path);
	else if (!S_ISREG(node.attr.mode))
		copy_fail(cp, -EINVAL, "cannot read special file", path);
	else
		stream_file(cp, &node, path, "standard output", STDOUT_FILENO);
	node_put(cp->s, &node);
}

int cmd_cat(struct session *s, const struct args *args)
{
	struct copy cp;
	int i;

	if (copy_begin(&cp, s, false) < 0)
		return 1;
	for (i = 0; i < args->argc && !io_dead(s->io); i++)
		cat(&cp, args->argv[i]);
	return copy_end(&cp);
}

static uint64_t percent(uint64_t used, uint64_t avail)
{
	double all = (double)used + (double)avail;
	double p = all > 0 ? 100.0 * (double)used / all : 0;

	/* rounded up, as df does */
	return (uint64_t)p + (p > (double)(uint64_t)p);
}

/* KiB, or text with -h */
static const char *amount(char *ret, const struct args *args, uint64_t blocks,
			  uint32_t unit)
{
	double bytes = (double)blocks * unit;

	if (args->on['h'])
		return human_size(ret, bytes < 9e18 ? (uint64_t)bytes
						    : UINT64_MAX / 2);
	snprintf(ret, HUMAN_MAX, "%.0f", bytes / 1024);
	return ret;
}

static void print_space(const char *name, const struct fuse_kstatfs *st,
			const struct args *args)
{
	uint32_t unit = st->frsize ? st->frsize : st->bsize;
	uint64_t used = st->blocks > st->bfree ? st->blocks - st->bfree : 0;
	char all[HUMAN_MAX], taken[HUMAN_MAX], left[HUMAN_MAX];

	printf("%-15s %12s %12s %12s Use%%\n", "Filesystem",
	       args->on['h'] ? "Size" : "1K-blocks", "Used", "Available");
	printf("%-15s %12s %12s %12s %3" PRIu64 "%%\n", name,
	       amount(all, args, st->blocks, unit),
	       amount(taken, args, used, unit),
	       amount(left, args, st->bavail, unit), percent(used, st->bavail));
}

static void print_inodes(const char *name, const struct fuse_kstatfs *st)
{
	uint64_t used = st->files > st->ffree ? st->files - st->ffree : 0;

	printf("%-15s %12s %12s %12s IUse%%\n", "Filesystem", "Inodes", "IUsed",
	       "IFree");
	printf("%-15s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %4" PRIu64
	       "%%\n",
	       name, st->files, used, st->ffree, percent(used, st->ffree));
}

int cmd_df(struct session *s, const struct args *args)
{
	const char *path = args->argc ? args->argv[0] : "/";
	char *tag = printable(*s->info.tag ? s->info.tag : "-");
	struct fuse_kstatfs st;
	struct node node;
	int r;

	r = path_walk(s, path, PATH_FOLLOW, &node);
	if (r >= 0) {
		r = call_statfs(s, node.id, &st);
		node_put(s, &node);
	}
	if (r < 0)
		msg_error(r, "cannot read file system information for %s",
			  quote(path));
	else if (args->on['i'])
		print_inodes(tag ? tag : "-", &st);
	else
		print_space(tag ? tag : "-", &st, args);
	free(tag);
	return r < 0;
}
