/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "frame.h"

static const uint8_t often[] = {FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_INTERRUPT,
				FUSE_SETLKW, FUSE_READ,		FUSE_WRITE,
				FUSE_LOOKUP, FUSE_GETATTR};

const struct vtfs_fuse_op *frame_op(uint8_t code)
{
	const struct vtfs_fuse_op *op = vtfs_fuse_op(
	    code >= 0x80 ? often[code % 8] : code);

	return op && op->opcode != FUSE_INIT ? op : vtfs_fuse_op(FUSE_FORGET);
}

static size_t put_args(struct input *in, const struct vtfs_fuse_op *op,
		       uint64_t unique, unsigned char *p)
{
	static const struct vtfs_fuse_proto proto = {
	    .minor = FUSE_KERNEL_MINOR_VERSION, .flags = FUSE_SETXATTR_EXT};
	size_t len = vtfs_fuse_arg_len(op, &proto);

	for (size_t at = 0; at < len; at += 4) {
		uint32_t x = (uint32_t)in_number(in);

		memcpy(p + at, &x, len - at < 4 ? len - at : 4);
	}
	if (op->opcode == FUSE_INTERRUPT) {
		unique -= in_u8(in) % 16 * 2u;
		memcpy(p, &unique, sizeof(unique));
	}
	return len;
}

static size_t put_name(struct input *in, unsigned char *p)
{
	size_t len = in_u8(in) % 16;

	memset(p, 'n', len);
	p[len] = 0;
	return len + 1;
}

size_t frame_put(struct input *in, const struct vtfs_fuse_op *op,
		 uint64_t unique, unsigned char *p, size_t max)
{
	struct fuse_in_header head = {.opcode = op->opcode, .unique = unique};
	size_t at = sizeof(head);
	uint32_t bulk;

	must(max >= 256);
	head.nodeid = in_u8(in);
	at += put_args(in, op, unique, p + at);
	for (unsigned i = 0; i < op->names; i++)
		at += put_name(in, p + at);
	if (op->bulk_unit) {
		bulk = in_u8(in);
		if (bulk > (max - at) / op->bulk_unit)
			bulk = (uint32_t)((max - at) / op->bulk_unit);
		memcpy(p + sizeof(head) + op->bulk_off, &bulk, sizeof(bulk));
		in_bytes(in, p + at, (size_t)bulk * op->bulk_unit);
		at += (size_t)bulk * op->bulk_unit;
	}
	head.len = (uint32_t)at;
	memcpy(p, &head, sizeof(head));
	return at;
}

struct frame_init frame_init(uint64_t unique)
{
	return (struct frame_init){
	    .head = {.len = sizeof(struct frame_init),
		     .opcode = FUSE_INIT,
		     .unique = unique},
	    .init = {.major = FUSE_KERNEL_VERSION,
		     .minor = FUSE_KERNEL_MINOR_VERSION,
		     .flags = ~0u,
		     .flags2 = ~0u},
	};
}
