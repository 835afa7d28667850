/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Servers of vfio-user that lie, before the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfuserver.h"

#define TWIN(s)	 "{\"capabilities\":{\"twin_socket\":" s "}}"
#define DEEP	 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
#define DEEP_END "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"

/* ---- lies ---- */

static void refused(struct vfuserver *s)
{
	assert_true(vs_start(s) < 0);
	assert_false(vs_serve(s));
	assert_int_equal(raw_memfd_map_cnt(), 0);
}

/* covers: VFU-DRV-02, VFU-DRV-03, VFU-BTH-07, VFU-BTH-11 */
static void version_that_is_not_ours(void **state)
{
	static const struct {
		uint16_t major, minor;
		const char *json;
	} lies[] = {
	    {1, 0, NULL},
	    {0, VFU_MINOR + 1, NULL},
	    {0, 0, "{\"capabilities\":{\"write_multiple\":true}}"},
	    {0, 0, "{\"capabilities\":{\"max_msg_fds\":}}"},
	    {0, 0, "{\"capabilities\":{"},
	    {0, 0, "{\"capabilities\":{\"max_msg_fds\":8}"},
	    {0, 0, "{\"capabilities\":" DEEP "1" DEEP_END "}"},
	    /* A second socket, which nobody proposed, with no fd for it. */
	    {0, 0, TWIN("{\"supported\":true}")},
	    {0, 0, TWIN("{\"supported\":true,\"fd_index\":0}")},
	    {0, 0, TWIN("{\"supported\":true,\"fd_index\":16}")},
	    {0, 0, TWIN("{\"supported\":true,\"fd_index\":-1}")},
	    {0, 0, TWIN("{\"supported\":false}")},
	    /* Less than a read of the configuration space. */
	    {0, 0, "{\"capabilities\":{\"max_data_xfer_size\":255}}"},
	};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct vfuserver *s;

		vs_set_up((void **)&s);
		s->major = lies[i].major;
		s->minor = lies[i].minor;
		s->json = lies[i].json;
		refused(s);
		vs_tear_down((void **)&s);
	}
	(void)state;
}

/* The NUL counts: what is behind the text is not read. */
static void text_without_its_end(void **state)
{
	struct vfuserver *s = *state;

	s->json_len = strlen(s->json);
	refused(s);
}

static unsigned lie;

static bool bad_reply(struct vfuserver *s)
{
	struct vfu_header h = s->rx.hdr;
	unsigned char bytes[300] = {0};
	uint32_t size[] = {0, 15, 0x80000000};

	if (h.command != VFU_REGION_READ)
		return false;
	h.flags = VFU_TYPE_REPLY;
	memcpy(bytes, s->rx.payload, 16);
	switch (lie) {
	case 0: /* shorter than asked */
		vs_put(s, &h, bytes, 16 + 255, -1);
		break;
	case 1: /* longer */
		vs_put(s, &h, bytes, 16 + 257, -1);
		break;
	case 2: /* another command's */
		h.command = VFU_REGION_WRITE;
		vs_put(s, &h, bytes, 16 + 256, -1);
		break;
	case 3: /* another id */
		h.id++;
		vs_put(s, &h, bytes, 16 + 256, -1);
		break;
	case 4: /* of another place */
		bytes[0]++;
		vs_put(s, &h, bytes, 16 + 256, -1);
		break;
	case 5: /* an error with bytes */
		h.flags |= VFU_ERROR;
		vs_put(s, &h, bytes, 16, -1);
		break;
	case 6: /* an unknown type */
		h.flags = 3;
		vs_put(s, &h, bytes, 16, -1);
		break;
	default: /* sizes */
		h.size = size[lie - 7];
		assert_int_equal(write(s->sock, &h, sizeof(h)), sizeof(h));
	}
	return true;
}

/* covers: VFU-BTH-05 */
static void replies_that_lie_end_the_connection(void **state)
{
	for (lie = 0; lie < 10; lie++) {
		struct vfuserver *s;

		vs_set_up((void **)&s);
		s->hook = bad_reply;
		refused(s);
		vs_tear_down((void **)&s);
	}
	(void)state;
}

static bool bad_unmap(struct vfuserver *s)
{
	struct vfu_dma_unmap u;

	if (s->rx.hdr.command != VFU_DMA_UNMAP)
		return false;
	memcpy(&u, s->rx.payload, sizeof(u));
	if (lie == 0)
		u.address += 4096;
	if (lie == 1)
		u.size -= 4096;
	if (lie == 2)
		u.size = 0;
	vs_answer(s, &u, sizeof(u));
	return true;
}

/* Who knows what such a server still has. */
static void unmap_of_something_else_ends_the_connection(void **state)
{
	for (lie = 0; lie < 3; lie++) {
		struct virtiofs_client_info info = {.size = sizeof(info)};
		struct virtiofs_region mem;
		struct vfuserver *s;

		vs_set_up((void **)&s);
		assert_int_equal(vs_start(s), 0);
		vs_begin_serving(s);
		assert_int_equal(virtiofs_client_alloc_region(s->c, 8192, &mem),
				 0);
		vs_end_serving(s);
		s->hook = bad_unmap;
		vs_begin_serving(s);
		/* It's gone, and with it what it had. */
		assert_int_equal(virtiofs_client_unmap_region(s->c, &mem), 0);
		vs_end_serving(s);
		assert_int_equal(virtiofs_client_get_info(s->c, &info),
				 -ENOTCONN);
		assert_false(vs_serve(s));
		vs_tear_down((void **)&s);
	}
	(void)state;
}

/* Regions with capabilities: chains that loop or lie, areas beyond the region,
 * fds that nobody wanted. Nothing of the server's is mapped, so none of them
 * matters, and no fd stays. */
static bool bad_regions(struct vfuserver *s)
{
	static const uint32_t at[] = {32, 1, 0xfffffffc, 4096, 48};
	struct {
		struct vfu_region_info i;
		struct vfu_sparse_mmap m;
		struct vfu_sparse_area a[2];
	} out = {.m = {.nr_areas = 0x10000000}};
	int fd;

	if (s->rx.hdr.command != VFU_GET_REGION_INFO)
		return false;
	memcpy(&out.i, s->rx.payload, sizeof(out.i));
	out.i.argsz = lie == 5 ? UINT32_MAX : sizeof(out);
	out.i.flags = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE |
		      VFU_REGION_FLAG_MMAP | VFU_REGION_FLAG_CAPS;
	out.i.cap_offset = at[lie % 5];
	out.i.size = out.i.index == VFU_REGION_CONFIG ? VTFS_PCI_CFG_LEN
		     : out.i.index < VTFS_PCI_BARS ? s->f.bar_len[out.i.index]
						   : 0;
	out.m.cap.id = lie & 1 ? VFU_CAP_SPARSE_MMAP : VFU_CAP_SPARSE_MMAP_FDS;
	out.m.cap.next = 32;
	out.a[0] = (struct vfu_sparse_area){UINT64_MAX - 4095, 8192};
	out.a[1] = (struct vfu_sparse_area){0, UINT64_MAX};
	fd = memfd_create("region", MFD_CLOEXEC);
	vs_answer_fd(s, &out, sizeof(out), fd);
	close(fd);
	s->hook_cnt++;
	return true;
}

/* covers: VFU-DRV-07 */
static void capabilities_of_regions_are_no_way_in(void **state)
{
	for (lie = 0; lie < 6; lie++) {
		struct vfuserver *s;
		unsigned maps;

		vs_set_up((void **)&s);
		maps = raw_memfd_map_cnt();
		s->hook = bad_regions;
		assert_int_equal(vs_start(s), 0);
		assert_true(s->hook_cnt >= 7);
		/* The client's own memory. */
		assert_int_equal(raw_memfd_map_cnt(), maps + 1);
		assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q),
				 0);
		vs_one_request(s);
		vs_tear_down((void **)&s);
	}
	(void)state;
}

static void no_more_pieces_than_the_server_takes(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_region mem[3];
	unsigned own, n = 0;

	s->json = "{\"capabilities\":{\"max_dma_maps\":3}}";
	assert_int_equal(vs_start(s), 0);
	own = vs_count(s, VFU_DMA_MAP);
	vs_begin_serving(s);
	while (n < 3 && !virtiofs_client_alloc_region(s->c, 4096, &mem[n]))
		n++;
	vs_end_serving(s);
	assert_int_equal(own + n, 3);
	assert_int_equal(vs_count(s, VFU_DMA_MAP), 3);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, vs_set_up, vs_tear_down)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(version_that_is_not_ours),
	    T(text_without_its_end),
	    cmocka_unit_test(replies_that_lie_end_the_connection),
	    cmocka_unit_test(unmap_of_something_else_ends_the_connection),
	    cmocka_unit_test(capabilities_of_regions_are_no_way_in),
	    T(no_more_pieces_than_the_server_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
