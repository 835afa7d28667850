/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vduse/device.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/evfd.h"
#include "wire/fs.h"
#include "wire/virtio.h"

#define FOLDER		 "/dev/vduse"
#define VENDOR		 0x1af4u
#define VQ_ALIGN	 64u
#define MESSAGES_AT_ONCE 16

static struct vduse_device *to_device(const struct virtiofs_transport *t)
{
	return (struct vduse_device *)t;
}

/* The kernel wants a device whose addresses are translated; its bus can't
 * reset one queue. */
uint64_t vtfs_vduse_offered(const struct vduse_device *d)
{
	return (d->sink->ops->offered(d->sink) | VTFS_F_ACCESS_PLATFORM) &
	       ~VIRTIOFS_F_RING_RESET;
}

/* ---- what we wait for ---- */

static int watch(struct vduse_device *d, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(d->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

static void ask_for_messages(struct vduse_device *d, bool on)
{
	struct epoll_event ev = {.events = on ? EPOLLIN : 0, .data.fd = d->dev};

	if (d->polled == on)
		return;
	d->polled = on;
	epoll_ctl(d->ep, EPOLL_CTL_MOD, d->dev, &ev);
}

/* The time until the next look, once; 0: none. A setting clears what the timer
 * had to tell. One that runs is left alone: dispatches come for other reasons.
 */
static void look_again(struct vduse_device *d)
{
	const struct itimerspec t = {
	    .it_value.tv_nsec = d->starting ? VDUSE_POLL_NS : 0};

	if (d->ticks == d->starting)
		return;
	d->ticks = d->starting;
	timerfd_settime(d->timer, 0, &t, NULL);
}

/* ---- the device's life in the kernel ---- */

static int no_kernel(const struct vduse_device *d, const char *what)
{
	if (errno == ENOENT)
		return vtfs_fail(-ENOENT,
				 "%s: %s is not there: load the kernel's "
				 "module vduse",
				 d->base.name, what);
	return vtfs_fail_sys(-errno, "%s: %s", d->base.name, what);
}

static int open_control(struct vduse_device *d)
{
	uint64_t version = VDUSE_API_VERSION;

	d->dir = open(FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (d->dir < 0)
		return no_kernel(d, FOLDER);
	d->control = openat(d->dir, "control", O_RDWR | O_CLOEXEC);
	if (d->control < 0)
		return no_kernel(d, FOLDER "/control");
	if (ioctl(d->control, VDUSE_SET_API_VERSION, &version) < 0)
		return vtfs_fail_sys(-errno, "%s: API version %u", d->base.name,
				     VDUSE_API_VERSION);
	return 0;
}

static uint32_t config_len(const struct vduse_device *d)
{
	return vtfs_vduse_offered(d) & VIRTIOFS_F_NOTIFICATION
		   ? sizeof(struct vtfs_fs_config)
		   : VTFS_CONFIG_LEN;
}

static int create(struct vduse_device *d)
{
	union {
		struct vduse_dev_config head;
		unsigned char bytes[sizeof(struct vduse_dev_config) +
				    sizeof(struct vtfs_fs_config)];
	} c = {.head = {
		   .vendor_id = VENDOR,
		   .device_id = VTFS_FS_DEVICE_ID,
		   .features = vtfs_vduse_offered(d),
		   .vq_num = d->vq_cnt,
		   .vq_align = VQ_ALIGN,
		   .config_size = config_len(d),
	       }};

	strcpy(c.head.name, d->dev_name); /* its length was checked */
	d->sink->ops->config(d->sink, c.head.config, config_len(d), 0);
	return ioctl(d->control, VDUSE_CREATE_DEV, &c) < 0 ? -errno : 0;
}

static int destroy(const struct vduse_device *d)
{
	char name[VDUSE_NAME_MAX] = {0};

	strcpy(name, d->dev_name);
	return ioctl(d->control, VDUSE_DESTROY_DEV, name) < 0 ? -errno : 0;
}

/* 1 made; 0 it was there, and is on the bus or in use. One that is neither was
 * left by a program that is gone, and is made anew. */
static int make(struct vduse_device *d)
{
	int r = create(d);

	if (r == -EEXIST && destroy(d) == 0)
		r = create(d);
	if (r == -EEXIST)
		return 0;
	if (r < 0)
		return vtfs_fail_sys(r, "%s: VDUSE_CREATE_DEV", d->base.name);
	return 1;
}

static int open_device(struct vduse_device *d)
{
	d->dev = openat(d->dir, d->dev_name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (d->dev >= 0)
		return watch(d, d->dev);
	if (errno == EBUSY)
		return vtfs_fail(-EADDRINUSE,
				 "%s: another program is this device",
				 d->base.name);
	return vtfs_fail_sys(-errno, "%s: " FOLDER "/%s", d->base.name,
			     d->dev_name);
}

static int set_up_queues(struct vduse_device *d)
{
	for (unsigned i = 0; i < d->vq_cnt; i++) {
		struct vduse_vq_config c = {
		    .index = i,
		    .max_size = (uint16_t)d->sink->ops->queue_max(d->sink)};

		if (ioctl(d->dev, VDUSE_VQ_SETUP, &c) < 0)
			return vtfs_fail_sys(-errno, "%s: VDUSE_VQ_SETUP",
					     d->base.name);
	}
	return 0;
}

/* ---- one that was there ---- */

static bool has_queue(const struct vduse_device *d, unsigned vq)
{
	struct vduse_vq_info info = {.index = vq};

	return ioctl(d->dev, VDUSE_VQ_GET_INFO, &info) == 0;
}

static int check_alive(const struct vduse_device *d)
{
	uint64_t features;

	if (ioctl(d->dev, VDUSE_DEV_GET_FEATURES, &features) == 0)
		return 0;
	if (errno == EPERM)
		return vtfs_fail(-ENOTCONN,
				 "%s: the kernel gave this device up, because "
				 "nobody answered in time: take it off the "
				 "bus (vdpa dev del)",
				 d->base.name);
	return vtfs_fail_sys(-errno, "%s", d->base.name);
}

static int write_config(const struct vduse_device *d)
{
	union {
		struct vduse_config_data head;
		unsigned char bytes[sizeof(struct vduse_config_data) +
				    sizeof(struct vtfs_fs_config)];
	} c = {.head = {.length = config_len(d)}};

	d->sink->ops->config(d->sink, c.head.buffer, config_len(d), 0);
	if (ioctl(d->dev, VDUSE_DEV_SET_CONFIG, &c) < 0)
		return vtfs_fail_sys(
		    -errno, "%s: this name is of another device", d->base.name);
	return 0;
}

/* Did its driver start? The kernel takes interrupts after DRIVER_OK only. */
static int take_over(struct vduse_device *d)
{
	int r = check_alive(d);

	if (r >= 0)
		r = write_config(d);
	if (r >= 0 && (!has_queue(d, d->vq_cnt - 1) || has_queue(d, d->vq_cnt)))
		r = vtfs_fail(-EINVAL,
			      "%s: the device that is on the bus has not %u "
			      "request queues",
			      d->base.name, d->vq_cnt - 1);
	if (r < 0 || ioctl(d->dev, VDUSE_DEV_INJECT_CONFIG_IRQ) < 0)
		return r;
	r = vtfs_vduse_choose(d);
	if (r < 0)
		return r;
	vtfs_status_write(&d->status,
			  VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_DRIVER |
			      VTFS_STATUS_FEATURES_OK | VTFS_STATUS_DRIVER_OK);
	d->starting = d->resumed = true;
	vtfs_evfd_signal(d->wake);
	vtfs_log(d->sink->log, LOG_INFO,
		 "%s: the driver has used it before, and goes on",
		 d->base.name);
	return 0;
}

static int device_attach(struct virtiofs_transport *t,
			 struct vtfs_dev_sink *sink)
{
	struct vduse_device *d = to_device(t);
	int r;

	d->sink = sink;
	if (!vtfs_config_there(sink))
		return vtfs_fail(-EINVAL, "%s: the device needs a tag",
				 d->base.name);
	r = vtfs_vduse_vqs_make(d);
	if (r < 0)
		return r;
	r = make(d);
	if (r < 0)
		return r;
	d->made = r;
	r = open_device(d);
	if (r >= 0)
		r = vtfs_vduse_record_map(d);
	if (r >= 0)
		r = d->made ? set_up_queues(d) : take_over(d);
	if (r < 0)
		return r;
	d->polled = true;
	look_again(d);
	return 0;
}

/* ---- dispatch ---- */

/* The kernel has given up on us: no message comes, none is taken. */
static bool is_broken(const struct vduse_device *d)
{
	struct pollfd p = {.fd = d->dev};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLNVAL));
}

static bool next_message(struct vduse_device *d)
{
	return !d->handling &&
	       read(d->dev, &d->req, sizeof(d->req)) == sizeof(d->req);
}

/* It was time for a look. */
static bool has_ticked(struct vduse_device *d)
{
	uint64_t cnt;

	if (read(d->timer, &cnt, sizeof(cnt)) != sizeof(cnt))
		return false;
	d->ticks = false;
	return true;
}

static void start(struct vduse_device *d)
{
	if (!d->starting)
		return;
	d->starting = !vtfs_vduse_vqs_start(d);
	if (has_ticked(d) && d->starting && d->polls++ >= VDUSE_POLLS_MAX) {
		d->starting = false;
		vtfs_log(d->sink->log, LOG_WARNING,
			 "%s: not all queues are served: the driver does not "
			 "begin",
			 d->base.name);
	}
}

static int device_dispatch(struct virtiofs_transport *t)
{
	struct vduse_device *d = to_device(t);

	vtfs_evfd_drain(d->wake);
	if (is_broken(d))
		return vtfs_fail(-ENOTCONN,
				 "%s: the kernel gave this device up",
				 d->base.name);
	if (d->handling)
		vtfs_vduse_resume(d);
	for (int i = 0; i < MESSAGES_AT_ONCE && next_message(d); i++)
		vtfs_vduse_handle(d);
	if (!d->handling)
		start(d);
	vtfs_vduse_mem_publish(d);
	look_again(d);
	ask_for_messages(d, !d->handling);
	return 0;
}

static void device_queue_stopped(struct virtiofs_transport *t, unsigned vq,
				 uint16_t avail_base, uint16_t used_base)
{
	struct vduse_device *d = to_device(t);

	if (vq >= d->vq_cnt || !d->vqs[vq].running)
		return;
	d->vqs[vq].running = false;
	d->vqs[vq].stopped = true;
	d->vqs[vq].avail = avail_base;
	d->vqs[vq].used = used_base;
	vtfs_evfd_signal(d->wake);
}

static void device_table_retired(struct virtiofs_transport *t, uint64_t cookie)
{
	struct vduse_device *d = to_device(t);

	vtfs_vduse_mem_retired(d, cookie);
	vtfs_evfd_signal(d->wake);
}

static void device_reset_done(struct virtiofs_transport *t)
{
	struct vduse_device *d = to_device(t);

	vtfs_vduse_reset_done(d);
	vtfs_evfd_signal(d->wake);
}

/* The kernel has no way to set NEEDS_RESET; a configuration change makes a
 * driver look whether it can go on. */
static void device_broken(struct virtiofs_transport *t, unsigned vq)
{
	struct vduse_device *d = to_device(t);

	(void)ioctl(d->dev, VDUSE_DEV_INJECT_CONFIG_IRQ);
}

static void device_miss(struct virtiofs_transport *t, const struct vtfs_miss *m)
{
	struct vduse_device *d = to_device(t);
	int r = vtfs_vduse_mem_find(d, m->addr, m->len, m->access);

	if (r >= 0)
		r = vtfs_vduse_mem_publish(d);
	if (r < 0) {
		vtfs_log(d->sink->log, LOG_DEBUG, "%s", virtiofs_last_error());
		d->sink->ops->absent(d->sink, m);
	}
}

static const struct vtfs_dev_ops device_ops = {
    .attach = device_attach,
    .dispatch = device_dispatch,
    .queue_stopped = device_queue_stopped,
    .table_retired = device_table_retired,
    .reset_done = device_reset_done,
    .broken = device_broken,
    .miss = device_miss,
};

/* ---- made and freed ---- */

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void device_free(struct virtiofs_transport *t)
{
	struct vduse_device *d = to_device(t);
	int r = -ENOENT;

	vtfs_vduse_mem_clear(d);
	vtfs_vduse_vqs_free(d);
	close_fd(d->dev);
	if (d->made || d->dev >= 0)
		r = destroy(d);
	if (r == -EBUSY)
		vtfs_log(d->sink->log, LOG_INFO,
			 "%s: stays on the bus, for the next server",
			 d->base.name);
	vtfs_vduse_record_free(d, r == 0);
	close_fd(d->control);
	close_fd(d->dir);
	close_fd(d->timer);
	close_fd(d->wake);
	close_fd(d->ep);
	free(d->name);
	free(d);
}

static int device_fd(const struct virtiofs_transport *t)
{
	return to_device(t)->ep;
}

static int set_up(struct vduse_device *d, const char *name)
{
	int r;

	if (asprintf(&d->name, "vduse:%s", name) < 0) {
		d->name = NULL;
		return -ENOMEM;
	}
	d->base.name = d->name;
	d->dev_name = d->name + strlen("vduse:");
	d->ep = epoll_create1(EPOLL_CLOEXEC);
	if (d->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (d->timer < 0)
		return vtfs_fail_sys(-errno, "timerfd_create");
	r = vtfs_evfd_new(&d->wake);
	if (r >= 0)
		r = watch(d, d->wake);
	if (r >= 0)
		r = watch(d, d->timer);
	if (r >= 0)
		r = open_control(d);
	if (r >= 0)
		vtfs_vduse_record_open(d);
	return r;
}

static bool good_name(const char *name)
{
	return name[0] && strlen(name) < VDUSE_NAME_MAX && !strchr(name, '/') &&
	       strcmp(name, ".") && strcmp(name, "..") &&
	       strcmp(name, "control");
}

int vtfs_vduse_open(struct virtiofs_transport **ret, const char *name)
{
	struct vduse_device *d;
	int r;

	if (!good_name(name))
		return vtfs_fail(-EINVAL, "vduse: \"%.64s\" is no name", name);
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->base.dev = &device_ops;
	d->base.free = device_free;
	d->base.fd = device_fd;
	d->control = d->dir = d->dev = d->ep = d->wake = d->timer = -1;
	d->record.dir = d->record.fd = -1;
	r = set_up(d, name);
	if (r < 0) {
		device_free(&d->base);
		return r;
	}
	*ret = &d->base;
	return 0;
}
