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
#define INVALID_ID UINT32_MAX

/* What becoming another user takes. */
#define CAPS_SWITCH (CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID))
/* With these nothing is out of reach. */
#define CAPS_REACH (CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH))

static uid_t own_uid;
static gid_t own_gid;

/* Who the thread is. Threads that lock_wait.c starts inherit it from the
 * operation, don't know that, and change nothing. */
static __thread struct {
	/* 0: the server's own. Root is that, too: a server without privileges
	 * serves a guest whose root then owns what the server owns. */
	uid_t uid;
	gid_t gid;
	unsigned group_cnt;
	gid_t groups[GROUPS_MAX];
	uint64_t lowered; /* capabilities, of those that we have */
	mode_t umask;
} now;

void creds_init(void)
{
	own_uid = geteuid();
	own_gid = getegid();
}

bool creds_can_switch(void)
{
	return caps_have(CAPS_SWITCH);
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

static int set_groups(const gid_t *groups, unsigned cnt)
{
	if (cnt == now.group_cnt &&
	    (cnt == 0 ||
	     memcmp(groups, now.groups, cnt * sizeof(*groups)) == 0))
		return 0;
	/* A user namespace may deny it: then nobody has any. */
	if (syscall(SYS_setgroups, cnt, groups) < 0)
		return cnt && errno == EPERM ? 0 : -errno;
	if (cnt)
		memcpy(now.groups, groups, cnt * sizeof(*groups));
	now.group_cnt = cnt;
	return 0;
}

static int set_gid(gid_t gid)
{
	if (gid == now.gid)
		return 0;
	if (syscall(SYS_setresgid, -1, gid ? gid : own_gid, -1) < 0)
		return -errno;
	now.gid = gid;
	return 0;
}

static int set_uid(uid_t uid)
{
	if (uid == now.uid)
		return 0;
	if (syscall(SYS_setresuid, -1, uid ? uid : own_uid, -1) < 0)
		return -errno;
	/* Leaving root lowered all, coming back raised them. */
	if (own_uid == 0 && (uid == 0 || now.uid == 0))
		now.lowered = uid ? UINT64_MAX : 0;
	now.uid = uid;
	return 0;
}

/* The group first: without root's uid it can't be changed. */
static int set_ids(uid_t uid, gid_t gid, const gid_t *groups, unsigned cnt)
{
	int r = set_groups(groups, cnt);

	if (r == 0)
		r = set_gid(gid);
	return r < 0 ? r : set_uid(uid);
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

static int become(uid_t uid, gid_t gid, const gid_t *groups, unsigned cnt)
{
	int r = -EPERM;

	if (uid == own_uid)
		uid = 0;
	if (gid == own_gid)
		gid = 0;
	if ((uid == 0 && gid == 0 && cnt == 0) ||
	    (creds_can_switch() && uid != INVALID_ID && gid != INVALID_ID))
		r = set_ids(uid, gid, groups, cnt);
	if (r < 0)
		must(set_ids(0, 0, NULL, 0), "the server's own user");
	return r < 0 ? -EPERM : 0;
}

static int lower(uint64_t caps)
{
	int r;

	if (!caps_have_any(caps ^ now.lowered))
		return 0;
	r = caps_lower(caps);
	if (r == 0)
		now.lowered = caps;
	return r;
}

/* What the one that the thread is now goes without. */
static uint64_t to_lower(const struct fs *fs, unsigned flags)
{
	uint64_t caps = 0;

	if (flags & CREDS_KILL_SET_ID)
		caps = CAP_BIT(CAP_FSETID);
	if (now.uid == 0)
		return caps;
	if (fs->opts.check_permissions || (flags & CREDS_CHECK))
		return ~CAPS_SWITCH;
	if (!(flags & CREDS_KEEP_SET_ID))
		caps |= CAP_BIT(CAP_FSETID);
	return caps | CAP_BIT(CAP_MKNOD);
}

int creds_change(const struct fs *fs, unsigned flags)
{
	return lower(to_lower(fs, flags));
}

int creds_take(const struct fs *fs, uint32_t uid, uint32_t gid, unsigned flags)
{
	int r = become(uid, gid, NULL, 0);

	if (r < 0 && fs->opts.check_permissions)
		return r;
	return creds_change(fs, flags);
}

int creds_ask(const struct fs *fs, const struct virtiofs_req *req,
	      unsigned flags)
{
	return creds_take(fs, req->in->uid, req->in->gid, flags);
}

int creds_make(const struct fs *fs, const struct virtiofs_req *req, mode_t mask)
{
	gid_t groups[GROUPS_MAX];
	int cnt = 0, r;

	if (fs_agreed(fs, FS_SUPP_GROUP)) {
		cnt = find_groups(req, groups);
		if (cnt < 0)
			return cnt;
	}
	/* Who can't become others keeps his own groups. */
	if (!creds_can_switch())
		cnt = 0;
	r = become(req->in->uid, req->in->gid, groups, (unsigned)cnt);
	if (r == 0)
		r = creds_change(fs, 0);
	mask = fs_agreed(fs, FS_ACL) ? mask & 0777 : 0;
	if (mask != now.umask)
		umask(mask);
	now.umask = mask;
	return r;
}

unsigned creds_set_id(const struct fs *fs, const struct virtiofs_req *req,
		      bool asked)
{
	bool kill = fs_agreed(fs, FS_KILLPRIV) ? asked : req->in->uid != 0;

	return kill ? CREDS_KILL_SET_ID : CREDS_KEEP_SET_ID;
}

uint64_t creds_lift(void)
{
	uint64_t before = now.lowered;

	if (caps_have_any(before & CAPS_REACH))
		must(lower(0), "capabilities");
	return before;
}

void creds_settle(uint64_t before)
{
	must(lower(before), "a user's rights");
}
