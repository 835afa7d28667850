/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vdpa-bus.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/vdpa.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct message {
	struct nlmsghdr head;
	struct genlmsghdr gen;
	unsigned char attrs[512];
};

static void begin(struct message *m, uint16_t type, uint8_t cmd)
{
	memset(m, 0, sizeof(*m));
	m->head.nlmsg_type = type;
	m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	m->head.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	m->gen.cmd = cmd;
	m->gen.version = 1;
}

static void add_string(struct message *m, uint16_t type, const char *s)
{
	struct nlattr *a = (void *)((char *)m + m->head.nlmsg_len);
	size_t len = strlen(s) + 1;

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + len);
	memcpy((char *)a + NLA_HDRLEN, s, len);
	m->head.nlmsg_len += NLA_ALIGN(a->nla_len);
}

/* The kernel's error of an answer; 0 also for one that is none. */
static int error_of(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);

	return h->nlmsg_type == NLMSG_ERROR ? e->error : 0;
}

/* The number of the family, out of the answer to GETFAMILY. */
static int family_of(const struct nlmsghdr *h)
{
	const char *p = (const char *)h + NLMSG_LENGTH(GENL_HDRLEN);
	const char *end = (const char *)h + h->nlmsg_len;

	while (p + NLA_HDRLEN <= end) {
		const struct nlattr *a = (const void *)p;

		if (a->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(const uint16_t *)(p + NLA_HDRLEN);
		p += NLA_ALIGN(a->nla_len);
	}
	return -ENOENT;
}

/* Send m and wait for its end; the first answer's family if one is wanted. */
static int talk(int sock, struct message *m, int want_family)
{
	_Alignas(8) char buf[8192];
	int family = 0;

	if (send(sock, m, m->head.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(sock, buf, sizeof(buf), 0);
		struct nlmsghdr *h = (void *)buf;

		if (n < 0)
			return -errno;
		for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				return error_of(h) ? error_of(h) : family;
			if (want_family)
				family = family_of(h);
		}
	}
}

int vdpa_bus(enum vdpa_bus_cmd cmd, const char *name)
{
	bool add = cmd == VDPA_BUS_ADD;
	struct message m;
	int sock, r;

	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (sock < 0)
		return -errno;
	begin(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	add_string(&m, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
	r = talk(sock, &m, 1);
	if (r > 0) {
		begin(&m, (uint16_t)r,
		      add ? VDPA_CMD_DEV_NEW : VDPA_CMD_DEV_DEL);
		add_string(&m, VDPA_ATTR_DEV_NAME, name);
		if (add)
			add_string(&m, VDPA_ATTR_MGMTDEV_DEV_NAME, "vduse");
		r = talk(sock, &m, 0);
	}
	close(sock);
	return r;
}
