/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem/pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"

static int share_map(struct vtfs_share *s)
{
	s->addr = mmap(NULL, s->len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd,
		       0);
	if (s->addr == MAP_FAILED) {
		s->addr = NULL;
		return vtfs_fail_sys(-errno, "mapping %zu bytes", s->len);
	}
	return 0;
}

int vtfs_share_new(struct vtfs_share *ret, size_t len)
{
	struct vtfs_share s = {.fd = -1};
	int r;

	if (!len || len > SIZE_MAX - VTFS_PAGE)
		return vtfs_fail(-EINVAL, "memory of %zu bytes", len);
	s.len = VTFS_ALIGN_UP(len, (size_t)VTFS_PAGE);
	s.fd = memfd_create("virtiofs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s.fd < 0)
		return vtfs_fail_sys(-errno, "memfd_create");
	r = ftruncate(s.fd, (off_t)s.len) < 0 ? -errno : 0;
	if (r == 0 && fcntl(s.fd, F_ADD_SEALS,
			    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0)
		vtfs_fail_sys(r, "%zu bytes of shared memory", s.len);
	else
		r = share_map(&s);
	if (r < 0)
		vtfs_share_free(&s);
	else
		*ret = s;
	return r;
}

void vtfs_share_free(struct vtfs_share *s)
{
	if (s->addr)
		munmap(s->addr, s->len);
	if (s->fd >= 0)
		close(s->fd);
	s->addr = NULL;
	s->fd = -1;
}

static bool reg_overlaps(const struct vtfs_reg *reg,
			 const struct virtiofs_region *region)
{
	return reg->used && vtfs_range_overlap(
				reg->addr, reg->len,
				(uint64_t)(uintptr_t)region->addr, region->len);
}

static struct vtfs_reg *reg_unused(struct vtfs_regs *rs)
{
	for (unsigned i = 0; i < VTFS_REG_MAX; i++) {
		if (rs->reg[i].used)
			continue;
		if (i >= rs->cnt)
			vtfs_store_release(&rs->cnt, i + 1);
		return &rs->reg[i];
	}
	return NULL;
}

int vtfs_regs_add(struct vtfs_regs *rs, const struct virtiofs_region *region,
		  struct vtfs_reg **ret)
{
	struct vtfs_reg *reg;
	int fd = -1;

	for (unsigned i = 0; i < rs->cnt; i++)
		if (reg_overlaps(&rs->reg[i], region))
			return vtfs_fail(-EEXIST, "region is registered");
	reg = reg_unused(rs);
	if (!reg)
		return vtfs_fail(-ENOSPC, "more than %u regions", VTFS_REG_MAX);
	if (region->fd >= 0) {
		fd = fcntl(region->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return vtfs_fail_sys(-errno, "region's fd");
	}
	reg->fd = fd;
	reg->fd_offset = region->fd_offset;
	reg->ours = false;
	reg->used = true;
	reg->shared = false;
	vtfs_store_once(&reg->addr, (uint64_t)(uintptr_t)region->addr);
	vtfs_store_once(&reg->len, (uint64_t)region->len);
	*ret = reg;
	return 0;
}

void vtfs_regs_publish(struct vtfs_reg *reg, uint64_t peer_addr)
{
	vtfs_store_once(&reg->peer_addr, peer_addr);
	vtfs_store_release(&reg->seq, reg->seq + 1);
}

void vtfs_regs_hide(struct vtfs_reg *reg)
{
	if (reg->seq & 1)
		vtfs_store_once(&reg->seq, reg->seq + 1);
	/* The word before the counts that the caller sums up; the other side is
	 * in vtfs_regs_pin(). */
	vtfs_fence_full();
}

void vtfs_regs_drop(struct vtfs_reg *reg)
{
	if (reg->ours)
		munmap((void *)(uintptr_t)reg->addr, reg->len);
	if (reg->fd >= 0)
		close(reg->fd);
	reg->fd = -1;
	reg->used = false;
}

struct vtfs_reg *vtfs_regs_find(struct vtfs_regs *rs, const void *addr,
				size_t len)
{
	for (unsigned i = 0; i < rs->cnt; i++) {
		struct vtfs_reg *reg = &rs->reg[i];

		if (reg->used && reg->addr == (uint64_t)(uintptr_t)addr &&
		    reg->len == len)
			return reg;
	}
	return NULL;
}

static bool reg_hit(const struct vtfs_reg *reg, uint64_t seq,
		    const struct iovec *v, uint64_t *ret_peer)
{
	uint64_t addr = vtfs_load_once(&reg->addr);
	uint64_t len = vtfs_load_once(&reg->len);
	uint64_t at = (uint64_t)(uintptr_t)v->iov_base;

	if (!(seq & 1) || !vtfs_range_ok(addr, len, at, v->iov_len))
		return false;
	*ret_peer = vtfs_load_once(&reg->peer_addr) + (at - addr);
	return true;
}

bool vtfs_regs_pin(const struct vtfs_regs *rs, struct vtfs_pins *pins,
		   const struct iovec *v, uint64_t *mask, uint64_t *ret_peer)
{
	uint32_t cnt = vtfs_load_acquire(&rs->cnt);

	for (uint32_t i = 0; i < cnt; i++) {
		const struct vtfs_reg *reg = &rs->reg[i];
		uint64_t seq = vtfs_load_acquire(&reg->seq);

		if (!reg_hit(reg, seq, v, ret_peer))
			continue;
		if (*mask & (1ULL << i))
			return true;
		vtfs_store_once(&pins->cnt[i], pins->cnt[i] + 1);
		/* The count before the word; see vtfs_regs_hide(). */
		vtfs_fence_full();
		if (vtfs_load_once(&reg->seq) == seq) {
			*mask |= 1ULL << i;
			return true;
		}
		vtfs_store_once(&pins->cnt[i], pins->cnt[i] - 1);
	}
	return false;
}

void vtfs_regs_unpin(struct vtfs_pins *pins, uint64_t mask)
{
	while (mask) {
		int i = __builtin_ctzll(mask);

		vtfs_store_release(&pins->cnt[i], pins->cnt[i] - 1);
		mask &= mask - 1;
	}
}

int vtfs_bounce_new(struct vtfs_bounce *b, uint32_t pages)
{
	memset(b, 0, sizeof(*b));
	b->used = calloc(pages ? pages : 1, 1);
	if (!b->used)
		return vtfs_fail(-ENOMEM, "%u bounce pages", pages);
	b->cnt = pages;
	return 0;
}

void vtfs_bounce_free(struct vtfs_bounce *b)
{
	free(b->used);
	b->used = NULL;
}

void vtfs_bounce_reset(struct vtfs_bounce *b, unsigned char *addr,
		       uint64_t peer_addr)
{
	memset(b->used, 0, b->cnt);
	b->addr = addr;
	b->peer_addr = peer_addr;
	b->hint = 0;
}

/* First run of cnt free pages in [from, to). */
static bool bounce_scan(struct vtfs_bounce *b, uint32_t from, uint32_t to,
			struct vtfs_run *run)
{
	uint32_t free_cnt = 0;

	for (uint32_t i = from; i < to; i++) {
		free_cnt = b->used[i] ? 0 : free_cnt + 1;
		if (free_cnt < run->cnt)
			continue;
		run->first = i + 1 - run->cnt;
		memset(b->used + run->first, 1, run->cnt);
		b->hint = i + 1;
		return true;
	}
	return false;
}

int vtfs_bounce_take(struct vtfs_bounce *b, size_t len, struct vtfs_run *ret)
{
	struct vtfs_run run = {0};

	if (len > (size_t)b->cnt * VTFS_PAGE)
		return vtfs_fail(-EMSGSIZE,
				 "%zu bytes to copy, bounce_bytes is %zu", len,
				 (size_t)b->cnt * VTFS_PAGE);
	run.cnt = (uint32_t)((len + VTFS_PAGE - 1) / VTFS_PAGE);
	if (!bounce_scan(b, b->hint, b->cnt, &run) &&
	    !bounce_scan(b, 0, b->cnt, &run))
		return -ENOSPC;
	*ret = run;
	return 0;
}

void vtfs_bounce_give(struct vtfs_bounce *b, struct vtfs_run *run)
{
	memset(b->used + run->first, 0, run->cnt);
	run->cnt = 0;
}
