/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vdusefix.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "leaks.h"

struct vdusefix vf;

static int create(const struct vduse_dev_config *c)
{
	if (vf.create_errno)
		return -vf.create_errno;
	if (vf.exists)
		return -EEXIST;
	memcpy(&vf.created, c, sizeof(vf.created));
	memcpy(vf.config, c->config, c->config_size);
	vf.exists = true;
	vf.creates++;
	return 0;
}

static int destroy(const char *name)
{
	if (!vf.exists || strcmp(name, "fake0"))
		return -EINVAL;
	if (vf.on_bus)
		return -EBUSY;
	vf.exists = false;
	vf.destroys++;
	return 0;
}

static int get_fd(struct vduse_iotlb_entry *e)
{
	vf.asked++;
	for (unsigned i = 0; i < vf.map_cnt; i++) {
		if (vf.maps[i].last < e->start || vf.maps[i].start > e->last)
			continue;
		*e = vf.maps[i];
		return fcntl(vf.map_fd[i], F_DUPFD, 3);
	}
	return -EINVAL;
}

static int set_config(const struct vduse_config_data *c)
{
	if (c->offset > 40 || !c->length || c->length > 40 - c->offset)
		return -EINVAL;
	memcpy(vf.config + c->offset, c->buffer, c->length);
	return 0;
}

static int vq_ioctl(unsigned long request, void *arg)
{
	uint32_t vq = *(uint32_t *)arg;

	if (vq >= VF_VQS)
		return -EINVAL;
	switch (request) {
	case VDUSE_VQ_SETUP:
		vf.max_size[vq] = ((struct vduse_vq_config *)arg)->max_size;
		return 0;
	case VDUSE_VQ_GET_INFO:
		*(struct vduse_vq_info *)arg = vf.info[vq];
		return 0;
	case VDUSE_VQ_SETUP_KICKFD:
		vf.kick[vq] = ((struct vduse_vq_eventfd *)arg)->fd;
		return 0;
	default:
		if (!vf.driver_ok)
			return -EINVAL;
		vf.irqs[vq]++;
		return 0;
	}
}

static int kernel(int fd, unsigned long request, void *arg)
{
	switch (request) {
	case VDUSE_SET_API_VERSION:
		return *(uint64_t *)arg == 0 ? 0 : -EINVAL;
	case VDUSE_CREATE_DEV:
		return create(arg);
	case VDUSE_DESTROY_DEV:
		return destroy(arg);
	}
	if (vf.gave_up)
		return -EPERM;
	switch (request) {
	case VDUSE_IOTLB_GET_FD:
		return get_fd(arg);
	case VDUSE_DEV_GET_FEATURES:
		*(uint64_t *)arg = vf.features;
		return 0;
	case VDUSE_DEV_SET_CONFIG:
		return set_config(arg);
	case VDUSE_DEV_INJECT_CONFIG_IRQ:
		vf.config_irqs++;
		return vf.driver_ok ? 0 : -EINVAL;
	case VDUSE_VQ_SETUP:
	case VDUSE_VQ_GET_INFO:
	case VDUSE_VQ_SETUP_KICKFD:
	case VDUSE_VQ_INJECT_IRQ:
		return vq_ioctl(request, arg);
	}
	return -ENOTTY;
}

int vf_set_up(void **state)
{
	memset(&vf, 0, sizeof(vf));
	vf.fds_before = raw_fd_cnt();
	fk_reset();
	fk.ioctl = kernel;
	vf.memfd = memfd_create("iova", MFD_CLOEXEC);
	assert_int_equal(ftruncate(vf.memfd, 1 << 20), 0);
	return 0;
}

int vf_tear_down(void **state)
{
	if (vf.t)
		rec_fini(&vf.rec);
	vf.t = NULL;
	close(vf.memfd);
	fk_reset();
	assert_int_equal(raw_fd_cnt(), vf.fds_before);
	assert_int_equal(raw_memfd_map_cnt(), 0);
	return 0;
}

int vf_attach(void)
{
	assert_int_equal(virtiofs_transport_open_device(&vf.t, "vduse:fake0"),
			 0);
	rec_prepare(&vf.rec, vf.t);
	return vf.t->dev->attach(vf.t, &vf.rec.sink);
}

void vf_map(uint64_t start, uint64_t len, int fd, uint64_t off, uint8_t perm)
{
	vf.maps[vf.map_cnt] = (struct vduse_iotlb_entry){.start = start,
							 .last = start + len -
								 1,
							 .offset = off,
							 .perm = perm};
	vf.map_fd[vf.map_cnt++] = fd;
}

void vf_unmap(uint64_t start)
{
	for (unsigned i = 0; i < vf.map_cnt; i++) {
		if (vf.maps[i].start != start)
			continue;
		vf.map_cnt--;
		vf.maps[i] = vf.maps[vf.map_cnt];
		vf.map_fd[i] = vf.map_fd[vf.map_cnt];
		return;
	}
}

void vf_rings(uint64_t features)
{
	vf.features = features;
	vf_map(0x100000, 0x30000, vf.memfd, 0, VDUSE_ACCESS_RW);
	for (unsigned i = 0; i < VF_VQS; i++)
		vf.info[i] = (struct vduse_vq_info){
		    .index = i,
		    .num = 64,
		    .desc_addr = 0x100000 + i * 0x10000,
		    .driver_addr = 0x104000 + i * 0x10000,
		    .device_addr = 0x108000 + i * 0x10000,
		    .ready = 1};
	for (unsigned i = 0; i < VF_VQS; i++)
		if (features & VIRTIOFS_F_RING_PACKED)
			vf.info[i].packed = (struct vduse_vq_state_packed){
			    1, (uint16_t)i, 1, (uint16_t)i};
}

void vf_dispatch(unsigned times)
{
	while (times--)
		assert_int_equal(vf.t->dev->dispatch(vf.t), 0);
}

void vf_send(const struct vduse_dev_request *req)
{
	struct vduse_dev_request copy = *req;

	copy.request_id = ++vf.next_id;
	assert_int_equal(send(fk.ours, &copy, sizeof(copy), 0), sizeof(copy));
	vf_dispatch(1);
}

void vf_status(uint8_t status)
{
	const struct vduse_dev_request req = {.type = VDUSE_SET_STATUS,
					      .s.status = status};

	vf_send(&req);
}

int vf_answer(struct vduse_dev_response *ret)
{
	struct vduse_dev_response a;
	const char zero[sizeof(a.reserved)] = {0};

	if (recv(fk.ours, &a, sizeof(a), MSG_DONTWAIT) != sizeof(a))
		return -1;
	assert_int_equal(a.request_id, vf.next_id);
	assert_memory_equal(a.reserved, zero, sizeof(zero));
	if (ret)
		*ret = a;
	return (int)a.result;
}

void vf_run(uint64_t features)
{
	vf_rings(features);
	vf_status(3);
	assert_int_equal(vf_answer(NULL), 0);
	vf_status(11);
	assert_int_equal(vf_answer(NULL), 0);
	vf_status(15);
	assert_int_equal(vf_answer(NULL), 0);
	vf.driver_ok = true;
	vf_dispatch(1);
	for (unsigned i = 0; i < VF_VQS; i++)
		assert_true(vf.rec.started[i]);
}
