/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notes.h"

#include "base/bytes.h"

static const struct {
	uint8_t fixed, tail; /* bytes; where they say how many follow */
} note_shapes[] = {
    [FUSE_NOTIFY_POLL] = {sizeof(struct fuse_notify_poll_wakeup_out), 0},
    [FUSE_NOTIFY_INVAL_INODE] = {sizeof(struct fuse_notify_inval_inode_out), 0},
    [FUSE_NOTIFY_INVAL_ENTRY] = {sizeof(struct fuse_notify_inval_entry_out),
				 offsetof(struct fuse_notify_inval_entry_out,
					  namelen)},
    [FUSE_NOTIFY_STORE] = {sizeof(struct fuse_notify_store_out),
			   offsetof(struct fuse_notify_store_out, size)},
    [FUSE_NOTIFY_RETRIEVE] = {sizeof(struct fuse_notify_retrieve_out), 0},
    [FUSE_NOTIFY_DELETE] = {sizeof(struct fuse_notify_delete_out),
			    offsetof(struct fuse_notify_delete_out, namelen)},
    [FUSE_NOTIFY_PRUNE] = {sizeof(struct fuse_notify_prune_out),
			   offsetof(struct fuse_notify_prune_out, count)},
    [16] = {0, 0},
};

void notes_put(struct input *in, struct liar *l, const struct liar_req *req)
{
	struct {
		struct fuse_out_header head;
		unsigned char bytes[256 + 64];
	} out = {.head.error = 1 + in_u8(in) % 16};
	uint8_t lie = in_u8(in), more = in_u8(in);
	uint8_t fixed = note_shapes[out.head.error].fixed;
	uint8_t tail = note_shapes[out.head.error].tail;
	uint32_t said = more, used;

	if (lie < 0xa0) /* most are right */
		lie = 0;
	in_bytes(in, out.bytes, fixed);
	if (out.head.error == FUSE_NOTIFY_PRUNE)
		said = more / 8;
	if (!tail)
		more = 0;
	else
		memcpy(out.bytes + tail, &said, sizeof(said));
	memset(out.bytes + fixed, 'n', more);
	if (out.head.error == FUSE_NOTIFY_PRUNE)
		more = (uint8_t)(said * 8);
	else if (out.head.error != FUSE_NOTIFY_STORE && tail)
		more++; /* its NUL */
	used = out.head.len = (uint32_t)sizeof(out.head) + fixed + more;
	if (lie & 1)
		out.head.len = (uint32_t)in_number(in);
	if (lie & 2)
		out.head.unique = in_number(in);
	if (lie & 4)
		out.head.error = (int32_t)in_number(in);
	if (lie & 8)
		used = (uint32_t)in_number(in);
	if (lie & 16)
		in_bytes(in, out.bytes + fixed, in_u8(in));
	liar_write(req, &out, vtfs_min_size(used, sizeof(out)));
	liar_used(l, req, used);
}

static void read_all(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		(void)((const volatile uint8_t *)p)[i];
}

void notes_check(const struct virtiofs_notification *n, size_t max)
{
	const char *name = n->arg;
	size_t fixed;

	must(n->code && n->code <= INT32_MAX);
	must(sizeof(struct fuse_out_header) + n->arg_len + n->data_len <= max);
	read_all(n->arg, n->arg_len);
	read_all(n->data, n->data_len);
	if (n->code != FUSE_NOTIFY_DELETE && n->code != FUSE_NOTIFY_INVAL_ENTRY)
		return;
	fixed = note_shapes[n->code].fixed;
	must(fixed + strlen(name + fixed) + 1 == n->arg_len);
}
