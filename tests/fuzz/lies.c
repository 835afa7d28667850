/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A front-end's messages: as they should be, or not quite. */
#include "front.h"

static uint64_t get_user_addr(struct input *in)
{
	uint64_t off = in_u8(in) * 16u;

	return in_u8(in) % 16 ? FRONT_USER + off : FRONT_USER + in_number(in);
}

static void put_region(struct input *in, struct vu_region *r)
{
	uint8_t how = in_u8(in);

	*r = (struct vu_region){FRONT_GUEST, KIND_LEN, FRONT_USER, 0};
	r->guest_addr += (uint64_t)(how & 7) * KIND_LEN;
	r->user_addr += (uint64_t)(how & 7) * KIND_LEN;
	if (how & 8)
		r->guest_addr += in_number(in);
	if (how & 16)
		r->user_addr += in_number(in);
	if (how & 32)
		r->size = in_number(in);
	if (how & 64)
		r->mmap_offset = in_number(in);
	if (how & 128)
		r->size /= 2;
}

static size_t put_table(struct input *in, unsigned char *buf)
{
	struct vu_mem_table m = {.num = in_u8(in) % 16};

	for (unsigned i = 0; i < m.num && i < VU_REGIONS_MAX; i++)
		put_region(in, &m.regions[i]);
	if (m.num > VU_REGIONS_MAX && in_u8(in) % 2)
		m.num = (uint32_t)in_number(in);
	memcpy(buf, &m, sizeof(m));
	return m.num <= VU_REGIONS_MAX ? 8 + m.num * sizeof(m.regions[0])
				       : sizeof(m);
}

static size_t put_addr(struct input *in, unsigned char *buf)
{
	struct vu_vring_addr a = {.index = in_u8(in) % 4};
	uint64_t at = FRONT_USER + a.index * FRONT_RING_LEN;
	uint8_t lie = in_u8(in);

	a.desc = lie & 1 ? get_user_addr(in) : at;
	a.avail = lie & 2 ? get_user_addr(in) : at + FRONT_AVAIL_AT;
	a.used = lie & 4 ? get_user_addr(in) : at + FRONT_USED_AT;
	if (lie & 8)
		a.flags = in_u8(in);
	memcpy(buf, &a, sizeof(a));
	return sizeof(a);
}

static size_t put_config(struct input *in, unsigned char *buf)
{
	struct vu_config c = {.offset = in_u8(in), .size = in_u8(in) % 80};
	size_t len = sizeof(c) + c.size;

	c.flags = in_u8(in) % 3;
	in_bytes(in, buf + sizeof(c), c.size);
	if (in_u8(in) % 8 == 7)
		c.size = (uint32_t)in_number(in);
	memcpy(buf, &c, sizeof(c));
	return len;
}

static size_t put_state(struct input *in, unsigned char *buf)
{
	struct vu_vring_state s = {in_u8(in) % 4, (uint32_t)in_number(in)};

	memcpy(buf, &s, sizeof(s));
	return sizeof(s);
}

static size_t put_words(struct input *in, unsigned char *buf, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		uint64_t x = in_number(in);

		memcpy(buf + i * sizeof(x), &x, sizeof(x));
	}
	return cnt * sizeof(uint64_t);
}

static size_t put_iotlb(struct input *in, unsigned char *buf)
{
	struct vu_iotlb m = {.iova = FRONT_GUEST + in_u8(in) % 32 * 0x1000u,
			     .size = in_number(in) * 0x400u};
	uint8_t lie = in_u8(in);

	m.user_addr = lie & 1 ? get_user_addr(in)
			      : m.iova - FRONT_GUEST + FRONT_USER;
	m.perm = lie & 2 ? in_u8(in) : VU_ACCESS_RO | VU_ACCESS_WO;
	m.type = lie & 4 ? in_u8(in) : 2 + (lie >> 7);
	if (lie & 8)
		m.iova = in_number(in);
	if (lie & 16)
		m.size = in_number(in);
	if (lie & 32)
		m.iova = FRONT_USER + (m.iova - FRONT_GUEST);
	memcpy(buf, &m, sizeof(m));
	return sizeof(m);
}

static size_t put_payload(struct input *in, uint32_t request,
			  unsigned char *buf)
{
	struct vu_mem_reg reg = {0};
	uint64_t v;

	switch (request) {
	case VU_SET_MEM_TABLE:
		return put_table(in, buf);
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		put_region(in, &reg.region);
		memcpy(buf, &reg, sizeof(reg));
		return sizeof(reg);
	case VU_SET_VRING_ADDR:
		return put_addr(in, buf);
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
		return put_state(in, buf);
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		return put_config(in, buf);
	case VU_IOTLB_MSG:
		return put_iotlb(in, buf);
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		return put_words(in, buf, 3);
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		v = in_u8(in) & (VU_VRING_NOFD | 3u);
		v |= in_u8(in) % 16 == 15 ? VU_VRING_NOFD : 0;
		break;
	case VU_SET_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
	case VU_SET_STATUS:
		v = in_number(in);
		break;
	default:
		return 0;
	}
	memcpy(buf, &v, sizeof(v));
	return sizeof(v);
}

static unsigned put_fds(struct input *in, uint32_t request, int *fds)
{
	uint8_t how = in_u8(in);
	unsigned cnt = 0;

	if (how >= 0x80) { /* any number of any kind */
		for (; cnt < how % 11u; cnt++)
			fds[cnt] = sock_fd(in_u8(in) % KIND_CNT);
		return cnt;
	}
	switch (request) {
	case VU_SET_MEM_TABLE:
		for (; cnt < how % 9u; cnt++)
			fds[cnt] = sock_fd(KIND_MEM + cnt % 2);
		return cnt;
	case VU_SET_INFLIGHT_FD:
	case VU_ADD_MEM_REG:
		fds[cnt++] = sock_fd(how % 8 ? KIND_MEM : how / 8 % KIND_CNT);
		return cnt;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		if (how % 4 != 3)
			fds[cnt++] = sock_fd(how % 4 ? KIND_EVENT
						     : KIND_BLOCKING);
		return cnt;
	case VU_SET_BACKEND_REQ_FD:
		fds[cnt++] = sock_fd(how % 4 ? KIND_SOCKET : KIND_PIPE_WRITE);
		return cnt;
	}
	return 0;
}

void front_message(struct front *f, uint32_t request, uint8_t lie)
{
	unsigned char buf[sizeof(struct vu_header) + 512];
	struct vu_header h = {.request = request, .flags = VU_VERSION};
	int fds[KINDS_MAX];
	size_t len = put_payload(f->in, request, buf + sizeof(h));
	unsigned cnt = put_fds(f->in, request, fds);

	h.size = (uint32_t)len;
	if (lie & 1)
		h.flags |= VU_NEED_REPLY;
	if ((lie & 6) == 6)
		h.flags ^= in_u8(f->in);
	if ((lie & 14) == 10)
		h.size = (uint32_t)in_number(f->in);
	memcpy(buf, &h, sizeof(h));
	len += sizeof(h);
	if ((lie & 14) == 4) { /* in two pieces */
		size_t cut = in_u8(f->in) % len;

		front_send(f, buf, cut, fds, cnt);
		front_send(f, buf + cut, len - cut, fds, cut ? 0 : cnt);
		return;
	}
	front_send(f, buf, len, fds, cnt);
}
