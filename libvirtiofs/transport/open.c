/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/error.h"
#include "transport/transport.h"
#include "transport/vdpa/vdpa.h"
#include "transport/vduse/vduse.h"
#include "transport/vfio/vfio.h"
#include "transport/vfio_user/vfio_user.h"
#include "transport/vhost_user/vhost_user.h"

/* What follows "NAME:" in uri, or NULL. */
static const char *after(const char *uri, const char *name)
{
	size_t len = strlen(name);

	return strncmp(uri, name, len) == 0 ? uri + len : NULL;
}

static int no_such_transport(const char *uri)
{
	if (after(uri, "vdpa:") || after(uri, "vfio:"))
		return vtfs_fail(-EINVAL, "%s: that is a client's end", uri);
	if (after(uri, "vduse:"))
		return vtfs_fail(-EINVAL, "%s: that is a device's end", uri);
	if (after(uri, "inproc:"))
		return vtfs_fail(-EINVAL, "inproc: has no name to open, use "
					  "virtiofs_inproc_pair()");
	return vtfs_fail(-EINVAL,
			 "%s: no such transport; vhost-user:PATH is one", uri);
}

int virtiofs_transport_open_device(struct virtiofs_transport **ret,
				   const char *uri)
{
	const char *path;

	if (!uri)
		return vtfs_fail(-EINVAL, "no transport named");
	path = after(uri, "vhost-user:");
	if (path)
		return vtfs_vhost_user_listen(ret, path);
	path = after(uri, "vduse:");
	if (path)
		return vtfs_vduse_open(ret, path);
	path = after(uri, "vfio-user:");
	if (path)
		return vtfs_vfio_user_listen(ret, path);
	return no_such_transport(uri);
}

int virtiofs_transport_open_client(struct virtiofs_transport **ret,
				   const char *uri)
{
	const char *path;

	if (!uri)
		return vtfs_fail(-EINVAL, "no transport named");
	path = after(uri, "vhost-user:");
	if (path)
		return vtfs_vhost_user_connect(ret, path);
	path = after(uri, "vfio-user:");
	if (path)
		return vtfs_vfio_user_connect(ret, path);
	path = after(uri, "vfio:");
	if (path)
		return vtfs_vfio_open(ret, path);
	path = after(uri, "vdpa:");
	if (path)
		return vtfs_vdpa_connect(ret, path);
	return no_such_transport(uri);
}
