/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_STOP_H
#define CLIENT_STOP_H
/* SIGINT, SIGTERM and SIGHUP as a readable descriptor. */

/* -errno. The second signal kills, as without us. */
int stop_init(void);
/* The signal's number, or 0. */
int stop_signal(void);
int stop_fd(void);
/* End as the signal would have ended us. */
void stop_raise(void);

#endif
