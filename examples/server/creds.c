/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "creds.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caps.h"
#include "log.h"

/* More groups than any client sends: Linux sends one. */
#define GROUPS_MAX 64u

static uid_t own_uid;
static gid_t own_gid;

void creds_init(void)
{
	own_uid = geteuid();
	own_gid = getegid();
}

/* The supplementary groups among the extensions of a request. */
static int find_groups(const struct virtiofs_req *req, gid_t *groups)
{
	const char *p = req->ext;
	size_t left = p ? req->in->total_extlen * (size_t)8 : 0;
	struct fuse_ext_header h;
	struct fuse_supp_groups g;

	while (left >= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		if (h.size < sizeof(h) || h.size % 8 || h.size > left)
			return -EINVAL;
		if (h.type == FUSE_EXT_GROUPS) {
			if (h.size < sizeof(h) + sizeof(g))
				return -EINVAL;
			memcpy(&g, p + sizeof(h), sizeof(g));
			if (g.nr_groups > GROUPS_MAX ||
			    g.nr_groups * sizeof(gid_t) >
				h.size - sizeof(h) - sizeof(g))
				return -EINVAL;
			memcpy(groups, p + sizeof(h) + sizeof(g),
			       g.nr_groups * sizeof(gid_t));
			return (int)g.nr_groups;
		}
		p += h.size;
		left -= h.size;
	}
	return left ? -EINVAL : 0;
}

static int set_groups(const gid_t *groups, int cnt)
{
	return syscall(SYS_setgroups, cnt, groups) < 0 ? -errno : 0;
}

static int set_gid(gid_t gid)
{
	return syscall(SYS_setresgid, -1, gid, -1) < 0 ? -errno : 0;
}

static int set_uid(uid_t uid)
{
	return syscall(SYS_setresuid, -1, uid, -1) < 0 ? -errno : 0;
}

/* The group first: without root's uid it can't be changed. */
static int change(const struct virtiofs_req *req, struct creds *c,
		  const gid_t *groups, int group_cnt)
{
	uid_t uid = req->in->uid;
	gid_t gid = req->in->gid;
	int r = 0;

	if (group_cnt) {
		r = set_groups(groups, group_cnt);
		c->groups = r == 0;
	}
	/* Root stays what we are: a server without privileges serves a guest
	 * whose root then owns what the server owns. */
	if (r == 0 && gid != 0 && gid != own_gid) {
		r = set_gid(gid);
		c->gid = r == 0;
	}
	if (r == 0 && uid != 0 && uid != own_uid) {
		r = set_uid(uid);
		c->uid = r == 0;
	}
	return r;
}

/* Leaving root's uid took all capabilities away already. A client that can't
 * name the groups that matter has judged by them itself: so believe it. */
static int lower_caps(const struct fs *fs, unsigned flags)
{
	if (!fs_agreed(fs, FS_SUPP_GROUP) && !(flags & CREDS_STRICT))
		return caps_only(CAP_DAC_OVERRIDE);
	return own_uid ? caps_none() : 0;
}

int creds_enter(struct fs *fs, const struct virtiofs_req *req, mode_t mask,
		unsigned flags, struct creds *ret)
{
	gid_t groups[GROUPS_MAX];
	int cnt = 0, r;

	memset(ret, 0, sizeof(*ret));
	if (fs_agreed(fs, FS_SUPP_GROUP)) {
		cnt = find_groups(req, groups);
		if (cnt < 0)
			return cnt;
	}
	r = change(req, ret, groups, cnt);
	if (r == 0 && ret->uid)
		r = lower_caps(fs, flags);
	if (r < 0) {
		creds_leave(ret);
		return r;
	}
	if (fs_agreed(fs, FS_ACL)) {
		umask(mask & 0777);
		ret->umask = true;
	}
	return 0;
}

/* The real and saved ids are still ours, so this can't fail; to go on with a
 * guest's ids would be worse than to stop. */
static void must(int r, const char *what)
{
	if (r < 0) {
		log_err("can't restore %s: %s", what, strerror(-r));
		abort();
	}
}

void creds_leave(const struct creds *c)
{
	if (c->umask)
		umask(0);
	if (c->uid)
		must(set_uid(own_uid), "the user id");
	/* Coming back to root brought them back. */
	if (c->uid && own_uid)
		must(caps_all(), "capabilities");
	if (c->gid)
		must(set_gid(own_gid), "the group id");
	if (c->groups)
		must(set_groups(NULL, 0), "the groups");
}

bool killpriv_enter(const struct fs *fs, const struct virtiofs_req *req,
		    bool asked)
{
	bool kill = fs_agreed(fs, FS_KILLPRIV) ? asked : req->in->uid != 0;

	return kill && caps_have(CAP_FSETID) && caps_without(CAP_FSETID) == 0;
}

void killpriv_leave(bool entered)
{
	if (entered)
		must(caps_all(), "capabilities");
}
