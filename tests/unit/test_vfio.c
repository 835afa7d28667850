/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A function that the kernel's vfio-pci has: opened, driven, let go of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <virtiofs/ops.h>

#include "fakevfio.h"
#include "leaks.h"
#include "transport/vfio/vfio.h"

static struct virtiofs_client *c;
static unsigned fds;

static int set_up(void **state)
{
	fds = raw_fd_cnt();
	fv_init();
	c = NULL;
	(void)state;
	return 0;
}

static void finish(void)
{
	virtiofs_client_free(c);
	c = NULL;
	assert_int_equal(fv.map_cnt, 0);
	assert_int_equal(fv.vectors, 0);
}

static int tear_down(void **state)
{
	finish();
	fv_fini();
	assert_int_equal(raw_fd_cnt(), fds);
	(void)state;
	return 0;
}

static int start(void)
{
	struct virtiofs_client_opts opts = {.size = sizeof(opts)};
	struct virtiofs_transport *t;

	assert_int_equal(vtfs_vfio_open(&t, FV_ADDRESS), 0);
	assert_int_equal(virtiofs_client_new(&c, t, &opts), 0);
	return virtiofs_client_start(c, NULL);
}

static void refused(int r, const char *text)
{
	assert_int_equal(start(), r);
	if (!strstr(virtiofs_last_error(), text))
		fail_msg("no \"%s\" in: %s", text, virtiofs_last_error());
	tear_down(NULL);
	set_up(NULL);
}

static void one_request(void)
{
	struct fuse_attr_out out;

	memset(&out, 0xee, sizeof(out));
	assert_int_equal(virtiofs_call_getattr(c, 1, &out), 0);
	assert_int_equal(out.attr.ino, 0);
}

/* ---- life ---- */

/* covers: VFK-DRV-01, VFK-DRV-07, VFK-DRV-08 */
static void function_is_taken_and_let_go_of_in_order(void **state)
{
	const char *at;

	assert_int_equal(start(), 0);
	one_request();
	at = fv_find(fv.text, "group;container;info ");
	at = fv_find(at, "device;reset;command=406;");
	at = fv_find(at, "irqs ");
	at = fv_find(at, "map ");
	at = fv_find(fv_find(at, "enable;"), "enable;");
	/* All of it is mapped before: the device looks for its rings. */
	assert_null(strstr(at, "map "));
	at = fv_find(at, "status=f;");
	assert_null(strstr(at, "reset;"));
	finish();
	at = fv_find(at, "status=0;command=402;irqs 2: none 0+0;reset;unmap ");
	/* Nothing after that but more of it. */
	for (at -= strlen("unmap "); *at; at = strchr(at, ';') + 1)
		assert_memory_equal(at, "unmap ", 6);
	(void)state;
}

/* covers: VFK-DRV-08 */
static void function_that_cannot_be_reset_is_not(void **state)
{
	fv.flags = VFIO_DEVICE_FLAGS_PCI;
	assert_int_equal(start(), 0);
	finish();
	assert_int_equal(fv_count("reset;"), 0);
	(void)state;
}

static void start_that_failed_begins_anew(void **state)
{
	const char *at;

	fv.f.q[1].max = fv.f.q[1].size = 0;
	assert_int_equal(start(), -EPROTO);
	at = fv_find(fv.text, "status=8");
	fv.f.q[1].max = fv.f.q[1].size = 256;
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	fv_find(at, "status=0;status=1;status=3;irqs 2: none 0+0;"
		    "irqs 2: fds 0+3;");
	assert_int_equal(fv_count("group;"), 1);
	one_request();
	(void)state;
}

/* ---- usual mistakes ---- */

static void usual_mistakes_have_their_text(void **state)
{
	struct virtiofs_transport *t;

	assert_int_equal(vtfs_vfio_open(&t, "00:05.0"), -EINVAL);
	assert_int_equal(vtfs_vfio_open(&t, "0000:00:05.0/"), -EINVAL);
	fv.no_function = true;
	refused(-ENODEV, "no such PCI function");
	fv.no_group = true;
	refused(-ENODEV, "no IOMMU stands before it (is it on");
	fv.no_group = true;
	fv.driver = "virtio-pci";
	refused(-ENODEV, "no IOMMU stands before it (is it on");
	fv.driver = "virtio-pci";
	refused(-ENODEV, "virtio-pci has it, not vfio-pci");
	fv.driver = NULL;
	refused(-ENODEV, "no driver has it, not vfio-pci");
	fv.noiommu = true;
	refused(-ENODEV, "its group is for unsafe use");
	fv.group_errno = EBUSY;
	refused(-EBUSY, FV_GROUP " is in use");
	fv.group_errno = EACCES;
	refused(-EACCES, FV_GROUP ": Permission denied");
	fv.group_errno = ENOENT;
	refused(-ENOENT, "there is no " FV_GROUP);
	fv.not_viable = true;
	refused(-EPERM, "its IOMMU group can't be used");
	fv.container_errno = EACCES;
	refused(-EACCES, "/dev/vfio/vfio");
	fv.version = VFIO_API_VERSION + 1;
	refused(-EOPNOTSUPP, "an unknown version");
	fv.type1v2 = 0;
	refused(-EOPNOTSUPP, "no type 1 IOMMU");
	fv.set_iommu_errno = EPERM;
	refused(-EPERM, "interrupts are not remapped");
	fv.num_regions = VFIO_PCI_CONFIG_REGION_INDEX;
	refused(-ENODEV, "not a PCI function");
	fv.num_irqs = VFIO_PCI_MSIX_IRQ_INDEX;
	refused(-ENODEV, "not a PCI function");
	fv.map_errno = ENOMEM;
	refused(-ENOMEM, "RLIMIT_MEMLOCK is ");
	(void)state;
}

/* ---- regions ---- */

/* Every access is where the kernel says that the region is: the fake knows no
 * other place, and no value of a BAR is an address.
 * covers: VFK-DRV-09 */
static void regions_are_where_the_kernel_has_them(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		fv.region[FAKE_BAR].off = 0x7fff0000ULL << (i * 4);
		fv.region[VFIO_PCI_CONFIG_REGION_INDEX].off = 0x1000ULL << i;
		assert_int_equal(start(), 0);
		one_request();
		assert_int_equal(fv.f.q[1].bells, 3 - 1);
		tear_down(state);
		set_up(state);
	}
	/* The other half of a BAR of 64 bits is not there. */
	fv.region[FAKE_BAR].size = 0;
	fv.region[FAKE_BAR + 1].size = FAKE_BAR_LEN;
	refused(-EPROTO, "no usable common structure");
}

/* Registers by calls of their width, doorbells too, and nothing of the table
 * of MSI-X: the fakes judge each access.
 * covers: VFK-DRV-06 */
static void bar_that_cannot_be_mapped_is_read_and_written(void **state)
{
	assert_int_equal(start(), 0);
	fv.f.q[1].bells = 0;
	one_request();
	assert_int_equal(fv.f.q[1].bells, 1);
	assert_int_equal(fv.f.q[1].bell_len, 2);
	assert_true(fv_count("irqs 2: fds") > 0);
	assert_int_equal(fv_count("config="), 0);
	(void)state;
}

/* ---- mapped doorbells, without a client: nobody answers ---- */

struct bare {
	struct virtiofs_transport *t;
	struct virtiofs_region mem;
	struct vtfs_queue_line line;
};

static unsigned char pages[16384] __attribute__((aligned(4096)));

static void bare_start(struct bare *b)
{
	struct vtfs_queue_setup q = {
	    .vq = 1, .num = 16, .kick_fd = -1, .call_fd = -1, .enabled = true};
	uint64_t at;

	b->mem = (struct virtiofs_region){.size = sizeof(b->mem),
					  .addr = pages,
					  .len = sizeof(pages),
					  .fd = -1};
	assert_int_equal(vtfs_vfio_open(&b->t, FV_ADDRESS), 0);
	assert_int_equal(b->t->cli->connect(b->t), 0);
	assert_int_equal(
	    b->t->cli->set_features(b->t, VIRTIOFS_F_VERSION_1 | 1ULL << 33),
	    0);
	assert_int_equal(b->t->cli->map(b->t, &b->mem, &at), 0);
	q.desc = at;
	q.driver = at + 4096;
	q.device = at + 8192;
	assert_int_equal(b->t->cli->start_queue(b->t, &q), 0);
	b->t->cli->queue_line(b->t, 1, &b->line);
}

static void bare_end(struct bare *b)
{
	b->t->cli->set_status(b->t, 0);
	virtiofs_transport_free(b->t);
}

/* Is the doorbell stored to, or written by a call? */
static bool is_mapped(void)
{
	uint64_t off = FAKE_NOTIFY + fv.f.q[1].notify_off * FAKE_MULTIPLIER;
	struct bare b;
	bool mapped;

	bare_start(&b);
	mapped = b.line.doorbell.kind == VTFS_DOORBELL_STORE;
	if (mapped) {
		*(volatile uint16_t *)b.line.doorbell.addr = 0x1234;
		assert_int_equal(fv_stored(FAKE_BAR, off), 0x1234);
	}
	bare_end(&b);
	tear_down(NULL);
	set_up(NULL);
	return mapped;
}

/* Of a sparse BAR only what may be mapped is; what lies does not help.
 * covers: VFK-DRV-06 */
static void doorbell_is_mapped_where_it_may_be(void **state)
{
	static const struct {
		uint64_t off, len;
		bool mapped;
	} areas[] = {
	    {0, FAKE_BAR_LEN, true},
	    {0x3000, 0x1000, true},
	    {0x2000, 0x2000, true},
	    {0, 0x3000, false},
	    {0x4000, 0x4000, false},
	    {0x3800, 0x1000, false},
	    {0x3000, 0x800, false},
	    {UINT64_MAX - 0xfff, 0x8000, false},
	    {0x3000, UINT64_MAX, true},
	    {0, 0, false},
	    {0x4000, UINT64_MAX - 1, false},
	};
	struct vfio_region_sparse_mmap_area two[2] = {{0, 0x1000},
						      {0x3000, 0x2000}};
	struct fv_region *r;

	for (unsigned i = 0; i < VTFS_ARRAY_LEN(areas); i++) {
		struct vfio_region_sparse_mmap_area a = {areas[i].off,
							 areas[i].len};

		fv.region[FAKE_BAR].flags |= VFIO_REGION_INFO_FLAG_MMAP;
		fv_sparse(FAKE_BAR, &a, 1);
		if (is_mapped() != areas[i].mapped)
			fail_msg("area %u", i);
	}
	fv.region[FAKE_BAR].flags |= VFIO_REGION_INFO_FLAG_MMAP;
	assert_true(is_mapped());
	fv.region[FAKE_BAR].flags |= VFIO_REGION_INFO_FLAG_MMAP;
	fv_sparse(FAKE_BAR, two, 2);
	assert_true(is_mapped());
	/* Chains that loop, end outside, or have more than came. */
	for (unsigned i = 0; i < 6; i++) {
		static const uint32_t offs[] = {32, 0xffffffff, 1020, 1024, 4};

		r = &fv.region[FAKE_BAR];
		r->flags |= VFIO_REGION_INFO_FLAG_MMAP;
		fv_sparse(FAKE_BAR, two, 1);
		if (i < 5)
			r->cap_offset = offs[i];
		else
			r->argsz = 100000;
		if (i == 0)
			fake_put32(r->caps + 4, 32);
		assert_int_equal(is_mapped(), false);
	}
	(void)state;
}

/* Of a structure of a GiB the page of one doorbell is.
 * covers: PCI-DRV-08 */
static void no_more_is_mapped_than_a_doorbell_needs(void **state)
{
	unsigned long first, last;
	unsigned n = 0;
	struct bare b;
	char line[256];
	FILE *maps;

	fake_no_caps(&fv.f);
	fake_virtio_cap(&fv.f, VTFS_PCI_CFG_COMMON, FAKE_BAR, FAKE_COMMON,
			1 << 30);
	fake_virtio_cap(&fv.f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			1 << 30);
	fv.region[FAKE_BAR].size = 1 << 30;
	fv.region[FAKE_BAR].flags |= VFIO_REGION_INFO_FLAG_MMAP;
	bare_start(&b);
	maps = fopen("/proc/self/maps", "re");
	while (fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "memfd:fakevfio"))
			continue;
		assert_int_equal(sscanf(line, "%lx-%lx", &first, &last), 2);
		assert_int_equal(last - first, 4096);
		n++;
	}
	fclose(maps);
	assert_int_equal(n, 1);
	bare_end(&b);
	(void)state;
}

/* ---- interrupts ---- */

/* covers: VFK-DRV-04 */
static void vectors_are_set_up_at_once_and_given_up_at_once(void **state)
{
	const char *at;

	assert_int_equal(start(), 0);
	at = fv_find(fv.text, "irqs ");
	/* All of them; then each within. */
	assert_memory_equal(at, "2: fds 0+3;", 11);
	at = fv_find(at, "irqs 2: fds 1+1;");
	at = fv_find(at, "irqs 2: fds 2+1;");
	assert_null(strstr(at, "irqs"));
	for (unsigned i = 0; i < 3; i++)
		assert_true(fv.vector_fd[i] >= 0);
	one_request();
	finish();
	at = fv_find(at, "irqs 2: none 0+0;");
	assert_null(strstr(at, "irqs"));
	(void)state;
}

/* Those that have no fd yet are not given one.
 * covers: VFK-DRV-04 */
static void vector_without_an_fd_is_none(void **state)
{
	struct bare b;

	bare_start(&b);
	assert_true(fv.vector_fd[0] >= 0);
	assert_int_equal(fv.vectors, 3);
	assert_int_equal(fv.vector_fd[1], -1);
	assert_int_equal(fv.vector_fd[2], -1);
	bare_end(&b);
	(void)state;
}

static void fewer_vectors_than_the_function_has(void **state)
{
	fv.vectors_had = 2;
	assert_int_equal(start(), 0);
	assert_int_equal(fv.vectors, 2);
	assert_int_equal(fv_count("irqs 2: fds 0+3;irqs 2: fds 0+2;"), 1);
	one_request();
	(void)state;
}

/* No use is made of the pin, so nothing has to be unmasked: without MSI-X it
 * stays off, and the rings are looked at.
 * covers: VFK-DRV-05 */
static void intx_is_left_alone(void **state)
{
	fv.f.vectors = 0;
	fv.irq_flags |= VFIO_IRQ_INFO_AUTOMASKED | VFIO_IRQ_INFO_MASKABLE;
	assert_int_equal(start(), 0);
	one_request();
	assert_int_equal(fv_count("irqs "), 0);
	assert_int_equal(fv.f.cfg[VTFS_PCI_COMMAND + 1], 4);
	finish();
	assert_int_equal(fv_count("irqs "), 0);
	tear_down(state);
	/* Vectors that take no eventfd are none. */
	set_up(state);
	fv.irq_flags = 0;
	assert_int_equal(start(), 0);
	one_request();
	assert_int_equal(fv_count("irqs "), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(function_is_taken_and_let_go_of_in_order),
	    T(function_that_cannot_be_reset_is_not),
	    T(start_that_failed_begins_anew),
	    T(usual_mistakes_have_their_text),
	    T(regions_are_where_the_kernel_has_them),
	    T(bar_that_cannot_be_mapped_is_read_and_written),
	    T(doorbell_is_mapped_where_it_may_be),
	    T(no_more_is_mapped_than_a_doorbell_needs),
	    T(vectors_are_set_up_at_once_and_given_up_at_once),
	    T(vector_without_an_fd_is_none),
	    T(fewer_vectors_than_the_function_has),
	    T(intx_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
