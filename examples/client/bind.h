/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_BIND_H
#define CLIENT_BIND_H
/* Commands on a PCI function, without a session: s is NULL. */
#include "command.h"

int cmd_bind(struct session *s, const struct args *args);
int cmd_unbind(struct session *s, const struct args *args);

#endif
