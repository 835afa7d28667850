/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VQ_CHAIN_H
#define VTFS_VQ_CHAIN_H
#include <stdint.h>

#include "vq/vq.h"

/*
 * One chain out of the ring into chain (all but id and ring_cnt). 0, with
 * chain->fault set if some of it can't be reached; -EPROTO: against the rules.
 */
int vtfs_chain_split(struct vtfs_vq *vq, const struct vtfs_table *mem,
		     uint16_t head, struct vtfs_chain *chain);

/*
 * The same for the list that begins at the ring's next slot, whose flags the
 * caller has loaded and found available; sets id and ring_cnt too.
 */
int vtfs_chain_packed(struct vtfs_vq *vq, const struct vtfs_table *mem,
		      uint16_t head_flags, struct vtfs_chain *chain);

/* A chain with holes, again, as vtfs_vq_dev_later(). */
int vtfs_chain_later(struct vtfs_vq *vq, const struct vtfs_table *mem,
		     const struct vtfs_late_chain *late,
		     struct vtfs_chain *chain);
#endif
