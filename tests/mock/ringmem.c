/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ringmem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"

static size_t page_up(size_t n)
{
	return VTFS_ALIGN_UP(n, (size_t)4096);
}

static void map_view(struct ringmem *m, struct ringmem_view *v)
{
	unsigned char *p;

	p = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	*v = (struct ringmem_view){
	    .base = p,
	    .desc = p,
	    .driver = p + m->off_driver,
	    .device = p + m->off_device,
	    .indirect = p + m->off_indirect,
	    .bufs = p + m->off_bufs,
	};
}

/* Peer addresses of tables end where those of buffers begin. */
static void make_table(struct ringmem *m)
{
	struct vtfs_region_desc d = {
	    .peer_addr = RINGMEM_PEER_ADDR - (m->off_bufs - m->off_indirect),
	    .len = m->len - m->off_indirect,
	    .fd = -1,
	    .addr = m->view[RINGMEM_DEV].indirect,
	};

	assert_int_equal(vtfs_region_new(&m->region, &d, 3), 0);
	assert_int_equal(vtfs_table_new(&m->table, &m->region, 1), 0);
}

void ringmem_init(struct ringmem *m, const struct vtfs_vq_conf *conf,
		  size_t bufs_len, unsigned flags)
{
	size_t tables = (size_t)conf->num * conf->indirect_max * 16;

	memset(m, 0, sizeof(*m));
	m->conf = *conf;
	m->bufs_len = bufs_len;
	assert_int_equal(vtfs_vq_areas(&m->areas, conf->flags, conf->num), 0);
	m->off_driver = page_up(m->areas.desc_len);
	m->off_device = m->off_driver + page_up(m->areas.driver_len);
	m->off_indirect = m->off_device + page_up(m->areas.device_len);
	m->off_bufs = m->off_indirect + page_up(tables);
	m->len = m->off_bufs + page_up(bufs_len);
	m->fd = memfd_create("ring", MFD_CLOEXEC);
	assert_true(m->fd >= 0);
	assert_int_equal(ftruncate(m->fd, (off_t)m->len), 0);
	map_view(m, &m->view[RINGMEM_DRV]);
	if (flags & RINGMEM_SHARED_VIEW)
		m->view[RINGMEM_DEV] = m->view[RINGMEM_DRV];
	else
		map_view(m, &m->view[RINGMEM_DEV]);
	make_table(m);
}

void ringmem_fini(struct ringmem *m)
{
	unsigned char *dev = m->view[RINGMEM_DEV].base;

	vtfs_table_put(m->table);
	vtfs_region_put(m->region);
	munmap(m->view[RINGMEM_DRV].base, m->len);
	if (dev != m->view[RINGMEM_DRV].base)
		munmap(dev, m->len);
	close(m->fd);
}

struct vtfs_vq_conf ringmem_conf(const struct ringmem *m,
				 enum ringmem_side side)
{
	const struct ringmem_view *v = &m->view[side];
	struct vtfs_vq_conf conf = m->conf;

	conf.desc = v->desc;
	conf.driver = v->driver;
	conf.device = v->device;
	conf.indirect = conf.indirect_max ? v->indirect : NULL;
	conf.indirect_peer_addr = m->region->peer_addr;
	if (conf.flags & VTFS_VQ_PACKED) {
		conf.avail_base = 0x8000;
		conf.used_base = 0x8000;
	}
	return conf;
}

static void read_only(void *p, size_t from, size_t to)
{
	if (to > from)
		assert_int_equal(mprotect(p, to - from, PROT_READ), 0);
}

void ringmem_protect(struct ringmem *m)
{
	const struct ringmem_view *dev = &m->view[RINGMEM_DEV];

	read_only(m->view[RINGMEM_DRV].device, m->off_device, m->off_indirect);
	read_only(dev->driver, m->off_driver, m->off_device);
	read_only(dev->indirect, m->off_indirect, m->off_bufs);
	if (!(m->conf.flags & VTFS_VQ_PACKED))
		read_only(dev->desc, 0, m->off_driver);
}
