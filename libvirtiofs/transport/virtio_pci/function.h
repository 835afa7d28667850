/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VIRTIO_PCI_FUNCTION_H
#define VTFS_VIRTIO_PCI_FUNCTION_H
/*
 * The device half as a PCI function: registers, in and out.
 *
 * Theory of operation
 *
 * Whoever has a bus in front of the function (transport/vfio_user/) passes on
 * reads and writes of regions, what happens to interrupts, and the answers of
 * the session. The function speaks to the session through the device sink:
 * features, queues, resets. Memory is not its business.
 *
 * A queue runs in the session exactly while it should, which queue_wanted()
 * says: enabled, DRIVER_OK, bus mastering on, no reset under way. What makes it
 * stop is answered by the session, and then it may start again where it was.
 *
 * Interrupts. A queue whose MSI-X vector can be delivered has the vector's fd
 * as its call fd, so that nothing of this runs for an interrupt. In all other
 * cases it has a trap: an eventfd of ours, read by vtfs_pcifn_dispatch(), which
 * then sets the pending bit of a masked vector, or the ISR and INTx. A vector
 * without an fd counts as masked. Who gives an fd to a vector programs the
 * interrupt by that, and unmasks it: a client with an emulated table of its own
 * (QEMU) never writes to ours.
 *
 * Resets. status 0 resets what is virtio's; a reset of the function all but
 * what the bus gave (kick fds). Until the session has answered, the status
 * reads as it was, and registers of queues can't be written.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/evfd.h"
#include "transport/status.h"
#include "transport/transport.h"
#include "wire/pci.h"

#define VTFS_PCIFN_QUEUES  128u
#define VTFS_PCIFN_VECTORS (VTFS_PCIFN_QUEUES + 1)

/* BAR 0 has 64 bits and virtio's structures. */
#define VTFS_PCIFN_COMMON      0x0000u
#define VTFS_PCIFN_ISR	       0x0040u
#define VTFS_PCIFN_DEVICE      0x0080u
#define VTFS_PCIFN_NOTIFY      0x1000u
#define VTFS_PCIFN_BAR0_LEN    0x2000u
#define VTFS_PCIFN_NOTIFY_STEP 4u
/* BAR 2 has MSI-X. */
#define VTFS_PCIFN_TABLE    0x0000u
#define VTFS_PCIFN_PBA	    0x1000u
#define VTFS_PCIFN_BAR2_LEN 0x2000u
/* Capabilities in the configuration space. */
#define VTFS_PCIFN_CAP_MSIX   0x40u
#define VTFS_PCIFN_CAP_AF     0x4cu
#define VTFS_PCIFN_CAP_COMMON 0x54u
#define VTFS_PCIFN_CAP_ISR    0x64u
#define VTFS_PCIFN_CAP_DEVICE 0x74u
#define VTFS_PCIFN_CAP_NOTIFY 0x84u
#define VTFS_PCIFN_CAP_PCI    0x98u

/* Numbers of regions: BARs 0 to 5, and this. */
#define VTFS_PCIFN_CONFIG 7u

struct vtfs_pcifn_vector {
	uint32_t message[3]; /* address, high half, data: kept, not used */
	bool masked;
	bool pending;
	struct vtfs_bell bell;
	uint32_t serial; /* another for each fd */
};

struct vtfs_pcifn_queue {
	uint32_t size; /* 0: the driver said nothing */
	uint64_t desc, driver, device;
	uint16_t vector;
	bool enabled;
	bool resetting; /* queue_reset reads 1 */
	bool failed;	/* it could not be started */
	bool running;	/* in the session */
	bool stopping;	/* queue_stopped is owed */
	uint16_t avail_base, used_base;
	int kick;	/* -1: not made yet */
	int trap;	/* -1: not made yet */
	uint64_t route; /* what the session was told to call */
};

enum vtfs_pcifn_reset {
	VTFS_PCIFN_NO_RESET,
	VTFS_PCIFN_RESET_VIRTIO,
	VTFS_PCIFN_RESET_ALL,
};

struct vtfs_pcifn {
	struct vtfs_dev_sink *sink;
	uint64_t features; /* offered beside the session's */
	int ep;		   /* traps */
	unsigned queue_cnt, vector_cnt;
	enum vtfs_pcifn_reset resetting;
	struct vtfs_status status;
	uint8_t config[VTFS_PCI_CFG_LEN];
	uint8_t writable[VTFS_PCI_CFG_LEN]; /* bits of config */
	/* Registers of the common structure */
	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t isr;
	/* Interrupts */
	struct vtfs_bell intx;
	bool intx_masked;
	uint32_t serial;
	struct vtfs_pcifn_vector vectors[VTFS_PCIFN_VECTORS];
	struct vtfs_pcifn_queue queues[VTFS_PCIFN_QUEUES];
};

/* ---- for whoever has the bus ---- */

int vtfs_pcifn_init(struct vtfs_pcifn *fn);
void vtfs_pcifn_fini(struct vtfs_pcifn *fn);
/* The session is there; features are what the bus can do beside it. */
void vtfs_pcifn_attach(struct vtfs_pcifn *fn, struct vtfs_dev_sink *sink,
		       uint64_t features);
/* Readable: call vtfs_pcifn_dispatch(). */
void vtfs_pcifn_dispatch(struct vtfs_pcifn *fn);

/* 0: there is no such region. */
uint32_t vtfs_pcifn_region_len(unsigned region);
/* -EINVAL: not inside the region. A write that fits no register is dropped. */
int vtfs_pcifn_read(struct vtfs_pcifn *fn, unsigned region, uint64_t off,
		    void *buf, uint32_t len);
int vtfs_pcifn_write(struct vtfs_pcifn *fn, unsigned region, uint64_t off,
		     const void *buf, uint32_t len);

/* As at power on, in time: until then vtfs_pcifn_resets() is true. */
void vtfs_pcifn_reset(struct vtfs_pcifn *fn);
static inline bool vtfs_pcifn_resets(const struct vtfs_pcifn *fn)
{
	return fn->resetting == VTFS_PCIFN_RESET_ALL;
}
/* The bus is gone, and with it what it gave: fds of interrupts, and what was
 * given to it. The configuration space stays. reset_done follows. */
void vtfs_pcifn_lost(struct vtfs_pcifn *fn);

/* Interrupts. index: INTx has 0 only. fd stays the caller's, -1 takes the last
 * one back. -EINVAL: no eventfd, pipe or socket. */
int vtfs_pcifn_intx_fd(struct vtfs_pcifn *fn, int fd);
void vtfs_pcifn_intx_mask(struct vtfs_pcifn *fn, bool mask);
int vtfs_pcifn_vector_fd(struct vtfs_pcifn *fn, unsigned vector, int fd);
void vtfs_pcifn_vector_mask(struct vtfs_pcifn *fn, unsigned vector, bool mask);

/* The eventfd behind the doorbell of vq, which stays the function's. */
int vtfs_pcifn_kick_fd(struct vtfs_pcifn *fn, unsigned vq);

/* ---- the session's answers ---- */

void vtfs_pcifn_queue_stopped(struct vtfs_pcifn *fn, unsigned vq,
			      uint16_t avail_base, uint16_t used_base);
void vtfs_pcifn_reset_done(struct vtfs_pcifn *fn);
void vtfs_pcifn_broken(struct vtfs_pcifn *fn);

/* ---- between the files of the function ---- */

/* function_config.c */
void vtfs_pcifn_config_init(struct vtfs_pcifn *fn);
void vtfs_pcifn_config_read(struct vtfs_pcifn *fn, uint32_t off, void *buf,
			    uint32_t len);
void vtfs_pcifn_config_write(struct vtfs_pcifn *fn, uint32_t off,
			     const void *buf, uint32_t len);
uint16_t vtfs_pcifn_command(const struct vtfs_pcifn *fn);
uint16_t vtfs_pcifn_msix_control(const struct vtfs_pcifn *fn);

/* function_common.c */
void vtfs_pcifn_common_read(struct vtfs_pcifn *fn, uint8_t *image);
void vtfs_pcifn_common_write(struct vtfs_pcifn *fn, uint32_t off,
			     const void *buf, uint32_t len);
void vtfs_pcifn_doorbell(struct vtfs_pcifn *fn, uint32_t off, const void *buf,
			 uint32_t len);
void vtfs_pcifn_virtio_init(struct vtfs_pcifn *fn);
/* Start and stop what has to be by now. */
void vtfs_pcifn_update(struct vtfs_pcifn *fn);

/* function_irq.c */
void vtfs_pcifn_irq_init(struct vtfs_pcifn *fn);
void vtfs_pcifn_irq_drop(struct vtfs_pcifn *fn);
void vtfs_pcifn_table_read(struct vtfs_pcifn *fn, uint8_t *image);
void vtfs_pcifn_table_write(struct vtfs_pcifn *fn, uint32_t off,
			    const void *buf, uint32_t len);
uint8_t vtfs_pcifn_isr_read(struct vtfs_pcifn *fn);
/* The configuration, or the status, changed. */
void vtfs_pcifn_config_irq(struct vtfs_pcifn *fn);
/* What decides about interrupts changed: tell the session whom to call, give
 * what is pending and can be given. */
void vtfs_pcifn_irq_update(struct vtfs_pcifn *fn);
/* What vq, which runs or is about to, has to call; *ret -1: nobody. -errno:
 * there is no fd for it. */
int vtfs_pcifn_call_fd(struct vtfs_pcifn *fn, unsigned vq, int *ret);
#endif
