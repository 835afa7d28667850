/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chains.h"

#include "frame.h"
#include "wire/ring.h"

#define PARTS 6u

static uint64_t get_addr(struct input *in)
{
	uint8_t kind = in_u8(in);

	switch (kind % 8) {
	case 1:
		return GUEST_MORE + in_u16(in) % GUEST_PAGE;
	case 2:
		return GUEST_MORE - in_u8(in);
	case 3:
		return GUEST_HIGH + in_u16(in) % GUEST_PAGE;
	case 4:
		return in_number(in);
	case 5: /* a ring */
		return GUEST_MAIN + in_u16(in) % GUEST_BUFS;
	default:
		return GUEST_MAIN + GUEST_BUFS + (kind >> 3) * 0x300u;
	}
}

static void get_descs(struct input *in, struct guest_desc *d, unsigned cnt)
{
	unsigned readable = in_u8(in) % (PARTS + 1);

	for (unsigned i = 0; i < cnt; i++) {
		d[i].addr = get_addr(in);
		d[i].len = (uint32_t)in_number(in);
		d[i].flags = i < readable ? 0 : VTFS_DESC_F_WRITE;
		if (in_u8(in) >= 0xf0)
			d[i].flags ^= in_u16(in);
	}
}

void chains_any(struct fuzz *f, unsigned vq)
{
	struct guest_desc d[PARTS];
	unsigned cnt = 1 + in_u8(f->in) % PARTS;
	uint16_t id = in_u8(f->in);

	get_descs(f->in, d, cnt);
	guest_post(&f->g, vq, d, cnt, id);
}

static void put_frame(struct fuzz *f, uint64_t addr, uint32_t *ret_len)
{
	struct fuse_in_header head = {.nodeid = in_u8(f->in)};
	uint8_t lie = in_u8(f->in);
	uint8_t arg_len = in_u8(f->in);
	unsigned char *p = guest_ptr(&f->g, addr, sizeof(head) + arg_len);

	*ret_len = (uint32_t)sizeof(head) + arg_len;
	if (!p)
		return;
	head.len = *ret_len;
	head.opcode = in_u8(f->in) % 64;
	head.unique = ++f->unique * 2;
	if (lie & 1)
		head.len = (uint32_t)in_number(f->in);
	if (lie & 2)
		head.unique = in_number(f->in);
	if (lie & 4)
		head.opcode = (uint32_t)in_number(f->in);
	if (lie & 8)
		head.total_extlen = in_u8(f->in);
	if (lie & 16) { /* the other byte order */
		head.len = __builtin_bswap32(head.len);
		head.opcode = __builtin_bswap32(head.opcode);
	}
	memcpy(p, &head, sizeof(head));
	in_bytes(f->in, p + sizeof(head), arg_len);
}

void chains_frame(struct fuzz *f, unsigned vq)
{
	uint64_t addr = get_addr(f->in);
	uint8_t shape = in_u8(f->in);
	struct guest_desc d[PARTS], table;
	unsigned cnt = 0;
	uint32_t len, cut;

	put_frame(f, addr, &len);
	for (unsigned i = 0; i < shape % 4u && len; i++) {
		cut = in_u8(f->in) % len;
		d[cnt++] = (struct guest_desc){addr, cut, 0};
		addr += cut;
		len -= cut;
	}
	d[cnt++] = (struct guest_desc){addr, len, 0};
	for (unsigned i = 0; i < (shape >> 2) % 3u && cnt < PARTS; i++) {
		d[cnt].addr = get_addr(f->in);
		d[cnt].len = (uint32_t)in_number(f->in);
		d[cnt++].flags = VTFS_DESC_F_WRITE;
	}
	table.addr = GUEST_MAIN + GUEST_BUFS + 0x5000u + in_u8(f->in) * 16u;
	table.len = cnt * 16u;
	table.flags = VTFS_DESC_F_INDIRECT;
	if (shape & 64 && guest_table(&f->g, table.addr, d, cnt))
		guest_post(&f->g, vq, &table, 1, (uint16_t)(shape >> 4));
	else
		guest_post(&f->g, vq, d, cnt, (uint16_t)f->unique % GUEST_NUM);
}

/* Where the frames lie that are as they should be: a place for each of the
 * last ones. */
#define CELLS	 16u
#define CELL_AT	 (GUEST_MAIN + 0x4000u)
#define CELL_LEN 0x400u
#define ROOM_AT	 0x300u

static void post_pair(struct fuzz *f, unsigned vq, uint32_t len,
		      uint32_t room_len)
{
	uint64_t addr = CELL_AT + f->unique % CELLS * CELL_LEN;
	const struct guest_desc d[2] = {
	    {addr, len, 0},
	    {addr + ROOM_AT, room_len, VTFS_DESC_F_WRITE},
	};

	guest_post(&f->g, vq, d, room_len ? 2 : 1,
		   (uint16_t)f->unique % GUEST_NUM);
}

static unsigned char *next_cell(struct fuzz *f)
{
	return guest_ptr(&f->g, CELL_AT + ++f->unique % CELLS * CELL_LEN,
			 CELL_LEN);
}

void chains_init(struct fuzz *f)
{
	struct frame_init frame;
	unsigned char *p = next_cell(f);

	frame = frame_init(f->unique * 2);
	memcpy(p, &frame, sizeof(frame));
	post_pair(f, f->first, sizeof(frame), FRAME_INIT_ROOM);
}

void chains_buffer(struct fuzz *f)
{
	const struct guest_desc d = {
	    CELL_AT + ++f->unique % CELLS * CELL_LEN,
	    f->note_max < CELL_LEN ? f->note_max : CELL_LEN, VTFS_DESC_F_WRITE};

	guest_post(&f->g, 1, &d, 1, (uint16_t)f->unique % GUEST_NUM);
}

void chains_request(struct fuzz *f, unsigned vq)
{
	const struct vtfs_fuse_op *op = frame_op(in_u8(f->in));
	unsigned char *p = next_cell(f);
	size_t len = frame_put(f->in, op, f->unique * 2, p, ROOM_AT);

	post_pair(f, vq, (uint32_t)len,
		  op->answer == VTFS_FUSE_ANSWER_NONE ? 0 : CELL_LEN - ROOM_AT);
}

void chains_poke(struct fuzz *f)
{
	uint64_t addr = get_addr(f->in);
	uint8_t len = in_u8(f->in) % 64;
	unsigned char *p = guest_ptr(&f->g, addr, len);
	unsigned char buf[64];

	in_bytes(f->in, buf, len);
	if (p)
		memcpy(p, buf, len);
}
