/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_RECSINK_H
#define MOCK_RECSINK_H
/*
 * A session that serves nothing: it writes down what a transport tells it, and
 * answers at once or when the test says so.
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/transport.h"

#define REC_OFFERED   (VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED)
#define REC_QUEUES    3u
#define REC_QUEUE_MAX 1024u

struct rec {
	struct vtfs_dev_sink sink;
	struct vtfs_log log;
	struct virtiofs_transport *t;
	uint64_t offered;
	unsigned queue_cnt;
	uint32_t queue_max;
	bool hold;   /* answer stop, table, reset and loss later */
	int start_r; /* what start returns */
	unsigned char config[VTFS_CONFIG_LEN];
	/* What was heard */
	char text[4096]; /* "accept 100000000;start 0;enable 0 1;" */
	uint64_t features;
	struct vtfs_table *table; /* with a reference */
	uint64_t cookie;
	struct vtfs_queue_setup setup[256];
	bool started[256];
	bool enabled[256];
	int call_fd[256]; /* duplicates, or -1 */
	int kick_fd[256];
	unsigned stops, resets, losses;
	int stopping;	  /* queue, or -1 */
	char logged[256]; /* the last line */
};

void rec_init(struct rec *rec, struct virtiofs_transport *t);
/* The same, but the test attaches it. */
void rec_prepare(struct rec *rec, struct virtiofs_transport *t);
/* Frees the transport too. */
void rec_fini(struct rec *rec);
/* Give the answers that were held. */
void rec_answer_stop(struct rec *rec, uint16_t avail, uint16_t used);
void rec_answer_table(struct rec *rec);
void rec_answer_reset(struct rec *rec);
/* Forget the text. */
void rec_clear(struct rec *rec);

/* A client's side. */
struct rec_client {
	struct vtfs_cli_sink sink;
	struct vtfs_log log;
	unsigned changes;
	unsigned losses;
	int error;
	char logged[256];
};
void rec_client_init(struct rec_client *rc, struct virtiofs_transport *t);
#endif
