/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_CHAINS_H
#define TESTS_FUZZ_CHAINS_H
/* What the device fuzzer's driver puts into its rings and its memory. */
#include "guest.h"

#define KEPT_MAX 64u

/* The device fuzzer. */
struct fuzz {
	struct guest g;
	struct input *in;
	struct virtiofs_devq *taken; /* queue 1, or NULL */
	struct {
		struct virtiofs_req *req;
		unsigned vq;
	} kept[KEPT_MAX];
	unsigned kept_cnt;
	unsigned popping; /* queue that requests come from, if known */
	uint64_t unique;
	unsigned first;	   /* virtqueue of requests */
	uint32_t note_max; /* 0: notifications are not offered */
};

/* Of any shape; no frame of our making is in them. */
void chains_any(struct fuzz *f, unsigned vq);
/* A request as it should be, or nearly so: a frame in up to four parts, and
 * room; through a table if that is allowed. */
void chains_frame(struct fuzz *f, unsigned vq);
/* As they should be. */
void chains_init(struct fuzz *f);
void chains_request(struct fuzz *f, unsigned vq);
void chains_buffer(struct fuzz *f); /* for a notification */
/* Any bytes, anywhere. */
void chains_poke(struct fuzz *f);
#endif
