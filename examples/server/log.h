/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H
/* One line per event, to stderr or to syslog. Levels as in <syslog.h>. */
#include <syslog.h>

#define LOG_OFF (-1)

/* Before the sandbox: syslog's socket is out of reach afterwards. */
void log_open(int level, int to_syslog);
int log_level(void);
void log_msg(int level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define log_err(...)   log_msg(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARNING, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
