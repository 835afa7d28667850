/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/fuse_notify.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

enum tail {
	TAIL_NONE,
	TAIL_NAME,  /* namelen bytes and a NUL */
	TAIL_BYTES, /* size of them */
	TAIL_NODES, /* count nodeids */
};

struct notify {
	const char *name;
	uint8_t fixed; /* bytes */
	uint8_t tail;
	uint8_t at; /* where the fixed part says how long the tail is */
};

#define TAIL(kind, type, field) TAIL_##kind, offsetof(struct type, field)

static const struct notify table[] = {
    [FUSE_NOTIFY_POLL] = {"POLL", sizeof(struct fuse_notify_poll_wakeup_out)},
    [FUSE_NOTIFY_INVAL_INODE] = {"INVAL_INODE",
				 sizeof(struct fuse_notify_inval_inode_out)},
    [FUSE_NOTIFY_INVAL_ENTRY] = {"INVAL_ENTRY",
				 sizeof(struct fuse_notify_inval_entry_out),
				 TAIL(NAME, fuse_notify_inval_entry_out,
				      namelen)},
    [FUSE_NOTIFY_STORE] = {"STORE", sizeof(struct fuse_notify_store_out),
			   TAIL(BYTES, fuse_notify_store_out, size)},
    [FUSE_NOTIFY_RETRIEVE] = {"RETRIEVE",
			      sizeof(struct fuse_notify_retrieve_out)},
    [FUSE_NOTIFY_DELETE] = {"DELETE", sizeof(struct fuse_notify_delete_out),
			    TAIL(NAME, fuse_notify_delete_out, namelen)},
    [FUSE_NOTIFY_RESEND] = {"RESEND", 0},
    [FUSE_NOTIFY_INC_EPOCH] = {"INC_EPOCH", 0},
    [FUSE_NOTIFY_PRUNE] = {"PRUNE", sizeof(struct fuse_notify_prune_out),
			   TAIL(NODES, fuse_notify_prune_out, count)},
};

static const struct notify *find(uint32_t code)
{
	if (code >= VTFS_ARRAY_LEN(table) || !table[code].name)
		return NULL;
	return &table[code];
}

const char *vtfs_notify_name(uint32_t code)
{
	const struct notify *n = find(code);

	return n ? n->name : "?";
}

int64_t vtfs_notify_head(const struct fuse_out_header *head, uint32_t len)
{
	if (len < sizeof(*head))
		return vtfs_fail(-EPROTO,
				 "notification of %u bytes has no header", len);
	if (head->len != len)
		return vtfs_fail(-EPROTO, "notification of %u bytes, %u used",
				 head->len, len);
	if (head->unique || head->error <= 0)
		return vtfs_fail(-EPROTO,
				 "unique %llu, code %d is no notification",
				 (unsigned long long)head->unique, head->error);
	return len;
}

static bool is_name(const char *name, uint32_t len)
{
	return len && len <= VTFS_NOTIFY_NAME_MAX && !name[len] &&
	       !memchr(name, 0, len) && !memchr(name, '/', len);
}

/* Bytes that follow the fixed part, if it is right about them. */
static int64_t tail_len(const struct notify *n, uint32_t said)
{
	switch (n->tail) {
	case TAIL_NAME:
		return (int64_t)said + 1;
	case TAIL_BYTES:
		return said;
	case TAIL_NODES:
		return (int64_t)said * (int64_t)sizeof(uint64_t);
	default:
		return 0;
	}
}

int vtfs_notify_check(uint32_t code, const void *arg, uint32_t len)
{
	const struct notify *n = find(code);
	const char *name;
	uint32_t said = 0;

	if (!n)
		return 0;
	name = (const char *)arg + n->fixed;
	if (len >= n->fixed && n->tail)
		memcpy(&said, (const char *)arg + n->at, sizeof(said));
	if (len < n->fixed || len - n->fixed != tail_len(n, said))
		return vtfs_fail(-EPROTO, "%s of %u bytes", n->name, len);
	if (n->tail != TAIL_NAME)
		return n->fixed;
	if (!is_name(name, said))
		return vtfs_fail(-EPROTO, "%s without a proper name", n->name);
	return (int)(n->fixed + said + 1);
}
