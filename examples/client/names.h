/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_NAMES_H
#define CLIENT_NAMES_H
/* Feature bits by name, for info. */
#include <stdint.h>

enum names_table { NAMES_VIRTIO, NAMES_VHOST_USER, NAMES_FUSE };

/* NULL: a bit without a name here. */
const char *bit_name(enum names_table table, unsigned bit);

#endif
