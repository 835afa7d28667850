/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

#include "front.h"
#include "transport/virtio_pci/function.h"
#include "wire/vfio_user.h"

void command_add(struct command *c, const void *p, size_t len)
{
	must(c->len + len <= COMMAND_MAX);
	memcpy(c->payload + c->len, p, len);
	c->len += len;
}

static void put_version(struct input *in, struct command *c)
{
	static const char *const words[] = {
	    "{",
	    "}",
	    "[",
	    "]",
	    ":",
	    ",",
	    "\"capabilities\"",
	    "\"max_msg_fds\"",
	    "\"max_data_xfer_size\"",
	    "\"max_dma_maps\"",
	    "\"pgsizes\"",
	    "\"write_multiple\"",
	    "true",
	    "null",
	    "-1",
	    "18446744073709551616",
	    "1e9",
	    "\"\\u0000\"",
	    "\"\\",
	    " ",
	    "4096",
	    "{\"capabilities\":{",
	};
	const struct vfu_version v = {in_u8(in) % 16 == 15, in_u8(in)};
	unsigned cnt = in_u8(in) % 20;

	command_add(c, &v, sizeof(v));
	for (unsigned i = 0; i < cnt; i++) {
		const char *w =
		    words[in_u8(in) % (sizeof(words) / sizeof(words[0]))];

		command_add(c, w, strlen(w));
	}
	if (in_u8(in) % 8)
		command_add(c, "", 1);
}

static void put_map(struct input *in, struct command *c, uint32_t size)
{
	uint8_t lie = in_u8(in);
	struct vfu_dma_map m = {
	    .argsz = lie & 1 ? in_u8(in) : size,
	    .flags = lie & 2 ? in_u8(in) : 3,
	    .address = FRONT_GUEST + (lie >> 5) * KIND_LEN,
	    .size = KIND_LEN,
	};

	if (lie & 4)
		m.address = in_number(in) * 0x1000u;
	if (lie & 8)
		m.size = in_number(in) * 0x800u;
	if (lie & 16)
		m.offset = in_number(in) * 0x800u;
	if (c->number == VFU_DMA_MAP) {
		command_add(c, &m, sizeof(m));
		c->fds[c->fd_cnt++] = sock_fd(KIND_MEM + lie % 2);
	} else {
		command_add(c, &m, 8);
		command_add(c, &m.address, 16);
	}
}

static void put_irqs(struct input *in, struct command *c)
{
	uint8_t lie = in_u8(in);
	struct vfu_irq_set s = {
	    .argsz = sizeof(s),
	    .flags = in_u8(in),
	    .index = lie % 8,
	    .start = in_u8(in) % 8,
	    .count = in_u8(in) % 8,
	};

	if (lie & 64)
		s.start = (uint32_t)in_number(in);
	if (lie & 128)
		s.count = (uint32_t)in_number(in);
	if (s.flags & VFU_IRQ_DATA_EVENTFD)
		while (c->fd_cnt < s.count && c->fd_cnt < 8)
			c->fds[c->fd_cnt++] = sock_fd(lie & 32 ? KIND_EVENT
							       : KIND_BLOCKING);
	command_add(c, &s, sizeof(s));
	for (unsigned i = 0;
	     s.flags & VFU_IRQ_DATA_BOOL && i < s.count && i < 8; i++)
		command_add(c, &lie, 1);
}

/* Anywhere, and more often where something is. */
static void get_place(struct input *in, uint32_t *ret_region,
		      uint64_t *ret_offset)
{
	uint8_t kind = in_u8(in);

	*ret_offset = in_u8(in) % 64;
	switch (kind % 8) {
	case 0:
	case 1:
	case 2: /* common structure */
		*ret_region = 0;
		return;
	case 3: /* doorbells, ISR, device */
		*ret_region = 0;
		*ret_offset += kind & 8 ? VTFS_PCIFN_NOTIFY : VTFS_PCIFN_ISR;
		return;
	case 4: /* MSI-X */
		*ret_region = 2;
		*ret_offset += kind & 8 ? VTFS_PCIFN_PBA : 0;
		return;
	case 5:
		*ret_region = VFU_REGION_CONFIG;
		return;
	case 6: /* capabilities */
		*ret_region = VFU_REGION_CONFIG;
		*ret_offset += VTFS_PCIFN_CAP_MSIX + (kind >> 6) * 16u;
		return;
	}
	*ret_region = kind / 8;
	*ret_offset = in_number(in);
}

static void put_io(struct input *in, struct command *c)
{
	struct vfu_region_io io = {.count = 1u << in_u8(in) % 4};
	uint8_t lie = in_u8(in);
	unsigned char data[64];

	get_place(in, &io.region, &io.offset);
	if (lie >= 0xe0)
		io.count = (uint32_t)in_number(in);
	command_add(c, &io, sizeof(io));
	if (c->number == VFU_REGION_READ)
		return;
	in_bytes(in, data, sizeof(data) / 8 * (1 + lie % 8u));
	command_add(c, data, io.count < sizeof(data) ? io.count : lie % 8u);
}

static void put_writes(struct input *in, struct command *c)
{
	struct vfu_region_wr wr = {0};
	uint64_t cnt = in_u8(in) % 16;
	uint64_t said = in_u8(in) % 16 == 15 ? in_number(in) : cnt;

	command_add(c, &said, sizeof(said));
	for (unsigned i = 0; i < cnt; i++) {
		get_place(in, &wr.region, &wr.offset);
		wr.count = 1u << in_u8(in) % 5;
		in_bytes(in, wr.data, sizeof(wr.data));
		command_add(c, &wr, sizeof(wr));
	}
}

static void put_words(struct input *in, struct command *c, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		uint32_t x = (uint32_t)in_number(in);

		command_add(c, &x, sizeof(x));
	}
}

void command_put(struct input *in, struct command *c)
{
	switch (c->number) {
	case VFU_VERSION:
		put_version(in, c);
		break;
	case VFU_DMA_MAP:
		put_map(in, c, sizeof(struct vfu_dma_map));
		break;
	case VFU_DMA_UNMAP:
		put_map(in, c, sizeof(struct vfu_dma_unmap));
		break;
	case VFU_SET_IRQS:
		put_irqs(in, c);
		break;
	case VFU_REGION_READ:
	case VFU_REGION_WRITE:
		put_io(in, c);
		break;
	case VFU_REGION_WRITE_MULTI:
		put_writes(in, c);
		break;
	case VFU_GET_REGION_INFO:
		put_words(in, c, 8);
		break;
	case VFU_GET_INFO:
	case VFU_GET_REGION_IO_FDS:
	case VFU_GET_IRQ_INFO:
		put_words(in, c, 4);
		break;
	case VFU_FEATURE:
		put_words(in, c, 2);
		break;
	}
}
