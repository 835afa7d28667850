/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device end of the vDPA bus: its life in the kernel, messages, queues. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "leaks.h"
#include "vdusefix.h"
#include "vq/vq.h"
#include "wire/fs.h"

#define PLAIN  (VIRTIOFS_F_VERSION_1 | VTFS_F_ACCESS_PLATFORM)
#define PACKED (PLAIN | VIRTIOFS_F_RING_PACKED)

static bool readable(void)
{
	struct pollfd p = {.fd = vf.t->fd(vf.t), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void get_state(uint32_t vq)
{
	const struct vduse_dev_request req = {.type = VDUSE_GET_VQ_STATE,
					      .vq_state.index = vq};

	vf_send(&req);
}

/* ---- life ---- */

static void the_device_is_made_as_the_session_is(void **state)
{
	assert_int_equal(vf_attach(), 0);
	assert_int_equal(vf.creates, 1);
	assert_string_equal(vf.created.name, "fake0");
	assert_int_equal(vf.created.device_id, VTFS_FS_DEVICE_ID);
	assert_int_equal(vf.created.features,
			 REC_OFFERED | VTFS_F_ACCESS_PLATFORM);
	assert_int_equal(vf.created.vq_num, REC_QUEUES);
	assert_int_equal(vf.created.vq_align & (vf.created.vq_align - 1), 0);
	assert_in_range(vf.created.vq_align, 4, 4096);
	assert_int_equal(vf.created.config_size, 40);
	assert_string_equal(vf.config, "recorder");
	assert_int_equal(vf.config[36], REC_QUEUES - 1);
	for (unsigned i = 0; i < REC_QUEUES; i++)
		assert_int_equal(vf.max_size[i], REC_QUEUE_MAX);
	assert_int_equal(vf.t->dev->dispatch(vf.t), 0);
	assert_false(readable());
	rec_fini(&vf.rec);
	vf.t = NULL;
	assert_int_equal(vf.destroys, 1);
}

static void one_queue_is_never_reset_alone(void **state)
{
	assert_int_equal(virtiofs_transport_open_device(&vf.t, "vduse:fake0"),
			 0);
	rec_prepare(&vf.rec, vf.t);
	vf.rec.offered |= VIRTIOFS_F_RING_RESET;
	assert_int_equal(vf.t->dev->attach(vf.t, &vf.rec.sink), 0);
	assert_false(vf.created.features & VIRTIOFS_F_RING_RESET);
}

static void a_device_without_a_tag_is_refused(void **state)
{
	assert_int_equal(virtiofs_transport_open_device(&vf.t, "vduse:fake0"),
			 0);
	rec_prepare(&vf.rec, vf.t);
	memset(vf.rec.config, 0, sizeof(vf.rec.config));
	assert_int_equal(vf.t->dev->attach(vf.t, &vf.rec.sink), -EINVAL);
	assert_int_equal(vf.creates, 0);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const names[] = {"",	  ".",	     "..",     "a/b",
					    "/x", "../null", "control"};
	char longest[VDUSE_NAME_MAX + 7] = "vduse:";
	char uri[64];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(uri, sizeof(uri), "vduse:%s", names[i]);
		assert_int_equal(virtiofs_transport_open_device(&vf.t, uri),
				 -EINVAL);
	}
	memset(longest + 6, 'x', VDUSE_NAME_MAX);
	assert_int_equal(virtiofs_transport_open_device(&vf.t, longest),
			 -EINVAL);
	assert_int_equal(virtiofs_transport_open_client(&vf.t, "vduse:fake0"),
			 -EINVAL);
	vf.t = NULL;
}

static void a_device_that_nobody_uses_is_made_anew(void **state)
{
	vf.exists = true;
	assert_int_equal(vf_attach(), 0);
	assert_int_equal(vf.destroys, 1);
	assert_int_equal(vf.creates, 1);
}

static void a_device_on_the_bus_is_taken_over(void **state)
{
	vf.exists = vf.on_bus = true;
	assert_int_equal(vf_attach(), 0);
	assert_int_equal(vf.creates, 0);
	assert_string_equal(vf.config, "recorder");
	/* its driver has not begun */
	vf_dispatch(1);
	assert_string_equal(vf.rec.text, "");
	rec_fini(&vf.rec);
	vf.t = NULL;
	assert_int_equal(vf.destroys, 0);
}

static void a_device_that_cannot_be_taken_over_says_why(void **state)
{
	vf.exists = vf.on_bus = true;
	fk.open_errno = EBUSY;
	assert_int_equal(vf_attach(), -EADDRINUSE);
	virtiofs_transport_free(vf.t);
	fk.open_errno = 0;
	vf.gave_up = true;
	assert_int_equal(vf_attach(), -ENOTCONN);
	assert_non_null(strstr(virtiofs_last_error(), "vdpa dev del"));
	virtiofs_transport_free(vf.t);
	vf.gave_up = false;
	assert_int_equal(virtiofs_transport_open_device(&vf.t, "vduse:fake0"),
			 0);
	for (unsigned cnt = 2; cnt <= 4; cnt += 2) {
		rec_prepare(&vf.rec, vf.t);
		vf.rec.queue_cnt = cnt;
		assert_int_equal(vf.t->dev->attach(vf.t, &vf.rec.sink),
				 -EINVAL);
		virtiofs_transport_free(vf.t);
		assert_int_equal(
		    virtiofs_transport_open_device(&vf.t, "vduse:fake0"), 0);
	}
	virtiofs_transport_free(vf.t);
	vf.exists = false;
	vf.create_errno = EPERM;
	assert_int_equal(vf_attach(), -EPERM);
	assert_int_equal(vf.destroys, 0);
}

static void a_device_that_the_kernel_gave_up_ends(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_status(3);
	/* an unread answer makes the other end's close an error */
	close(fk.ours);
	fk.ours = -1;
	assert_int_equal(vf.t->dev->dispatch(vf.t), -ENOTCONN);
	assert_non_null(strstr(virtiofs_last_error(), "gave this device up"));
}

/* ---- features and status ---- */

static void bad_choices_are_refused(void **state)
{
	static const uint64_t bad[] = {
	    0,
	    VIRTIOFS_F_VERSION_1,
	    VTFS_F_ACCESS_PLATFORM,
	    PLAIN | 1ULL << 60,
	    PLAIN | VIRTIOFS_F_RING_RESET,
	};

	assert_int_equal(vf_attach(), 0);
	vf_status(3);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vf.features = bad[i];
		vf_status(11);
		assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
		assert_string_equal(vf.rec.text, "");
	}
	vf.features = PLAIN;
	vf_status(11);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_string_equal(vf.rec.text, "accept 300000000;");
}

static void status_jumps_are_refused(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_rings(PLAIN);
	vf_status(7); /* DRIVER_OK without FEATURES_OK */
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
	vf_status(11);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	vf_status(3); /* a bit goes without a reset */
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
	vf.driver_ok = true;
	vf_dispatch(2);
	assert_false(vf.rec.started[0]);
	vf_status(15);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_true(vf.rec.started[0]);
}

static void unknown_messages_are_refused(void **state)
{
	struct vduse_dev_request req = {.type = 3};

	assert_int_equal(vf_attach(), 0);
	vf_send(&req);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
	req.type = UINT32_MAX;
	vf_send(&req);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
	/* half a message is none */
	assert_int_equal(send(fk.ours, &req, 20, 0), 20);
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), -1);
	vf_status(3);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
}

static void a_reset_waits_for_the_session(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	vf.rec.hold = true;
	rec_clear(&vf.rec);
	vf_status(0);
	vf_dispatch(2);
	assert_string_equal(vf.rec.text, "reset;");
	assert_int_equal(vf_answer(NULL), -1);
	assert_int_equal(raw_memfd_map_cnt() > 0, 1);
	rec_answer_reset(&vf.rec);
	vf_dispatch(1);
	assert_string_equal(vf.rec.text, "reset;table 0;");
	assert_int_equal(vf_answer(NULL), -1);
	rec_answer_table(&vf.rec);
	assert_true(readable());
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	/* and all over again, with other features */
	vf.rec.hold = false;
	vf.driver_ok = false;
	vf.map_cnt = 0;
	vf_run(PACKED);
	assert_int_equal(vf.rec.features, PACKED);
}

static void messages_wait_for_their_turn(void **state)
{
	struct vduse_dev_request req = {.type = VDUSE_SET_STATUS};

	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	vf.rec.hold = true;
	vf_status(0);
	req.s.status = 3;
	req.request_id = 77;
	assert_int_equal(send(fk.ours, &req, sizeof(req), 0), sizeof(req));
	vf_dispatch(1);
	assert_false(readable()); /* or the caller's loop would spin */
	rec_answer_reset(&vf.rec);
	vf_dispatch(1);
	vf.rec.hold = false;
	rec_answer_table(&vf.rec);
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	vf.next_id = 77;
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
}

static void a_driver_that_gave_up_is_not_served(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	vf_status(15 | VTFS_STATUS_FAILED);
	vf_dispatch(2);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_false(vf.rec.started[0]);
	assert_int_equal(vf.rec.resets, 1);
	vf_status(15); /* only a reset helps */
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
	vf_status(0);
	vf_dispatch(2);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	vf.driver_ok = false;
	vf.map_cnt = 0;
	vf_run(PLAIN);
}

/* ---- queues ---- */

static void queues_start_when_interrupts_are_taken(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_rings(PLAIN);
	vf.info[1].ready = 0;
	vf.info[2].split.avail_index = 1234;
	vf_status(11);
	assert_int_equal(vf_answer(NULL), 0);
	vf_status(15);
	assert_int_equal(vf_answer(NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_false(vf.rec.started[0]);
		poll(&(struct pollfd){vf.t->fd(vf.t), POLLIN, 0}, 1, 1000);
		vf_dispatch(1);
	}
	vf.driver_ok = true;
	assert_int_equal(
	    poll(&(struct pollfd){vf.t->fd(vf.t), POLLIN, 0}, 1, 1000), 1);
	vf_dispatch(1);
	assert_true(vf.rec.started[0]);
	assert_false(vf.rec.started[1]);
	assert_true(vf.rec.started[2]);
	assert_int_equal(vf.rec.setup[0].num, 64);
	assert_int_equal(vf.rec.setup[0].desc, 0x100000);
	assert_true(vf.rec.setup[0].call_ioctl == VDUSE_VQ_INJECT_IRQ);
	assert_int_equal(vf.rec.setup[2].avail_base, 1234);
	assert_int_equal(vf.kick[2], vf.rec.setup[2].kick_fd);
	assert_true(vf.rec.table->mapped);
	vf_dispatch(1);
	assert_false(readable()); /* the timer has done its duty */
}

static void a_packed_ring_begins_where_the_driver_says(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_run(PACKED);
	assert_int_equal(vf.rec.setup[0].avail_base, 0x8000);
	assert_int_equal(vf.rec.setup[2].avail_base, 0x8002);
	assert_int_equal(vf.rec.setup[2].used_base, 0x8002);
}

static void a_queue_that_cannot_run_leaves_the_others(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_rings(PLAIN);
	vf.driver_ok = true;
	for (int how = 0; how < 4; how++) {
		vf_status(11);
		assert_int_equal(vf_answer(NULL), 0);
		vf.info[1].num = how == 0 ? 100 : how == 1 ? 2048 : 64;
		vf.info[1].desc_addr = how == 2 ? 0x110008 : 0x110000;
		vf.info[1].device_addr = how == 3 ? UINT64_MAX - 3 : 0x118000;
		vf_status(15);
		assert_int_equal(vf_answer(NULL), 0);
		assert_true(vf.rec.started[0]);
		assert_false(vf.rec.started[1]);
		assert_true(vf.rec.started[2]);
		assert_non_null(strstr(vf.rec.logged, "queue 1"));
		vf_status(0);
		vf_dispatch(2);
		assert_int_equal(vf_answer(NULL), 0);
		rec_clear(&vf.rec);
	}
}

static void state_of_a_running_queue_is_exact(void **state)
{
	struct vduse_dev_response a;

	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	vf.rec.hold = true;
	rec_clear(&vf.rec);
	get_state(1);
	assert_int_equal(vf_answer(NULL), -1);
	rec_answer_stop(&vf.rec, 99, 99);
	vf_dispatch(1);
	assert_int_equal(vf_answer(&a), 0);
	assert_int_equal(a.vq_state.index, 1);
	assert_int_equal(a.vq_state.split.avail_index, 99);
	/* and it goes on from there */
	assert_string_equal(vf.rec.text, "stop 1;start 1 1;");
	assert_int_equal(vf.rec.setup[1].avail_base, 99);
}

static void state_of_a_packed_queue_has_both_places(void **state)
{
	struct vduse_dev_response a;

	assert_int_equal(vf_attach(), 0);
	vf_run(PACKED);
	vf.rec.hold = true;
	get_state(2);
	rec_answer_stop(&vf.rec, 0x8005, 0x0003);
	vf_dispatch(1);
	assert_int_equal(vf_answer(&a), 0);
	assert_int_equal(a.vq_state.packed.last_avail_idx, 5);
	assert_int_equal(a.vq_state.packed.last_avail_counter, 1);
	assert_int_equal(a.vq_state.packed.last_used_idx, 3);
	assert_int_equal(a.vq_state.packed.last_used_counter, 0);
	assert_int_equal(vf.rec.setup[2].avail_base, 0x8005);
	assert_int_equal(vf.rec.setup[2].used_base, 0x0003);
}

static void state_of_a_queue_that_never_ran_is_the_driver_s(void **state)
{
	struct vduse_dev_response a;

	assert_int_equal(vf_attach(), 0);
	vf.info[1].split.avail_index = 42;
	get_state(1);
	assert_int_equal(vf_answer(&a), 0);
	assert_int_equal(a.vq_state.split.avail_index, 42);
	assert_string_equal(vf.rec.text, "");
	get_state(3);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
	get_state(UINT32_MAX);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
}

static void an_answer_that_nobody_awaits_changes_nothing(void **state)
{
	assert_int_equal(vf_attach(), 0);
	vf_rings(PLAIN);
	vf_status(11);
	assert_int_equal(vf_answer(NULL), 0);
	signal(SIGPIPE, SIG_IGN);
	shutdown(fk.ours, SHUT_RD);
	vf.driver_ok = true;
	vf_status(15);
	vf_dispatch(2);
	assert_false(vf.rec.started[0]);
}

/* ---- after the death of another server ---- */

static unsigned char *ring_memory(void)
{
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED,
		       vf.memfd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void resume(uint64_t features)
{
	vf.exists = vf.on_bus = vf.driver_ok = true;
	vf_rings(features);
	assert_int_equal(vf_attach(), 0);
	assert_true(readable());
	vf_dispatch(1);
}

static void a_split_ring_goes_on_at_its_used_index(void **state)
{
	unsigned char *p = ring_memory();

	*(uint16_t *)(p + 0x18000 + 2) = 4711;
	munmap(p, 1 << 20);
	resume(PLAIN);
	assert_true(vf.rec.started[0]);
	assert_int_equal(vf.rec.setup[1].avail_base, 4711);
	assert_int_equal(vf.rec.features, PLAIN);
	/* the driver is made to look at what it was not told of */
	for (unsigned i = 0; i < VF_VQS; i++)
		assert_true(vf.irqs[i] > 0);
	/* and after a reset nothing of it is believed */
	vf_status(0);
	vf_dispatch(2);
	assert_int_equal(vf_answer(NULL), 0);
	vf.map_cnt = 0;
	vf_run(PLAIN);
	assert_int_equal(vf.rec.setup[1].avail_base, 0);
}

/* What this process had in flight, head 5 and 9 of queue 1, goes to the next
 * one as long as the ring is the same. */
static void what_is_in_flight_outlives_the_process(void **state)
{
	char dir[] = "/tmp/virtiofs-test-XXXXXX", file[64];
	struct vtfs_vq_record *rec;

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/virtiofs-vduse-fake0", dir);
	fk.run = dir;
	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	rec = vf.rec.setup[1].record;
	assert_non_null(rec);
	rec->live = 1;
	rec->next = 77;
	rec->held[5] = rec->held[9] = 1;
	vf.on_bus = true;
	rec_fini(&vf.rec);
	assert_int_equal(access(file, F_OK), 0);

	vf.map_cnt = 0;
	resume(PLAIN);
	rec = vf.rec.setup[1].record;
	assert_non_null(rec);
	assert_int_equal(rec->live, 1);
	assert_int_equal(rec->next, 77);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(rec->held[i], i == 5 || i == 9);
	assert_int_equal(vf.rec.setup[0].record->held[5], 0);
	/* A reset ends what was in flight. */
	vf_status(0);
	vf_dispatch(2);
	assert_int_equal(vf_answer(NULL), 0);
	assert_int_equal(rec->live, 0);
	assert_int_equal(rec->held[5], 0);
	vf.map_cnt = 0;
	vf_run(PLAIN);
	rec = vf.rec.setup[1].record;
	assert_int_equal(rec->live, 0);
	assert_int_equal(rec->held[5], 0);
	rec->held[3] = 1;
	rec_fini(&vf.rec);

	/* Another ring: nothing is believed. */
	vf.map_cnt = 0;
	vf_rings(PLAIN);
	vf.info[1].driver_addr += 64;
	assert_int_equal(vf_attach(), 0);
	vf_dispatch(1);
	assert_true(vf.rec.started[1]);
	assert_null(vf.rec.setup[1].record);
	assert_non_null(vf.rec.setup[2].record);

	/* It goes with the device. */
	vf.on_bus = false;
	rec_fini(&vf.rec);
	vf.t = NULL;
	assert_int_equal(rmdir(dir), 0);
}

/* Packed rings lose their descriptors; and what can't be written down is not.
 */
static void without_a_record_the_ring_goes_on_as_it_can(void **state)
{
	char dir[] = "/tmp/virtiofs-test-XXXXXX";

	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	assert_null(vf.rec.setup[1].record);
	rec_fini(&vf.rec);
	assert_non_null(mkdtemp(dir));
	fk.run = dir;
	vf.map_cnt = 0;
	vf.exists = vf.driver_ok = false;
	assert_int_equal(vf_attach(), 0);
	vf_run(PACKED);
	assert_null(vf.rec.setup[1].record);
	rec_fini(&vf.rec);
	vf.t = NULL;
	assert_int_equal(rmdir(dir), 0);
}

static void a_packed_ring_goes_on_where_its_driver_waits(void **state)
{
	unsigned char *p = ring_memory();
	uint16_t *flags = (uint16_t *)(p + 0x10000 + 7 * 16 + 14);

	*(uint16_t *)(p + 0x14000) = 0x8007;
	*flags = 1 << 7 | 1 << 15; /* used, and not looked at yet */
	resume(PACKED | VIRTIOFS_F_EVENT_IDX);
	/* nobody used this one */
	assert_true(vf.rec.started[0]);
	assert_int_equal(vf.rec.setup[0].avail_base, 0x8000);
	assert_false(vf.rec.started[1]);
	*(uint16_t *)(p + 0x14000) = 0x8008;
	poll(&(struct pollfd){vf.t->fd(vf.t), POLLIN, 0}, 1, 1000);
	vf_dispatch(1);
	assert_true(vf.rec.started[1]);
	assert_int_equal(vf.rec.setup[1].avail_base, 0x8008);
	assert_int_equal(vf.rec.setup[1].used_base, 0x8008);
	munmap(p, 1 << 20);
}

static void a_packed_ring_without_a_word_of_it_waits_for_a_reset(void **state)
{
	unsigned char *p = ring_memory();

	*(uint16_t *)(p + 0x24000) = 64; /* beyond the ring */
	munmap(p, 1 << 20);
	resume(PACKED | VIRTIOFS_F_EVENT_IDX);
	assert_true(vf.rec.started[1]);
	assert_false(vf.rec.started[2]);
	rec_fini(&vf.rec);
	vf.map_cnt = 0;
	resume(PACKED);
	assert_false(vf.rec.started[0]);
	assert_non_null(strstr(vf.rec.logged, "until the driver resets"));
	vf_dispatch(3);
	assert_false(readable());
}

static void features_that_are_not_ours_are_not_resumed(void **state)
{
	vf.exists = vf.on_bus = vf.driver_ok = true;
	vf_rings(PLAIN | VIRTIOFS_F_IN_ORDER);
	assert_int_equal(vf_attach(), -EPROTO);
}

#define T(f) cmocka_unit_test_setup_teardown(f, vf_set_up, vf_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(the_device_is_made_as_the_session_is),
	    T(one_queue_is_never_reset_alone),
	    T(a_device_without_a_tag_is_refused),
	    T(names_that_lead_elsewhere_are_refused),
	    T(a_device_that_nobody_uses_is_made_anew),
	    T(a_device_on_the_bus_is_taken_over),
	    T(a_device_that_cannot_be_taken_over_says_why),
	    T(a_device_that_the_kernel_gave_up_ends),
	    T(bad_choices_are_refused),
	    T(status_jumps_are_refused),
	    T(unknown_messages_are_refused),
	    T(a_reset_waits_for_the_session),
	    T(messages_wait_for_their_turn),
	    T(a_driver_that_gave_up_is_not_served),
	    T(queues_start_when_interrupts_are_taken),
	    T(a_packed_ring_begins_where_the_driver_says),
	    T(a_queue_that_cannot_run_leaves_the_others),
	    T(state_of_a_running_queue_is_exact),
	    T(state_of_a_packed_queue_has_both_places),
	    T(state_of_a_queue_that_never_ran_is_the_driver_s),
	    T(an_answer_that_nobody_awaits_changes_nothing),
	    T(a_split_ring_goes_on_at_its_used_index),
	    T(what_is_in_flight_outlives_the_process),
	    T(without_a_record_the_ring_goes_on_as_it_can),
	    T(a_packed_ring_goes_on_where_its_driver_waits),
	    T(a_packed_ring_without_a_word_of_it_waits_for_a_reset),
	    T(features_that_are_not_ours_are_not_resumed),
	};

	return cmocka_run_group_tests_name("vduse", tests, NULL, NULL);
}
