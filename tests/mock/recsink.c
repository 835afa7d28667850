/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recsink.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

static struct rec *to_rec(struct vtfs_dev_sink *s)
{
	return vtfs_container_of(s, struct rec, sink);
}

__attribute__((format(printf, 2, 3))) static void say(struct rec *rec,
						      const char *fmt, ...)
{
	size_t len = strlen(rec->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rec->text + len, sizeof(rec->text) - len, fmt, ap);
	va_end(ap);
}

static void keep_fd(int *kept, int fd)
{
	if (*kept >= 0)
		close(*kept);
	*kept = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static uint64_t rec_offered(struct vtfs_dev_sink *s)
{
	return to_rec(s)->offered;
}

static void rec_accept(struct vtfs_dev_sink *s, uint64_t features)
{
	to_rec(s)->features = features;
	say(to_rec(s), "accept %llx;", (unsigned long long)features);
}

static unsigned rec_queue_cnt(struct vtfs_dev_sink *s)
{
	return to_rec(s)->queue_cnt;
}

static uint32_t rec_queue_max(struct vtfs_dev_sink *s)
{
	return to_rec(s)->queue_max;
}

static void rec_config(struct vtfs_dev_sink *s, void *buf, size_t len,
		       size_t off)
{
	struct rec *rec = to_rec(s);

	memset(buf, 0, len);
	for (size_t i = 0; i < len && off + i < sizeof(rec->config); i++)
		((unsigned char *)buf)[i] = rec->config[off + i];
}

static void rec_set_table(struct vtfs_dev_sink *s, struct vtfs_table *t,
			  uint64_t cookie)
{
	struct rec *rec = to_rec(s);

	vtfs_table_put(rec->table);
	rec->table = vtfs_table_get(t);
	rec->cookie = cookie;
	say(rec, "table %u;", t->cnt);
	if (!rec->hold)
		rec_answer_table(rec);
}

static void rec_invalidate(struct vtfs_dev_sink *s, struct vtfs_table *t,
			   const struct vtfs_miss *gone, uint64_t cookie)
{
	say(to_rec(s), "gone %llx+%llx;", (unsigned long long)gone->addr,
	    (unsigned long long)gone->len);
	rec_set_table(s, t, cookie);
}

static void rec_absent(struct vtfs_dev_sink *s, const struct vtfs_miss *m)
{
	say(to_rec(s), "absent %llx+%llx %u;", (unsigned long long)m->addr,
	    (unsigned long long)m->len, m->access);
}

static int rec_start(struct vtfs_dev_sink *s, const struct vtfs_queue_setup *q)
{
	struct rec *rec = to_rec(s);

	say(rec, "start %u %u;", q->vq, q->enabled);
	if (rec->start_r < 0)
		return rec->start_r;
	rec->setup[q->vq] = *q;
	rec->started[q->vq] = true;
	rec->enabled[q->vq] = q->enabled;
	keep_fd(&rec->kick_fd[q->vq], q->kick_fd);
	keep_fd(&rec->call_fd[q->vq], q->call_fd);
	return 0;
}

static void rec_set_call(struct vtfs_dev_sink *s, unsigned vq, int fd)
{
	keep_fd(&to_rec(s)->call_fd[vq], fd);
	say(to_rec(s), "call %u %d;", vq, fd >= 0);
}

static void rec_set_kick(struct vtfs_dev_sink *s, unsigned vq, int fd)
{
	keep_fd(&to_rec(s)->kick_fd[vq], fd);
	say(to_rec(s), "kick %u %d;", vq, fd >= 0);
}

static void rec_enable(struct vtfs_dev_sink *s, unsigned vq, bool on)
{
	to_rec(s)->enabled[vq] = on;
	say(to_rec(s), "enable %u %u;", vq, on);
}

static void rec_stop(struct vtfs_dev_sink *s, unsigned vq)
{
	struct rec *rec = to_rec(s);

	rec->stops++;
	rec->stopping = (int)vq;
	say(rec, "stop %u;", vq);
	if (!rec->hold)
		rec_answer_stop(rec, rec->setup[vq].avail_base,
				rec->setup[vq].used_base);
}

static void end_all(struct rec *rec)
{
	memset(rec->started, 0, sizeof(rec->started));
	memset(rec->enabled, 0, sizeof(rec->enabled));
}

static void rec_reset(struct vtfs_dev_sink *s)
{
	struct rec *rec = to_rec(s);

	rec->resets++;
	say(rec, "reset;");
	if (!rec->hold)
		rec_answer_reset(rec);
}

static void rec_lost(struct vtfs_dev_sink *s, int error)
{
	struct rec *rec = to_rec(s);

	rec->losses++;
	say(rec, "lost;");
	vtfs_table_put(rec->table);
	rec->table = NULL;
	if (!rec->hold)
		rec_answer_reset(rec);
}

static const struct vtfs_dev_sink_ops rec_ops = {
    .offered = rec_offered,
    .accept = rec_accept,
    .queue_cnt = rec_queue_cnt,
    .queue_max = rec_queue_max,
    .config = rec_config,
    .set_table = rec_set_table,
    .invalidate = rec_invalidate,
    .absent = rec_absent,
    .start = rec_start,
    .set_call = rec_set_call,
    .set_kick = rec_set_kick,
    .enable = rec_enable,
    .stop = rec_stop,
    .reset = rec_reset,
    .lost = rec_lost,
};

static void keep_line(void *data, int level, const char *line)
{
	snprintf(data, 256, "%s", line);
}

void rec_prepare(struct rec *rec, struct virtiofs_transport *t)
{
	memset(rec, 0, sizeof(*rec));
	rec->sink.ops = &rec_ops;
	rec->sink.log = &rec->log;
	rec->log.fn = keep_line;
	rec->log.data = rec->logged;
	rec->t = t;
	rec->offered = REC_OFFERED;
	rec->queue_cnt = REC_QUEUES;
	rec->queue_max = REC_QUEUE_MAX;
	rec->stopping = -1;
	memcpy(rec->config, "recorder", 8);
	rec->config[VTFS_CONFIG_QUEUES] = REC_QUEUES - 1;
	for (unsigned i = 0; i < VTFS_ARRAY_LEN(rec->call_fd); i++)
		rec->call_fd[i] = rec->kick_fd[i] = -1;
}

void rec_init(struct rec *rec, struct virtiofs_transport *t)
{
	rec_prepare(rec, t);
	t->dev->attach(t, &rec->sink);
}

void rec_fini(struct rec *rec)
{
	virtiofs_transport_free(rec->t);
	vtfs_table_put(rec->table);
	for (unsigned i = 0; i < VTFS_ARRAY_LEN(rec->call_fd); i++) {
		keep_fd(&rec->call_fd[i], -1);
		keep_fd(&rec->kick_fd[i], -1);
	}
}

void rec_answer_stop(struct rec *rec, uint16_t avail, uint16_t used)
{
	unsigned vq = (unsigned)rec->stopping;

	rec->stopping = -1;
	rec->started[vq] = rec->enabled[vq] = false;
	rec->t->dev->queue_stopped(rec->t, vq, avail, used);
}

void rec_answer_table(struct rec *rec)
{
	rec->t->dev->table_retired(rec->t, rec->cookie);
}

void rec_answer_reset(struct rec *rec)
{
	end_all(rec);
	rec->t->dev->reset_done(rec->t);
}

void rec_clear(struct rec *rec)
{
	rec->text[0] = '\0';
	rec->logged[0] = '\0';
}

static void rec_changed(struct vtfs_cli_sink *s)
{
	vtfs_container_of(s, struct rec_client, sink)->changes++;
}

static void rec_cli_lost(struct vtfs_cli_sink *s, int error)
{
	struct rec_client *rc = vtfs_container_of(s, struct rec_client, sink);

	rc->losses++;
	rc->error = error;
}

static const struct vtfs_cli_sink_ops rec_cli_ops = {
    .config_changed = rec_changed,
    .lost = rec_cli_lost,
};

void rec_client_init(struct rec_client *rc, struct virtiofs_transport *t)
{
	memset(rc, 0, sizeof(*rc));
	rc->sink.ops = &rec_cli_ops;
	rc->sink.log = &rc->log;
	rc->log.fn = keep_line;
	rc->log.data = rc->logged;
	t->cli->attach(t, &rc->sink);
}
