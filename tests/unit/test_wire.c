/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers of the specification, written down a second time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <virtiofs/base.h>

#include "transport/transport.h"
#include "wire/fs.h"
#include "wire/virtio.h"

/* covers: STAT-BTH-01 */
static void status_bits(void **state)
{
	assert_int_equal(VTFS_STATUS_ACKNOWLEDGE, 1);
	assert_int_equal(VTFS_STATUS_DRIVER, 2);
	assert_int_equal(VTFS_STATUS_DRIVER_OK, 4);
	assert_int_equal(VTFS_STATUS_FEATURES_OK, 8);
	assert_int_equal(VTFS_STATUS_SUSPEND, 16);
	assert_int_equal(VTFS_STATUS_NEEDS_RESET, 64);
	assert_int_equal(VTFS_STATUS_FAILED, 128);
}

/* covers: FEAT-BTH-02 */
static void feature_bits(void **state)
{
	assert_int_equal(VTFS_F_BIT_INDIRECT_DESC, 28);
	assert_int_equal(VTFS_F_BIT_EVENT_IDX, 29);
	assert_int_equal(VTFS_F_BIT_VERSION_1, 32);
	assert_int_equal(VTFS_F_BIT_ACCESS_PLATFORM, 33);
	assert_int_equal(VTFS_F_BIT_RING_PACKED, 34);
	assert_int_equal(VTFS_F_BIT_IN_ORDER, 35);
	assert_int_equal(VTFS_F_BIT_ORDER_PLATFORM, 36);
	assert_int_equal(VTFS_F_BIT_SR_IOV, 37);
	assert_int_equal(VTFS_F_BIT_NOTIFICATION_DATA, 38);
	assert_int_equal(VTFS_F_BIT_NOTIF_CONFIG_DATA, 39);
	assert_int_equal(VTFS_F_BIT_RING_RESET, 40);
	assert_int_equal(VTFS_F_BIT_ADMIN_VQ, 41);
	assert_int_equal(VTFS_F_BIT_SUSPEND, 43);
	assert_true(VIRTIOFS_F_INDIRECT_DESC == 1ULL << 28);
	assert_true(VIRTIOFS_F_EVENT_IDX == 1ULL << 29);
	assert_true(VIRTIOFS_F_VERSION_1 == 1ULL << 32);
	assert_true(VIRTIOFS_F_RING_PACKED == 1ULL << 34);
}

/* covers: FS-BTH-01, FS-BTH-03, FS-BTH-04 */
static void file_system_device(void **state)
{
	struct vtfs_fs_config c;
	unsigned char image[44];

	assert_int_equal(VTFS_FS_DEVICE_ID, 26);
	assert_true(VIRTIOFS_F_NOTIFICATION == 1);
	assert_int_equal(offsetof(struct vtfs_fs_config, tag), 0);
	assert_int_equal(offsetof(struct vtfs_fs_config, num_request_queues),
			 36);
	assert_int_equal(offsetof(struct vtfs_fs_config, notify_buf_size), 40);
	assert_int_equal(sizeof(c), 44);
	assert_int_equal(VTFS_CONFIG_TAG, 0);
	assert_int_equal(VTFS_CONFIG_QUEUES, 36);
	assert_int_equal(VTFS_CONFIG_LEN, 40);
	assert_int_equal(VIRTIOFS_TAG_MAX, 36);
	memset(image, 0, sizeof(image));
	memcpy(image, "a tag", 5);
	image[36] = 4;
	memset(&c, 0, sizeof(c));
	memcpy(c.tag, "a tag", 5);
	c.num_request_queues[0] = 4;
	assert_memory_equal(&c, image, sizeof(image));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(status_bits),
	    cmocka_unit_test(feature_bits),
	    cmocka_unit_test(file_system_device),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
