/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies that came too late: what they granted goes back to the server. */
#include <fcntl.h>
#include <string.h>

#include "base/bytes.h"
#include "session/client.h"

bool vtfs_cliq_has_late(const struct virtiofs_cliq *q, uint64_t nodeid)
{
	for (uint32_t i = 0; q->late && i < q->slot_cnt; i++) {
		const struct vtfs_cslot *s = &q->slots[i];

		if (s->state == VTFS_SLOT_POSTED &&
		    s->flags & VTFS_SLOT_EXPIRED && s->op.nodeid == nodeid)
			return true;
	}
	return false;
}

static void forget(struct virtiofs_cliq *q, uint64_t nodeid)
{
	if (nodeid)
		virtiofs_client_forget(q->c, nodeid, 1);
}

static bool is_dots(const char *name, uint32_t len)
{
	return (len == 1 && name[0] == '.') ||
	       (len == 2 && name[0] == '.' && name[1] == '.');
}

/* READDIRPLUS counts a lookup for each entry but "." and "..". */
static void forget_listed(struct virtiofs_cliq *q, const struct vtfs_cslot *s,
			  uint64_t n)
{
	struct fuse_entry_out entry;
	struct fuse_dirent d;
	char name[2];
	uint64_t off = 0, next;

	while (n - off >= sizeof(entry) + sizeof(d)) {
		vtfs_slot_peek(q, s, off, &entry, sizeof(entry));
		vtfs_slot_peek(q, s, off + sizeof(entry), &d, sizeof(d));
		next = VTFS_ALIGN_UP(
		    off + sizeof(entry) + sizeof(d) + d.namelen, 8ULL);
		if (!d.namelen || next > VTFS_ALIGN_UP(n, 8ULL))
			return;
		vtfs_slot_peek(q, s, off + sizeof(entry) + sizeof(d), name, 2);
		if (!is_dots(name, d.namelen))
			forget(q, entry.nodeid);
		if (next > n)
			return;
		off = next;
	}
}

/* What the owner held of the range before goes too: it is not known here. */
static void note_lock(struct vtfs_cslot *s)
{
	if (s->lock.lk.type == F_UNLCK)
		return;
	s->lock.lk.type = F_UNLCK;
	s->undo = FUSE_SETLK;
	s->undo_node = s->op.nodeid;
}

void vtfs_slot_note_grants(struct virtiofs_cliq *q, struct vtfs_cslot *s,
			   uint64_t n)
{
	struct fuse_entry_out entry = {0};
	struct fuse_open_out open;

	if (!s->kind || n < s->want.min)
		return;
	if (s->op.opcode == FUSE_READDIRPLUS)
		forget_listed(q, s, n);
	if (s->op.opcode == FUSE_SETLK || s->op.opcode == FUSE_SETLKW)
		note_lock(s);
	if (s->kind->flags & VTFS_FUSE_GRANTS_ENTRY)
		vtfs_slot_peek(q, s, 0, &entry, sizeof(entry));
	if (!(s->kind->flags & VTFS_FUSE_GRANTS_FH)) {
		forget(q, entry.nodeid);
		return;
	}
	vtfs_slot_peek(q, s, n - sizeof(open), &open, sizeof(open));
	s->undo = s->op.opcode == FUSE_OPENDIR ? FUSE_RELEASEDIR : FUSE_RELEASE;
	s->undo_fh = open.fh;
	s->undo_node = entry.nodeid ? entry.nodeid : s->op.nodeid;
	/* The node stays until its handle is gone. */
	s->undo_forget = entry.nodeid;
}

static void slot_undo(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	struct fuse_release_in release = {.fh = s->undo_fh};
	struct fuse_lk_in unlock = s->lock;
	bool lock = s->undo == FUSE_SETLK;

	memset(&s->op, 0, sizeof(s->op));
	s->op.size = sizeof(s->op);
	s->op.opcode = s->undo;
	s->op.nodeid = s->undo_node;
	s->op.arg = lock ? (void *)&unlock : &release;
	s->op.arg_len = lock ? sizeof(unlock) : sizeof(release);
	s->undo = 0;
	vtfs_cliq_stage(q, s);
}

void vtfs_slot_end(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	s->flags = 0;
	s->waiter = NULL;
	if (s->undo && !q->dead) {
		s->flags = VTFS_SLOT_NOBODY | VTFS_SLOT_OURS;
		slot_undo(q, s);
		return;
	}
	if (s->undo_forget && !q->dead)
		forget(q, s->undo_forget);
	s->undo = 0;
	s->undo_forget = 0;
	s->state = VTFS_SLOT_FREE;
	vtfs_slots_push(q, &q->free, s);
}
