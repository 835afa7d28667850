/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into user-mode Linux, so that it runs on any processor.
 *
 * User-mode Linux 6.1 sets its processes' extended registers with a buffer of
 * a fixed 2,696 bytes. A kernel on a processor with AMX has more state than
 * that, refuses to set a part of it (EFAULT), and the first process dies. Here
 * such a part is laid over the whole that the process has, and the whole is
 * set. (Hiding the register set isn't enough: the upper halves of the vector
 * registers would be lost at each fault, and the C library uses them.)
 */
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* User-mode Linux 6.1 calls ptrace from one thread, on a small stack. */
static unsigned char whole[1 << 16] __attribute__((aligned(64)));

static long set_part(long pid, const struct iovec *part)
{
	struct iovec all = {whole, sizeof(whole)};
	long r;

	r = syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all);
	if (r < 0 || part->iov_len >= all.iov_len)
		return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE,
			       part);
	memcpy(whole, part->iov_base, part->iov_len);
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}

/* Exported over the C library's: as there, PEEK returns the word itself. */
long ptrace(enum __ptrace_request request, ...)
{
	long pid, addr, data, word, r;
	va_list ap;

	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, long);
	data = va_arg(ap, long);
	va_end(ap);
	if (request == PTRACE_SETREGSET && addr == NT_X86_XSTATE)
		return set_part(pid, (const struct iovec *)data);
	if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA &&
	    request != PTRACE_PEEKUSER)
		return syscall(SYS_ptrace, request, pid, addr, data);
	r = syscall(SYS_ptrace, request, pid, addr, &word);
	if (r < 0)
		return r;
	errno = 0;
	return word;
}
