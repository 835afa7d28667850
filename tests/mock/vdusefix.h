/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_VDUSEFIX_H
#define MOCK_VDUSEFIX_H
/*
 * A kernel with VDUSE, as Linux 7.2's drivers/vdpa/vdpa_user does it, and a
 * session that writes down what it hears. The device's name is "fake0".
 */
#include <linux/vduse.h>
#include <sys/ioctl.h>

#include "fakekernel.h"
#include "recsink.h"
#include "transport/vduse/device.h"
#include "wire/virtio.h"

#define VF_MAPS 600u
#define VF_VQS	3u

struct vdusefix {
	struct virtiofs_transport *t;
	struct rec rec;
	unsigned fds_before;
	/* The device, if exists */
	bool exists, on_bus, gave_up, driver_ok;
	int create_errno;
	unsigned char config[64];
	unsigned creates, destroys;
	uint16_t max_size[VF_VQS];
	uint64_t features; /* the driver's */
	struct vduse_vq_info info[VF_VQS];
	int kick[VF_VQS];
	unsigned irqs[VF_VQS], config_irqs;
	/* Memory */
	struct vduse_iotlb_entry maps[VF_MAPS];
	int map_fd[VF_MAPS];
	unsigned map_cnt, asked;
	int memfd; /* 1 MiB */
	uint32_t next_id;
	struct vduse_dev_config created; /* its end is open */
};
extern struct vdusefix vf;

int vf_set_up(void **state);
int vf_tear_down(void **state);
/* Open and attach. */
int vf_attach(void);
/* A range of IOVAs, from memfd at off. */
void vf_map(uint64_t start, uint64_t len, int fd, uint64_t off, uint8_t perm);
void vf_unmap(uint64_t start);
/* Rings of all queues in a range at 0x100000, ready. */
void vf_rings(uint64_t features);
/* Send a message, dispatch. */
void vf_send(const struct vduse_dev_request *req);
void vf_status(uint8_t status);
/* Dispatch, and the answer: its result, or -1 none yet. */
int vf_answer(struct vduse_dev_response *ret);
/* vf_status() up to DRIVER_OK, with these features; the queues run. */
void vf_run(uint64_t features);
void vf_dispatch(unsigned times);
#endif
