/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The config space, as start reads it: steps of session/client_start.c. */
#include <endian.h>
#include <string.h>

#include "base/error.h"
#include "session/client.h"

static int check_tag(const char *tag)
{
	if (!tag[0])
		return vtfs_fail(-EPROTO, "the device's tag is empty");
	if (strchr(tag, '\n'))
		return vtfs_fail(-EPROTO, "a newline in the device's tag");
	return 0;
}

static int take_config(struct virtiofs_client *c, const unsigned char *cfg)
{
	uint32_t queues;

	memcpy(&queues, cfg + VTFS_CONFIG_QUEUES, sizeof(queues));
	queues = le32toh(queues);
	if (!queues)
		return vtfs_fail(-EPROTO, "%s: no request queue", c->t->name);
	if (!c->device_queues || queues < c->device_queues)
		c->device_queues = queues;
	memset(c->tag, 0, sizeof(c->tag));
	memcpy(c->tag, cfg + VTFS_CONFIG_TAG, VIRTIOFS_TAG_MAX);
	return check_tag(c->tag);
}

/* Several fields are not read at once: read until two times agree (virtio 1.4,
 * 2.5.3). What they agreed on is in c->config. */
static int read_config(struct virtiofs_client *c, size_t len)
{
	unsigned char cfg[VTFS_CONFIG_MAX];
	int r;

	for (;;) {
		memset(cfg, 0, sizeof(cfg));
		r = c->t->cli->get_config(c->t, cfg, len, 0);
		if (r < 0)
			return r;
		if (c->substep && !memcmp(cfg, c->config, len))
			return 0;
		if (c->substep++ > 16)
			return vtfs_fail(-EPROTO,
					 "%s: configuration never settles",
					 c->t->name);
		memcpy(c->config, cfg, sizeof(cfg));
	}
}

/* What only F_NOTIFICATION adds is not looked at (virtio 1.4, 2.5.3.1). */
int vtfs_client_read_config(struct virtiofs_client *c)
{
	int r = read_config(c, VTFS_CONFIG_LEN);

	if (r >= 0)
		return take_config(c, c->config);
	if (r != -EOPNOTSUPP)
		return r;
	memcpy(c->tag, c->opt_tag, sizeof(c->tag));
	return 0;
}

/* Before the features are chosen: buffers of that size can't always be had, and
 * without a config space nobody says how large they must be. */
int vtfs_client_read_notify_size(struct virtiofs_client *c)
{
	uint32_t size;
	int r;

	if (!(c->features & VIRTIOFS_F_NOTIFICATION))
		return 0;
	r = read_config(c, VTFS_CONFIG_MAX);
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	memcpy(&size, c->config + VTFS_CONFIG_NOTIFY, sizeof(size));
	size = r < 0 ? 0 : le32toh(size);
	c->notes.size = size;
	if (size >= VTFS_NOTIFY_BUF_MIN && size <= VTFS_NOTIFY_BUF_MAX)
		return 0;
	vtfs_log(&c->log, LOG_WARNING,
		 "%s: no notifications, their buffers have %u bytes",
		 c->t->name, size);
	c->features &= ~VIRTIOFS_F_NOTIFICATION;
	return 0;
}
