/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is in flight, for the process after this one: see device.h. The file is
 * our user's and nobody else's; its bytes are still checked where they count.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/shared.h"
#include "transport/vduse/device.h"
#include "vq/vq.h"

#define FOLDER "/run"
#define PREFIX "virtiofs-vduse-"
#define MAGIC  UINT64_C(0x31646e6573756476)

/* Of each queue; the rings are those that it tells of, or it tells nothing. */
struct queue_head {
	uint64_t desc, driver, device;
	uint32_t num;
	uint32_t begun;
};

struct file_head {
	uint64_t magic;
	uint32_t vq_cnt;
	uint32_t num_max;
};

static size_t queue_len(uint32_t num_max)
{
	size_t len = sizeof(struct queue_head) + sizeof(struct vtfs_vq_record) +
		     num_max * sizeof(uint16_t);

	return (len + 63) & ~(size_t)63;
}

static size_t file_len(uint32_t vq_cnt, uint32_t num_max)
{
	return 64 + vq_cnt * queue_len(num_max);
}

static struct queue_head *head_of(const struct vduse_device *d, unsigned vq)
{
	const struct file_head *f = d->record.map;

	return (void *)((char *)d->record.map + 64 +
			vq * queue_len(f->num_max));
}

static int give_up(struct vduse_device *d, const char *why)
{
	if (d->record.fd >= 0)
		close(d->record.fd);
	d->record.fd = -1;
	vtfs_log(d->sink->log, LOG_DEBUG,
		 "%s: what is in flight is not written down: " FOLDER "/%s: %s",
		 d->base.name, d->record.file, why);
	return 0;
}

/* Root's folder: nobody else can have put a link there, or a file. Where it
 * can't be written, there is no record. */
void vtfs_vduse_record_open(struct vduse_device *d)
{
	struct stat st;
	int fd;

	if ((size_t)snprintf(d->record.file, sizeof(d->record.file),
			     PREFIX "%s",
			     d->dev_name) >= sizeof(d->record.file))
		return;
	d->record.dir = open(FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (d->record.dir < 0)
		return;
	fd = openat(d->record.dir, d->record.file,
		    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		    0600);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
			st.st_uid != geteuid())) {
		close(fd);
		fd = -1;
	}
	d->record.fd = fd;
}

static bool fits(const struct vduse_device *d, const struct file_head *f,
		 off_t len, uint32_t num_max)
{
	return f->magic == MAGIC && f->vq_cnt == d->vq_cnt &&
	       f->num_max == num_max &&
	       (size_t)len == file_len(d->vq_cnt, num_max);
}

/* The device is ours: from here on nobody else has the file. */
int vtfs_vduse_record_map(struct vduse_device *d)
{
	uint32_t num_max = d->sink->ops->queue_max(d->sink);
	size_t len = file_len(d->vq_cnt, num_max);
	struct file_head was = {0};
	struct stat st;
	void *map;

	if (d->record.fd < 0)
		return give_up(d, "can't be opened");
	if (fstat(d->record.fd, &st) < 0 ||
	    pread(d->record.fd, &was, sizeof(was), 0) < 0)
		return give_up(d, strerror(errno));
	if ((d->made || !fits(d, &was, st.st_size, num_max)) &&
	    ftruncate(d->record.fd, 0) < 0)
		return give_up(d, strerror(errno));
	if (posix_fallocate(d->record.fd, 0, (off_t)len) != 0)
		return give_up(d, "no space");
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, d->record.fd,
		   0);
	if (map == MAP_FAILED)
		return give_up(d, strerror(errno));
	close(d->record.fd);
	d->record.fd = -1;
	d->record.map = map;
	d->record.len = len;
	*(struct file_head *)map = (struct file_head){
	    .magic = MAGIC, .vq_cnt = d->vq_cnt, .num_max = num_max};
	return 0;
}

struct vtfs_vq_record *vtfs_vduse_record_of(const struct vduse_device *d,
					    const struct vtfs_queue_setup *q,
					    bool goes_on)
{
	struct queue_head *h;

	if (!d->record.map)
		return NULL;
	h = head_of(d, q->vq);
	if (goes_on && h->begun && h->desc == q->desc &&
	    h->driver == q->driver && h->device == q->device &&
	    h->num == q->num)
		return (void *)(h + 1);
	if (goes_on)
		return NULL;
	vtfs_vduse_record_clear(d, q->vq);
	h->desc = q->desc;
	h->driver = q->driver;
	h->device = q->device;
	h->num = q->num;
	vtfs_store_release(&h->begun, 1);
	return (void *)(h + 1);
}

void vtfs_vduse_record_clear(const struct vduse_device *d, unsigned vq)
{
	const struct file_head *f = d->record.map;

	if (f)
		memset(head_of(d, vq), 0, queue_len(f->num_max));
}

void vtfs_vduse_record_free(struct vduse_device *d, bool is_gone)
{
	if (d->record.map)
		munmap(d->record.map, d->record.len);
	if (d->record.fd >= 0)
		close(d->record.fd);
	if (is_gone && d->record.dir >= 0)
		unlinkat(d->record.dir, d->record.file, 0);
	if (d->record.dir >= 0)
		close(d->record.dir);
}
