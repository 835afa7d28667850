/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "talk.h"

#include "share.h"

static void know(uint64_t *list, unsigned *cnt, uint64_t x)
{
	list[(*cnt)++ % TALK_KNOWN] = x;
}

static uint64_t pick(struct input *in, const uint64_t *list, unsigned cnt)
{
	uint8_t i = in_u8(in);

	if (i >= 0xf8 || !cnt)
		return in_number(in);
	return list[i % (cnt < TALK_KNOWN ? cnt : TALK_KNOWN)];
}

static uint64_t pick_node(struct talk *t)
{
	return pick(t->in, t->nodes, t->node_cnt);
}

static uint64_t pick_fh(struct talk *t)
{
	return pick(t->in, t->fhs, t->fh_cnt);
}

/* Where arguments hold what the server has told: bytes into them. */
#define NOWHERE 0xff
static const struct known_at {
	uint8_t fh, fh2, node;
} known_at[] = {
    [FUSE_GETATTR] = {8, NOWHERE, NOWHERE},
    [FUSE_SETATTR] = {8, NOWHERE, NOWHERE},
    [FUSE_RENAME] = {NOWHERE, NOWHERE, 0},
    [FUSE_RENAME2] = {NOWHERE, NOWHERE, 0},
    [FUSE_LINK] = {NOWHERE, NOWHERE, 0},
    [FUSE_READ] = {0, NOWHERE, NOWHERE},
    [FUSE_WRITE] = {0, NOWHERE, NOWHERE},
    [FUSE_RELEASE] = {0, NOWHERE, NOWHERE},
    [FUSE_FSYNC] = {0, NOWHERE, NOWHERE},
    [FUSE_FLUSH] = {0, NOWHERE, NOWHERE},
    [FUSE_READDIR] = {0, NOWHERE, NOWHERE},
    [FUSE_READDIRPLUS] = {0, NOWHERE, NOWHERE},
    [FUSE_RELEASEDIR] = {0, NOWHERE, NOWHERE},
    [FUSE_FSYNCDIR] = {0, NOWHERE, NOWHERE},
    [FUSE_GETLK] = {0, NOWHERE, NOWHERE},
    [FUSE_SETLK] = {0, NOWHERE, NOWHERE},
    [FUSE_SETLKW] = {0, NOWHERE, NOWHERE},
    [FUSE_FALLOCATE] = {0, NOWHERE, NOWHERE},
    [FUSE_LSEEK] = {0, NOWHERE, NOWHERE},
    [FUSE_COPY_FILE_RANGE] = {0, 24, 16},
    [FUSE_COPY_FILE_RANGE_64] = {0, 24, 16},
    [FUSE_STATX] = {8, NOWHERE, NOWHERE},
};

static void put_word(unsigned char *p, size_t at, size_t len, uint64_t x)
{
	if (at + sizeof(x) <= len)
		memcpy(p + at, &x, sizeof(x));
}

static size_t put_args(struct talk *t, const struct vtfs_fuse_op *op,
		       unsigned char *p)
{
	static const struct vtfs_fuse_proto proto = {
	    .minor = FUSE_KERNEL_MINOR_VERSION, .flags = FUSE_SETXATTR_EXT};
	size_t len = vtfs_fuse_arg_len(op, &proto);
	const struct known_at *k = op->opcode < sizeof(known_at) /
						    sizeof(known_at[0])
				       ? &known_at[op->opcode]
				       : NULL;

	memset(p, 0, len);
	for (size_t at = 0; at < len; at += 4) {
		uint32_t x = (uint32_t)in_number(t->in);

		memcpy(p + at, &x, len - at < 4 ? len - at : 4);
	}
	if (op->opcode == FUSE_INTERRUPT)
		put_word(p, 0, len, pick(t->in, t->waits, t->wait_cnt));
	if (!k || !(k->fh | k->fh2 | k->node))
		return len;
	put_word(p, k->fh, len, pick_fh(t));
	put_word(p, k->fh2, len, pick_fh(t));
	put_word(p, k->node, len, pick_node(t));
	return len;
}

static size_t put_name(struct talk *t, unsigned char *p, bool xattr)
{
	static const char *const names[] = {
	    "file", "dir",	 "inner",      "link",
	    "out",  "up",	 "abs",	       "fifo",
	    "new",  "n2",	 "..",	       ".",
	    "",	    "dir/inner", "../outside", "../outside/secret"};
	static const char *const xattrs[] = {"user.a",
					     "user.b",
					     "security.capability",
					     "system.posix_acl_access",
					     "system.posix_acl_default",
					     "trusted.overlay.opaque",
					     "user.",
					     "nothing"};
	uint8_t which = in_u8(t->in);
	size_t len;

	if (which == 0xff) {
		len = in_u8(t->in) % 24;
		in_bytes(t->in, p, len);
		p[len] = 0;
	} else if (which == 0xfe) {
		memset(p, 'n', 260);
		p[250 + in_u8(t->in) % 10] = 0;
	} else {
		strcpy((char *)p,
		       xattr ? xattrs[which % 8] : names[which % 16]);
	}
	return strlen((char *)p) + 1;
}

/* Of whoever creates something, in 8 bytes each; not quite, now and then. */
static uint32_t put_groups(struct talk *t, unsigned char *p)
{
	struct {
		struct fuse_ext_header head;
		uint32_t cnt;
		uint32_t groups[3];
	} ext = {.head = {sizeof(ext), FUSE_EXT_GROUPS}, .cnt = 3};
	uint8_t lie = in_u8(t->in);

	if (lie & 1)
		ext.head.size = (uint32_t)in_number(t->in);
	if (lie & 2)
		ext.cnt = (uint32_t)in_number(t->in);
	if (lie & 4)
		ext.head.type = (uint32_t)in_number(t->in);
	ext.groups[0] = lie;
	memcpy(p, &ext, sizeof(ext));
	return sizeof(ext) / 8;
}

size_t talk_put(struct talk *t, const struct vtfs_fuse_op *op, unsigned char *p)
{
	struct fuse_in_header head = {
	    .opcode = op->opcode,
	    .unique = ++t->unique * 2,
	    .nodeid = pick_node(t),
	};
	bool xattr = op->names_kind == VTFS_FUSE_NAMES_XATTR;
	size_t at = sizeof(head);
	uint8_t who = in_u8(t->in);
	uint32_t bulk = 0;

	head.uid = head.gid = who & 1 ? 1000 : 0;
	if (who >= 0xf0)
		head.uid = in_u32(t->in);
	at += put_args(t, op, p + at);
	if (op->bulk_unit) {
		bulk = in_u8(t->in) * 2u / op->bulk_unit;
		memcpy(p + sizeof(head) + op->bulk_off, &bulk, sizeof(bulk));
		bulk *= op->bulk_unit;
	}
	for (unsigned i = 0; i < op->names; i++)
		at += put_name(t, p + at, xattr);
	in_bytes(t->in, p + at, bulk);
	at += bulk;
	if (op->flags & VTFS_FUSE_EXT && who & 2) {
		head.total_extlen = (uint16_t)put_groups(t, p + at);
		at += head.total_extlen * 8ul;
	}
	if (op->flags & VTFS_FUSE_WAITS)
		know(t->waits, &t->wait_cnt, head.unique);
	head.len = (uint32_t)at;
	memcpy(p, &head, sizeof(head));
	return at;
}

void talk_hear(struct talk *t, const struct vtfs_fuse_op *op,
	       const unsigned char *room, size_t len)
{
	struct fuse_out_header out;
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	memcpy(&out, room, sizeof(out));
	must(out.unique == t->unique * 2);
	must(out.error <= 0 && out.error > -512);
	must(out.len >= sizeof(out) && out.len <= len);
	must(!out.error || out.len == sizeof(out));
	must(!share_holds_secret(room, out.len));
	if (out.error)
		return;
	if (op->flags & VTFS_FUSE_GRANTS_ENTRY &&
	    out.len >= sizeof(out) + sizeof(entry)) {
		memcpy(&entry, room + sizeof(out), sizeof(entry));
		must(!share_outside(entry.attr.ino));
		know(t->nodes, &t->node_cnt, entry.nodeid);
	}
	if (op->flags & VTFS_FUSE_GRANTS_FH) {
		memcpy(&open, room + out.len - sizeof(open), sizeof(open));
		know(t->fhs, &t->fh_cnt, open.fh);
	}
}

void talk_node(struct talk *t, uint64_t nodeid)
{
	know(t->nodes, &t->node_cnt, nodeid);
}
