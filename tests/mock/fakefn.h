/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_FAKEFN_H
#define TESTS_MOCK_FAKEFN_H
/*
 * A virtio function as registers in a test's hand: every access is written
 * down and judged, and answered by the script. Behind the registers stands a
 * liardev, which has the rings.
 */
#include "liardev.h"
#include "transport/virtio_pci/driver.h"

/* All structures are in BAR 4, which has 64 bits: BAR 5 is its other half. */
#define FAKE_BAR	4u
#define FAKE_BAR_LEN	0x8000u
#define FAKE_COMMON	0x0000u
#define FAKE_ISR	0x1000u
#define FAKE_DEVICE	0x2000u
#define FAKE_NOTIFY	0x3000u
#define FAKE_MULTIPLIER 4u
#define FAKE_QUEUES	8u
#define FAKE_LOG	4096u

struct fake_access {
	bool write;
	unsigned region;
	uint64_t off;
	unsigned len;
	uint32_t value;
};

struct fake_queue {
	uint16_t max, size, vector, enable, notify_off, notif_data, reset;
	uint64_t desc, driver, device;
	uint32_t bell; /* last store */
	unsigned bell_len, bells;
};

struct fake {
	struct vtfs_pci_fn fn;
	struct liar l;
	struct virtiofs_transport *t;
	unsigned char cfg[VTFS_PCI_CFG_LEN];
	unsigned cap_at, cap_last; /* where the next goes; the last one */
	uint64_t bar_len[VTFS_PCI_BARS];
	unsigned vectors;      /* of its table */
	unsigned vectors_had;  /* what set_vectors gives; 0: all */
	uint16_t vector_limit; /* registers take those below */
	int vector_fd[64];
	unsigned vector_cnt;
	uint16_t config_vector;
	uint32_t device_select, driver_select;
	uint8_t generation;
	unsigned changes;    /* reads of the config space that change it */
	unsigned reset_lag;  /* reads of the status after a reset */
	unsigned qreset_lag; /* reads of queue_reset */
	bool shrinks;	     /* queue sizes do with each read */
	unsigned torn;	     /* reads in whose midst the tag changes */
	bool grows;	     /* queue sizes do with each read */
	bool stays_enabled;  /* a queue after its reset */
	bool hung_up;	     /* dispatch tells */
	bool gone;	     /* everything reads as ones */
	bool mapped;	     /* doorbells can be stored to */
	unsigned char bells[FAKE_BAR_LEN]
	    __attribute__((aligned(16))); /* what is mapped */
	bool slow;   /* everything has to be asked for twice */
	bool silent; /* and the fd does not tell when */
	struct fake_access waits;
	bool waiting;
	int bell_fd; /* what stands for a doorbell, or -1 */
	int open_r;
	unsigned opens, closes;
	bool freed, is_open;
	uint16_t select;
	struct fake_queue q[FAKE_QUEUES];
	struct fake_access log[FAKE_LOG];
	unsigned log_cnt;
	unsigned early; /* writes while a reset was under way */
	bool resetting;
};

/* A function with two queues, MSI-X for all of them, and an honest list. */
void fake_init(struct fake *f);
void fake_fini(struct fake *f);
/* The driver over it, f->t. */
void fake_drive(struct fake *f);
/* No capabilities; then one after the other. */
void fake_no_caps(struct fake *f);
unsigned char *fake_cap(struct fake *f, unsigned type, unsigned len);
/* A virtio one: where its structure is. */
unsigned char *fake_virtio_cap(struct fake *f, unsigned type, unsigned bar,
			       uint32_t off, uint32_t length);
/* The usual four. */
void fake_usual_caps(struct fake *f);
void fake_put32(unsigned char *p, uint32_t v);

/* Accesses of that register of the common structure. */
unsigned fake_writes(const struct fake *f, unsigned off);
unsigned fake_reads(const struct fake *f, unsigned off);
/* Stores to mapped doorbells since the last call: value in *ret. */
bool fake_rung(struct fake *f, unsigned vq, uint32_t *ret);
/* Ring what the function was given for that vector. */
void fake_raise(struct fake *f, unsigned vector);
#endif
