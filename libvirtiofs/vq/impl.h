/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VQ_IMPL_H
#define VTFS_VQ_IMPL_H
/*
 * What the halves of a ring keep to themselves. Included by vq/ only.
 *
 * Every index, flag and event value that this side writes has its private copy
 * here, and shared memory is never asked for it. Fields that different threads
 * may write lie on different cache lines.
 */
#include "vq/vq.h"

#include "base/bytes.h"
#include "wire/ring.h"

#define VTFS_CACHE_ALIGNED __attribute__((aligned(VTFS_CACHELINE)))
#define vtfs_likely(x)	   __builtin_expect(!!(x), 1)
#define vtfs_unlikely(x)   __builtin_expect(!!(x), 0)

/* Owner: the thread that pops, arms and disarms. */
struct vtfs_dev_take {
	uint16_t next; /* split: avail index; packed: slot */
	uint16_t seen; /* split: avail index as last loaded */
	uint16_t cnt;  /* chains popped, modulo 2^16 */
	bool wrap;     /* packed: wrap counter of next */
	bool broken;
	uint32_t notify;      /* split: used.flags or avail_event as stored;
			       * packed: the event word as stored */
	uint32_t entries;     /* packed: ring entries taken, modulo 2^32 */
	uint32_t entries_max; /* packed: entries may grow up to here */
	uint32_t redo;	      /* chains of the record's, to be popped first */
	uint16_t redo_at;     /* the head where to look for the next */
	uint32_t ordered;     /* IN_ORDER: chains noted, modulo 2^32 (atomic) */
	uint16_t order_at;    /* where the next is noted */
	unsigned hint;	      /* the region where a look-up starts */
	struct vtfs_parts parts;
};

/* Packed: the first used descriptor of a batch, before publish. */
struct vtfs_dev_first {
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

/* Owner: the thread that pushes and publishes. */
struct vtfs_dev_give {
	uint16_t next; /* split: used index; packed: slot */
	uint16_t from; /* as next, when the batch began */
	uint16_t cnt;  /* chains pushed, modulo 2^16 */
	bool wrap;     /* packed: wrap counter of next */
	bool from_wrap;
	bool resumed;		     /* the first batch always notifies */
	struct vtfs_dev_first first; /* packed: not in the ring yet */
	uint32_t staged;	     /* ring entries since from */
	uint32_t entries;	     /* packed: ring entries returned (atomic:
				      * pop reads it) */
	uint32_t ordered;	     /* IN_ORDER: chains whose turn came */
	uint16_t order_at;	     /* whose turn is next */
};

/* IN_ORDER: a chain pushed before its turn. Owner: who pushes. */
struct vtfs_dev_late {
	uint32_t len;
	bool pushed;
};

struct vtfs_vq_dev {
	struct vtfs_dev_take take VTFS_CACHE_ALIGNED;
	struct vtfs_dev_give give VTFS_CACHE_ALIGNED;
	/* By chain id: ring entries that it holds, 0 if it is not in flight.
	 * pop sets it, push clears it; atomic, because a driver can make id
	 * available again while push clears it. */
	uint16_t *held VTFS_CACHE_ALIGNED;
	struct vtfs_vq_record *record; /* NULL, or what held is a part of */
	/* IN_ORDER, else NULL: ids in the order of pop, which writes them; and
	 * by id what waits for its turn. */
	uint16_t *order;
	struct vtfs_dev_late *late;
	uint32_t max_parts;
};

/* One per split descriptor or packed buffer id. */
struct vtfs_drv_slot {
	uint64_t batch; /* in which the chain was added */
	uint32_t room;	/* writable bytes of the chain */
	uint16_t token;
	uint16_t cnt;  /* ring entries of the chain; 0: not in flight */
	uint16_t next; /* in the list of free ones */
	uint16_t last; /* of the chain: its last descriptor; packed: its id */
};

/* Packed: the head of a batch's first chain, before publish. */
struct vtfs_drv_first {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

/* Owner: the half's one thread. */
struct vtfs_vq_drv {
	uint16_t next;	    /* split: avail index; packed: slot */
	uint16_t from;	    /* as next, when the batch began */
	uint16_t used;	    /* split: used index; packed: slot */
	uint16_t seen;	    /* split: used index as last loaded */
	uint16_t free_head; /* list of free slots */
	uint16_t oldest;    /* IN_ORDER: head or id of the next to come back */
	uint16_t batch;	    /* IN_ORDER: chains of a used element, to be got */
	uint32_t batch_len; /* used length of its last */
	uint64_t published; /* batches; the one being added has this number */
	struct vtfs_drv_first first; /* packed: not in the ring yet */
	uint16_t avail_flags;	     /* packed: what makes next available */
	bool wrap, from_wrap, used_wrap;
	bool broken;
	uint32_t free_cnt; /* ring entries */
	uint32_t staged;   /* ring entries since from */
	uint32_t notify;   /* split: avail.flags or used_event as stored;
			    * packed: the event word as stored */
	uint32_t indirect_max;
	unsigned char *indirect;
	uint64_t indirect_peer_addr;
	struct vtfs_drv_slot *slots;
};

struct vtfs_vq {
	uint32_t flags;
	uint32_t num;
	void *desc;
	void *driver;
	void *device;
	union {
		struct vtfs_vq_dev dev;
		struct vtfs_vq_drv drv;
	};
};

static inline bool vtfs_vq_packed(const struct vtfs_vq *vq)
{
	return vq->flags & VTFS_VQ_PACKED;
}

static inline bool vtfs_vq_event(const struct vtfs_vq *vq)
{
	return vq->flags & VTFS_VQ_EVENT;
}

static inline bool vtfs_vq_in_order(const struct vtfs_vq *vq)
{
	return vq->flags & VTFS_VQ_IN_ORDER;
}

/* Packed: has the driver (the device) put something into this slot, in a round
 * with this wrap counter? (2.8.1) */
static inline bool vtfs_packed_is_avail(uint16_t flags, bool wrap)
{
	uint16_t bits = flags & (VTFS_PACKED_F_AVAIL | VTFS_PACKED_F_USED);

	return bits == (wrap ? VTFS_PACKED_F_AVAIL : VTFS_PACKED_F_USED);
}

static inline bool vtfs_packed_is_used(uint16_t flags, bool wrap)
{
	uint16_t both = VTFS_PACKED_F_AVAIL | VTFS_PACKED_F_USED;

	return (flags & both) == (wrap ? both : 0);
}

/* order.c. Device half: id was popped. */
void vtfs_order_note(struct vtfs_vq *vq, uint16_t id);
/* id was pushed. */
void vtfs_order_push(struct vtfs_vq *vq, uint16_t id, uint32_t len);
/* 1 and a chain whose turn has come; 0 none. */
int vtfs_order_turn(struct vtfs_vq *vq, uint16_t *ret_id, uint32_t *ret_len);
/* Driver half: id, which is in flight, was used, and all before it, at most max
 * chains. -EPROTO: more, or it is not among them. */
int vtfs_order_used(struct vtfs_vq *vq, uint16_t id, uint32_t len,
		    uint32_t max);
/* The next chain of those. */
uint16_t vtfs_order_next(struct vtfs_vq *vq, uint32_t *ret_len);

void vtfs_split_dev_start(struct vtfs_vq *vq, const struct vtfs_vq_conf *conf);
int vtfs_split_dev_pop(struct vtfs_vq *vq, const struct vtfs_table *mem,
		       struct vtfs_chain *chain);
void vtfs_split_dev_push(struct vtfs_vq *vq, uint16_t id, uint32_t len);
int vtfs_split_dev_publish(struct vtfs_vq *vq);
void vtfs_split_dev_disarm(struct vtfs_vq *vq);
int vtfs_split_dev_arm(struct vtfs_vq *vq);

void vtfs_packed_dev_start(struct vtfs_vq *vq, const struct vtfs_vq_conf *conf);
int vtfs_packed_dev_pop(struct vtfs_vq *vq, const struct vtfs_table *mem,
			struct vtfs_chain *chain);
void vtfs_packed_dev_push(struct vtfs_vq *vq, uint16_t id, uint16_t ring_cnt,
			  uint32_t len);
int vtfs_packed_dev_publish(struct vtfs_vq *vq);
void vtfs_packed_dev_disarm(struct vtfs_vq *vq);
int vtfs_packed_dev_arm(struct vtfs_vq *vq);

/* A chain to be added: judged by vtfs_vq_drv_add(), written by these. */
struct vtfs_drv_chain {
	const struct vtfs_vq_buf *bufs;
	unsigned readable_cnt;
	unsigned cnt;
	uint32_t room;
	uint16_t token;
	bool indirect;
};

/* A used element is a claim: its id must be of a chain that the device has,
 * and its length not above the room. 0 or -EPROTO. */
int vtfs_drv_check_used(const struct vtfs_vq *vq, uint32_t id, uint32_t len);

void vtfs_split_drv_start(struct vtfs_vq *vq);
void vtfs_split_drv_add(struct vtfs_vq *vq, const struct vtfs_drv_chain *c);
int vtfs_split_drv_publish(struct vtfs_vq *vq);
int vtfs_split_drv_get(struct vtfs_vq *vq, uint16_t *ret_token,
		       uint32_t *ret_len);
void vtfs_split_drv_disarm(struct vtfs_vq *vq);
int vtfs_split_drv_arm(struct vtfs_vq *vq);

void vtfs_packed_drv_start(struct vtfs_vq *vq);
void vtfs_packed_drv_add(struct vtfs_vq *vq, const struct vtfs_drv_chain *c);
int vtfs_packed_drv_publish(struct vtfs_vq *vq);
int vtfs_packed_drv_get(struct vtfs_vq *vq, uint16_t *ret_token,
			uint32_t *ret_len);
void vtfs_packed_drv_disarm(struct vtfs_vq *vq);
int vtfs_packed_drv_arm(struct vtfs_vq *vq);
#endif
