/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "msg.h"
#include "progress.h"
#include "stop.h"

/* One descriptor for each level of directories, one for each file. */
static void raise_file_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur == rl.rlim_max)
		return;
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
}

int copy_begin(struct copy *cp, struct session *s, bool recursive)
{
	int r;

	memset(cp, 0, sizeof(*cp));
	cp->s = s;
	cp->keep = recursive;
	cp->root = recursive && geteuid() == 0;
	cp->umask = current_umask();
	raise_file_limit();
	r = session_blocks(s);
	if (r < 0)
		msg_error(r, "cannot share memory with %s", quote(s->uri));
	return r < 0 ? r : 0;
}

static void turn(struct copy *cp)
{
	struct job *job, *next;

	io_run(cp->s->io);
	for (job = cp->jobs; job; job = next) {
		next = job->next;
		if (job->step)
			job->step(job);
	}
}

static int halted(struct copy *cp)
{
	return stop_signal() ? -EINTR : io_dead(cp->s->io);
}

int copy_end(struct copy *cp)
{
	while (cp->job_cnt)
		turn(cp);
	progress_end();
	if (halted(cp) < 0)
		cp->failed = true;
	return cp->failed;
}

void copy_fail(struct copy *cp, int error, const char *what, const char *name)
{
	cp->failed = true;
	msg_error(error, "%s %s", what, quote(name));
}

int copy_room(struct copy *cp)
{
	while (!halted(cp) && cp->job_cnt >= IO_JOBS)
		turn(cp);
	return halted(cp);
}

void job_begin(struct copy *cp, struct job *job)
{
	job->cp = cp;
	job->prev = NULL;
	job->next = cp->jobs;
	if (job->next)
		job->next->prev = job;
	cp->jobs = job;
	cp->job_cnt++;
}

void job_end(struct job *job)
{
	if (job->prev)
		job->prev->next = job->next;
	else
		job->cp->jobs = job->next;
	if (job->next)
		job->next->prev = job->prev;
	job->cp->job_cnt--;
}
