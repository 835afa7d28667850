/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A vfio-user client that lies about its messages: the connection ends, or an
 * error is the answer, and the next client is served. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vfuhost.h"

#define T(f) cmocka_unit_test_setup_teardown(f, vh_set_up, vh_tear_down)

static void still_works(struct vfuhost *h)
{
	assert_true(vh_closed(h));
	vh_dial(h);
	vh_version(h, NULL);
	assert_int_equal(vh_status(h), 0);
}

/* covers: VFU-BTH-05 */
static void size_of_a_message_is_impossible(void **state)
{
	static const uint32_t sizes[] = {0,	   1,	     15,
					 1u << 21, 1u << 31, UINT32_MAX};
	struct vfuhost *h = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct vfu_header hdr = {1, VFU_GET_INFO, sizes[i], 0, 0};

		vh_bytes(h, &hdr, sizeof(hdr), NULL, 0);
		vh_pump(h);
		still_works(h);
	}
}

/* covers: VFU-BTH-05 */
static void size_does_not_fit_the_command(void **state)
{
	struct vfuhost *h = *state;
	unsigned char zeros[512] = {0};

	for (uint16_t c = 2; c < 24; c++) {
		for (size_t len = 0; len < 400; len += 7) {
			if (c == VFU_RESET && !len)
				continue;
			assert_int_not_equal(vh_ask(h, c, zeros, len, NULL), 0);
		}
	}
	assert_int_equal(vh_status(h), 0);
}

/* Before VERSION there is only VERSION, and that is short. */
static void long_message_before_version(void **state)
{
	struct vfu_header hdr = {1, VFU_VERSION, 8192, 0, 0};
	struct vfuhost *h = *state;

	vh_dial(h);
	vh_bytes(h, &hdr, sizeof(hdr), NULL, 0);
	vh_pump(h);
	still_works(h);
}

static void reply_that_nobody_asked_for(void **state)
{
	struct vfuhost *h = *state;

	vh_send(h, VFU_DMA_READ, VFU_TYPE_REPLY, NULL, 0);
	vh_pump(h);
	still_works(h);
	vh_send(h, VFU_GET_INFO, 7, NULL, 0);
	vh_pump(h);
	still_works(h);
}

static void hang_up_in_the_middle(void **state)
{
	struct vfu_header hdr = {1, VFU_REGION_WRITE, 4096, 0, 0};
	struct vfuhost *h = *state;

	for (size_t len = 1; len <= sizeof(hdr); len++) {
		vh_bytes(h, &hdr, len, NULL, 0);
		vh_dial(h);
		vh_version(h, NULL);
		assert_int_equal(vh_status(h), 0);
	}
}

static void more_data_than_was_agreed(void **state)
{
	static unsigned char big[(1 << 20) + 64];
	struct vfuhost *h = *state;
	struct vfu_region_io io = {0, 0, (1 << 20) + 1};

	assert_int_equal(vh_ask(h, VFU_REGION_READ, &io, sizeof(io), NULL),
			 EINVAL);
	io.count = UINT32_MAX;
	assert_int_equal(vh_ask(h, VFU_REGION_READ, &io, sizeof(io), NULL),
			 EINVAL);
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE, &io, sizeof(io), NULL),
			 EINVAL);
	io.count = 64;
	memcpy(big, &io, sizeof(io));
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE, big, 16 + 63, NULL),
			 EINVAL);
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE, big, 16 + 65, NULL),
			 EINVAL);
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE, big, 16 + 64, NULL), 0);
}

static void fds_with_what_has_none(void **state)
{
	struct vfu_device_info info = {.argsz = 16};
	struct vfuhost *h = *state;
	unsigned before = raw_fd_cnt();
	struct vfu_answer a;
	int fds[40];

	for (unsigned i = 0; i < 40; i++)
		fds[i] = h->sock;
	vh_send_fds(h, VFU_GET_INFO, &info, sizeof(info), fds, 1);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.error, EINVAL);
	assert_int_equal(raw_fd_cnt(), before);
	vh_send_fds(h, VFU_GET_INFO, &info, sizeof(info), fds, 17);
	vh_pump(h);
	still_works(h);
	assert_int_equal(raw_fd_cnt(), before);
	vh_send_fds(h, VFU_GET_INFO, &info, sizeof(info), fds, 40);
	vh_pump(h);
	still_works(h);
	assert_int_equal(raw_fd_cnt(), before);
}

static void two_fds_for_one_memory(void **state)
{
	const struct vfu_dma_map m = {32, 3, 0, 0, 0x1000};
	struct vfuhost *h = *state;
	int fds[2] = {vh_memfd(0x1000), vh_memfd(0x1000)};
	unsigned before = raw_fd_cnt();
	struct vfu_answer a;

	vh_send_fds(h, VFU_DMA_MAP, &m, sizeof(m), fds, 2);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.error, EINVAL);
	assert_int_equal(raw_fd_cnt(), before);
	assert_null(h->rec.table);
	close(fds[0]);
	close(fds[1]);
}

static void file_is_shorter_than_the_memory(void **state)
{
	struct vfuhost *h = *state;
	int fd = vh_memfd(0x2000);

	assert_int_equal(vh_map(h, 0, 0x3000, 3, fd), EINVAL);
	assert_int_equal(vh_map(h, 0, 0x2000, 3, fd), 0);
	/* Cut afterwards: the page is a fault of memory, which the session
	 * answers; the transport lets go of it like of any other. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(vh_unmap(h, 0, 0x2000), 0);
	close(fd);
}

/* Any bytes behind a good header. */
static void payloads_of_noise(void **state)
{
	struct vfuhost *h = *state;
	uint32_t seed = 7;

	for (int i = 0; i < 3000; i++) {
		unsigned char buf[64];
		uint16_t c;

		for (unsigned j = 0; j < sizeof(buf); j++) {
			seed = seed * 1664525 + 1013904223;
			buf[j] = (seed >> 24) & (seed >> 16 & 1 ? 3 : 255);
		}
		c = (uint16_t)(2 + (seed >> 20) % 17);
		vh_ask(h, c, buf, 8 + (seed >> 9) % 48, NULL);
		h->rec.text[0] = '\0';
	}
	vh_dial(h);
	vh_version(h, NULL);
	vh_up(h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(size_of_a_message_is_impossible),
	    T(size_does_not_fit_the_command),
	    T(long_message_before_version),
	    T(reply_that_nobody_asked_for),
	    T(hang_up_in_the_middle),
	    T(more_data_than_was_agreed),
	    T(fds_with_what_has_none),
	    T(two_fds_for_one_memory),
	    T(file_is_shorter_than_the_memory),
	    T(payloads_of_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
