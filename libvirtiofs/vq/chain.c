/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Here, and nowhere else, descriptors are judged. Each is loaded once, field by
 * field, into a private copy; only the copy is looked at. A walk goes through
 * the descriptors of one chain in order and ends at the first that breaks a
 * rule (ring fault, -EPROTO). An address that can't be reached is a chain
 * fault: the walk goes on, to see whether the rest keeps the rules, but no more
 * parts of that direction are taken, so that what was taken is a prefix.
 *
 * Behind an IOMMU an address may have no translation yet: a hole, not a fault.
 * The walk goes to its end, so that every descriptor was loaded once, and the
 * chain comes out with holes. Its addresses, in chain->at, are all that is
 * needed to go through it again (vtfs_chain_later()).
 *
 * A walk is bounded: a chain in the ring by the ring's size, one in an indirect
 * table by the table's, and no table may be longer than the longest ring.
 * (Drivers make indirect chains longer than their ring; that is harmless.)
 */
#include "vq/chain.h"

#include <endian.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "wire/ring.h"
#include "vq/impl.h"

/* Virtio 1.4, 2.7.5: no chain is longer than this. */
#define CHAIN_LEN_MAX (UINT64_C(1) << 32)

/* Parts kept free for a chain's writable side when its readable side is too
 * long: the reply that says so needs room for 16 bytes. */
#define REPLY_PARTS 4u

/* A private copy. next is the buffer id in the packed layout. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct walk {
	const struct vtfs_table *mem;
	struct vtfs_parts *parts;
	uint64_t len[2]; /* readable, writable bytes taken */
	uint64_t total;	 /* bytes that descriptors speak of */
	unsigned readable_cnt;
	unsigned dir;	/* 0 readable, 1 writable: where we are */
	bool full_stop; /* no more parts of this direction */
	int fault;
	uint64_t table_addr; /* an indirect table that can't be read yet */
	uint32_t table_len;
};

static inline void walk_begin(struct walk *w, struct vtfs_vq *vq,
			      const struct vtfs_table *mem)
{
	struct vtfs_dev_take *take = &vq->dev.take;
	struct vtfs_parts *parts = &take->parts;

	*w = (struct walk){.mem = mem, .parts = parts};
	parts->cnt = parts->seal = parts->holes = 0;
	memset(parts->regions, 0, sizeof(parts->regions));
	parts->access = VTFS_MAP_READ;
	if (!mem || take->hint >= mem->hints)
		take->hint = 0;
	parts->last = mem && mem->hints ? mem->regions[take->hint] : NULL;
}

static inline bool begins_in(const struct vtfs_parts *parts,
			     const struct vtfs_region *r)
{
	return (uintptr_t)parts->iov->iov_base - (uintptr_t)r->addr < r->len;
}

/* Remember where this chain began, as the next will probably begin there too:
 * by index, for the table may go. */
static __attribute__((cold)) void keep_hint(struct vtfs_dev_take *take,
					    const struct vtfs_table *mem)
{
	for (unsigned i = 0; i < mem->hints; i++)
		if (begins_in(&take->parts, mem->regions[i]))
			take->hint = i;
}

static __attribute__((cold)) void walk_end_mapped(const struct walk *w,
						  struct vtfs_chain *chain)
{
	chain->holes = w->parts->holes;
	chain->at = w->parts->at;
	chain->table_addr = w->table_addr;
	chain->table_len = w->table_len;
}

static inline void walk_end(struct walk *w, struct vtfs_vq *vq,
			    struct vtfs_chain *chain)
{
	struct vtfs_dev_take *take = &vq->dev.take;
	struct vtfs_parts *parts = &take->parts;

	if (!w->dir)
		w->readable_cnt = parts->cnt;
	chain->fault = w->fault;
	chain->readable_cnt = w->readable_cnt;
	chain->writable_cnt = parts->cnt - w->readable_cnt;
	chain->readable_len = w->len[0];
	chain->writable_len = w->len[1];
	chain->iov = parts->iov;
	chain->regions = parts->regions;
	chain->holes = 0;
	if (vtfs_unlikely(parts->at))
		walk_end_mapped(w, chain);
	if (parts->cnt && take->hint < w->mem->hints &&
	    !begins_in(parts, w->mem->regions[take->hint]))
		keep_hint(take, w->mem);
}

static uint64_t parts_len(const struct iovec *iov, unsigned cnt)
{
	uint64_t len = 0;

	for (unsigned i = 0; i < cnt; i++)
		len += iov[i].iov_len;
	return len;
}

/* The readable side took all parts there are: give some back. */
static __attribute__((cold)) void make_room(struct walk *w)
{
	struct vtfs_parts *parts = w->parts;
	unsigned keep = parts->max / 2;

	if (parts->max > 2 * REPLY_PARTS)
		keep = parts->max - REPLY_PARTS;
	if (parts->cnt <= keep)
		return;
	for (unsigned i = keep; i < parts->cnt; i++)
		parts->holes -= !parts->iov[i].iov_base;
	parts->cnt = keep;
	w->len[0] = parts_len(parts->iov, keep);
}

/* The first writable descriptor: what follows must be writable as well. */
static inline void turn_writable(struct walk *w)
{
	struct vtfs_parts *parts = w->parts;

	if (vtfs_unlikely(w->fault == -E2BIG))
		make_room(w);
	w->readable_cnt = parts->cnt;
	parts->seal = parts->cnt;
	parts->access = VTFS_MAP_WRITE;
	w->dir = 1;
	w->full_stop = false;
}

/* What a failed look-up left behind stays taken; count it. */
static __attribute__((cold)) void chain_fault(struct walk *w, int fault)
{
	unsigned first = w->dir ? w->readable_cnt : 0;

	if (!w->fault)
		w->fault = fault;
	w->full_stop = true;
	w->len[w->dir] = parts_len(w->parts->iov + first,
				   w->parts->cnt - first);
}

/* Take one descriptor that describes a buffer. */
static inline int walk_buf(struct walk *w, const struct desc *d)
{
	int r;

	if (d->flags & VTFS_DESC_F_WRITE) {
		if (!w->dir)
			turn_writable(w);
	} else if (vtfs_unlikely(w->dir)) {
		return vtfs_fail(-EPROTO,
				 "chain: readable buffer after a writable one");
	}
	w->total += d->len;
	if (vtfs_unlikely(w->full_stop))
		return 0;
	if (vtfs_unlikely(w->total > CHAIN_LEN_MAX)) {
		chain_fault(w, -E2BIG);
		return 0;
	}
	r = vtfs_table_append(w->mem, d->addr, d->len, w->parts);
	if (vtfs_unlikely(r < 0))
		chain_fault(w, r);
	else
		w->len[w->dir] += d->len;
	return 0;
}

static inline void load_split(struct desc *d, const struct vtfs_wire_desc *s)
{
	d->addr = le64toh(vtfs_load_once(&s->addr));
	d->len = le32toh(vtfs_load_once(&s->len));
	d->flags = le16toh(vtfs_load_once(&s->flags));
	d->next = le16toh(vtfs_load_once(&s->next));
}

/* All but the flags, which decide whether the rest may be looked at. */
static inline void load_packed(struct desc *d,
			       const struct vtfs_wire_packed_desc *s)
{
	d->addr = le64toh(vtfs_load_once(&s->addr));
	d->len = le32toh(vtfs_load_once(&s->len));
	d->next = le16toh(vtfs_load_once(&s->id));
}

/* The two halves of an entry of an indirect table, which lies wherever the
 * driver likes: nothing says that it is aligned. */
static inline void load_entry(struct desc *d, const unsigned char *s)
{
	struct vtfs_wire_desc copy;
	unsigned char *to = (unsigned char *)&copy;

	if (vtfs_likely(!((uintptr_t)s % _Alignof(struct vtfs_wire_desc)))) {
		load_split(d, (const void *)s);
		return;
	}
	for (unsigned i = 0; i < sizeof(copy); i++)
		to[i] = vtfs_load_once(&s[i]);
	load_split(d, &copy);
}

/* An indirect table. Behind an IOMMU it may have several pieces. */
struct table {
	const unsigned char *entries; /* NULL: mem has to be asked */
	uint64_t addr;
	const struct vtfs_table *mem;
};

static inline void load_nth(struct desc *d, const struct table *t, uint32_t i)
{
	size_t off = (size_t)i * VTFS_DESC_SIZE;
	struct vtfs_wire_desc copy;

	if (vtfs_likely(t->entries)) {
		load_entry(d, t->entries + off);
		return;
	}
	vtfs_table_copy(t->mem, t->addr + off, &copy, sizeof(copy));
	load_split(d, &copy);
}

/* All of it can be read, or the walk ends here and is gone on with later. */
static __attribute__((cold)) int find_mapped(struct walk *w,
					     const struct desc *d)
{
	uint64_t hole;

	if (w->mem &&
	    vtfs_table_covers(w->mem, d->addr, d->len, VTFS_MAP_READ, &hole))
		return 1;
	w->table_addr = d->addr;
	w->table_len = d->len;
	w->parts->holes++;
	return 0;
}

/* Find an indirect table: 1, or 0 after a chain fault. */
static int find_table(struct walk *w, const struct vtfs_vq *vq,
		      const struct desc *d, struct table *ret)
{
	if (!(vq->flags & VTFS_VQ_INDIRECT))
		return vtfs_fail(-EPROTO,
				 "chain: indirect, which was not negotiated");
	if (d->flags & VTFS_DESC_F_NEXT)
		return vtfs_fail(-EPROTO, "chain: goes on after indirect");
	if (!d->len || d->len % VTFS_DESC_SIZE ||
	    d->len / VTFS_DESC_SIZE > VTFS_VQ_NUM_MAX)
		return vtfs_fail(-EPROTO, "chain: indirect table of %u bytes",
				 d->len);
	*ret = (struct table){vtfs_table_ptr(w->mem, d->addr, d->len), d->addr,
			      w->mem};
	if (vtfs_likely(ret->entries))
		return 1;
	if (w->parts->at && !vtfs_range_wraps(d->addr, d->len))
		return find_mapped(w, d);
	chain_fault(w, -EFAULT);
	return 0;
}

/* Split: entries are linked by next, from entry 0. (2.7.5.3) */
static int walk_split_table(struct walk *w, const struct vtfs_vq *vq,
			    const struct desc *table)
{
	uint32_t cnt = table->len / VTFS_DESC_SIZE;
	struct table entries;
	uint32_t i = 0;
	struct desc d;
	int r;

	r = find_table(w, vq, table, &entries);
	if (r <= 0)
		return r;
	for (uint32_t n = 0; n < cnt; n++) {
		load_nth(&d, &entries, i);
		if (d.flags & VTFS_DESC_F_INDIRECT)
			return vtfs_fail(-EPROTO,
					 "chain: indirect inside indirect");
		r = walk_buf(w, &d);
		if (r < 0 || !(d.flags & VTFS_DESC_F_NEXT))
			return r;
		i = d.next;
		if (i >= cnt)
			return vtfs_fail(
			    -EPROTO, "chain: next %u in a table of %u", i, cnt);
	}
	return vtfs_fail(-EPROTO, "chain: loop in an indirect table");
}

/* Packed: all entries in order, and WRITE alone means something. (2.8.7) */
static int walk_packed_table(struct walk *w, const struct vtfs_vq *vq,
			     const struct desc *table)
{
	uint32_t cnt = table->len / VTFS_DESC_SIZE;
	struct table entries;
	struct desc d;
	int r;

	r = find_table(w, vq, table, &entries);
	if (r <= 0)
		return r;
	for (uint32_t n = 0; n < cnt; n++) {
		struct desc *e = &d;

		load_nth(e, &entries, n);
		/* id and flags change places between the layouts. */
		e->flags = e->next;
		r = walk_buf(w, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int walk_split(struct walk *w, const struct vtfs_vq *vq, uint32_t i)
{
	const struct vtfs_wire_desc *ring = vq->desc;
	struct desc d;
	int r;

	for (uint32_t n = 0; n < vq->num; n++) {
		load_split(&d, &ring[i]);
		if (d.flags & VTFS_DESC_F_INDIRECT)
			return walk_split_table(w, vq, &d);
		r = walk_buf(w, &d);
		if (r < 0 || !(d.flags & VTFS_DESC_F_NEXT))
			return r;
		i = d.next;
		if (vtfs_unlikely(i >= vq->num))
			return vtfs_fail(-EPROTO, "chain: next %u of %u", i,
					 vq->num);
	}
	return vtfs_fail(-EPROTO, "chain: loop");
}

int vtfs_chain_split(struct vtfs_vq *vq, const struct vtfs_table *mem,
		     uint16_t head, struct vtfs_chain *chain)
{
	struct walk w;
	int r;

	walk_begin(&w, vq, mem);
	r = walk_split(&w, vq, head);
	if (r < 0)
		return r;
	walk_end(&w, vq, chain);
	return 0;
}

/* A list takes slots one after the other; each must be available on its own
 * account, and the last one has the buffer id. (2.8.6) */
static int walk_packed(struct walk *w, const struct vtfs_vq *vq, uint16_t flags,
		       struct vtfs_chain *chain)
{
	const struct vtfs_wire_packed_desc *ring = vq->desc;
	uint32_t i = vq->dev.take.next;
	bool wrap = vq->dev.take.wrap;
	struct desc d;
	int r;

	for (uint32_t n = 1; n <= vq->num; n++) {
		load_packed(&d, &ring[i]);
		d.flags = flags;
		chain->id = d.next;
		chain->ring_cnt = (uint16_t)n;
		if (flags & VTFS_DESC_F_INDIRECT) {
			if (n == 1)
				return walk_packed_table(w, vq, &d);
			return vtfs_fail(-EPROTO, "chain: indirect in a list");
		}
		r = walk_buf(w, &d);
		if (r < 0 || !(flags & VTFS_DESC_F_NEXT))
			return r;
		if (++i == vq->num) {
			i = 0;
			wrap = !wrap;
		}
		/* The driver stored these before the head's flags, which were
		 * loaded with acquire. */
		flags = le16toh(vtfs_load_once(&ring[i].flags));
		if (!vtfs_packed_is_avail(flags, wrap))
			return vtfs_fail(-EPROTO,
					 "chain: ends in slot %u, "
					 "which is not available",
					 i);
	}
	return vtfs_fail(-EPROTO, "chain: longer than the ring");
}

int vtfs_chain_packed(struct vtfs_vq *vq, const struct vtfs_table *mem,
		      uint16_t head_flags, struct vtfs_chain *chain)
{
	struct walk w;
	int r;

	walk_begin(&w, vq, mem);
	r = walk_packed(&w, vq, head_flags, chain);
	if (r < 0)
		return r;
	walk_end(&w, vq, chain);
	return 0;
}

/* The descriptors that a chain had are in w; what may be left is a table. */
static int walk_later(struct walk *w, struct vtfs_vq *vq,
		      const struct vtfs_late_chain *late)
{
	struct desc d = {.flags = 0};
	int r = 0;

	for (unsigned i = 0; i < late->cnt && r >= 0; i++) {
		d.addr = late->ranges[i].addr;
		d.len = late->ranges[i].len;
		d.flags = i < late->readable_cnt ? 0 : VTFS_DESC_F_WRITE;
		r = walk_buf(w, &d);
	}
	if (r < 0 || !late->table_len)
		return r;
	d = (struct desc){.addr = late->table_addr,
			  .len = late->table_len,
			  .flags = VTFS_DESC_F_INDIRECT};
	return vtfs_vq_packed(vq) ? walk_packed_table(w, vq, &d)
				  : walk_split_table(w, vq, &d);
}

int vtfs_chain_later(struct vtfs_vq *vq, const struct vtfs_table *mem,
		     const struct vtfs_late_chain *late,
		     struct vtfs_chain *chain)
{
	struct walk w;
	int r;

	walk_begin(&w, vq, mem);
	w.fault = late->fault;
	r = walk_later(&w, vq, late);
	if (r < 0)
		return r;
	walk_end(&w, vq, chain);
	chain->id = late->id;
	chain->ring_cnt = late->ring_cnt;
	return 0;
}

static unsigned cut_at_hole(const struct iovec *iov, unsigned cnt)
{
	unsigned n = 0;

	while (n < cnt && iov[n].iov_base)
		n++;
	return n;
}

void vtfs_chain_cut(struct vtfs_chain *c, int fault)
{
	unsigned readable = cut_at_hole(c->iov, c->readable_cnt);
	struct iovec *from = c->iov + c->readable_cnt;
	unsigned writable = cut_at_hole(from, c->writable_cnt);

	memmove(c->iov + readable, from, writable * sizeof(*from));
	memmove(c->at + readable, c->at + c->readable_cnt,
		writable * sizeof(*c->at));
	c->readable_cnt = readable;
	c->writable_cnt = writable;
	c->readable_len = parts_len(c->iov, readable);
	c->writable_len = parts_len(c->iov + readable, writable);
	c->holes = 0;
	c->table_len = 0;
	c->fault = fault;
}
