/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vfio_user/caps.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "wire/vfio_user.h"

#define DEPTH_MAX 8u
#define NAME_MAX_ 32u /* of a capability that is known */

/* A place in the text, which ends with a NUL, and what was found. Strings that
 * name nothing are longer than any name: they compare unequal. */
struct json {
	const char *p;
	const char *why;
	unsigned depth;
	struct vfu_caps *caps;
};

/* Where in the document a member is. */
enum place { TOP, CAPABILITIES, TWIN_SOCKET, ELSEWHERE };

static bool value(struct json *j, enum place at, const char *name);

static bool bad(struct json *j, const char *why)
{
	if (!j->why)
		j->why = why;
	return false;
}

static void blanks(struct json *j)
{
	j->p += strspn(j->p, " \t\r\n");
}

static bool take(struct json *j, char c)
{
	blanks(j);
	if (*j->p != c)
		return false;
	j->p++;
	return true;
}

static bool escape(struct json *j)
{
	static const char hex[] = "0123456789abcdefABCDEF";

	if (*j->p != 'u') {
		if (!*j->p || !strchr("\"\\/bfnrt", *j->p))
			return bad(j, "a bad escape");
		j->p++;
		return true;
	}
	if (strspn(j->p + 1, hex) < 4)
		return bad(j, "a bad escape");
	j->p += 5;
	return true;
}

/* A string; name, of NAME_MAX_ bytes, may be NULL. */
static bool string(struct json *j, char *name)
{
	size_t len = 0;

	if (!take(j, '"'))
		return bad(j, "a string is missing");
	while (*j->p != '"') {
		char c = *j->p;

		if (!c || (unsigned char)c < 0x20)
			return bad(j, "a string does not end");
		j->p++;
		if (c == '\\' && !escape(j))
			return false;
		if (name && len < NAME_MAX_ - 1)
			name[len++] = c;
	}
	if (name)
		name[len] = '\0';
	j->p++;
	return true;
}

/* The number of that name, and its bit; NULL: nobody knows it. */
static uint64_t *known_number(struct json *j, enum place at, const char *name,
			      uint32_t *ret_bit)
{
	struct vfu_caps *c = j->caps;
	const struct {
		const char *name;
		enum place at;
		uint32_t bit;
		uint64_t *v;
	} known[] = {
	    {"max_msg_fds", CAPABILITIES, VFU_HAS_MAX_FDS, &c->max_fds},
	    {"max_data_xfer_size", CAPABILITIES, VFU_HAS_MAX_XFER,
	     &c->max_xfer},
	    {"max_dma_maps", CAPABILITIES, VFU_HAS_MAX_MAPS, &c->max_maps},
	    {"pgsizes", CAPABILITIES, VFU_HAS_PGSIZES, &c->pgsizes},
	    {"fd_index", TWIN_SOCKET, VFU_HAS_TWIN_FD, &c->twin_fd},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].at != at || strcmp(known[i].name, name))
			continue;
		*ret_bit = known[i].bit;
		return known[i].v;
	}
	return NULL;
}

static size_t digits(struct json *j)
{
	size_t n = strspn(j->p, "0123456789");

	j->p += n;
	return n;
}

static bool skip_number(struct json *j)
{
	j->p += *j->p == '-';
	if (!digits(j))
		return bad(j, "a value is missing");
	if (*j->p == '.') {
		j->p++;
		if (!digits(j))
			return bad(j, "a number has no digits");
	}
	if (*j->p == 'e' || *j->p == 'E') {
		j->p++;
		j->p += *j->p == '+' || *j->p == '-';
		if (!digits(j))
			return bad(j, "a number has no digits");
	}
	return true;
}

/* The numbers that we know are whole, and not negative. */
static bool number(struct json *j, uint64_t *ret)
{
	const char *begin = j->p;
	uint64_t v = 0;

	if (!skip_number(j))
		return false;
	for (; begin < j->p; begin++) {
		if (*begin < '0' || *begin > '9')
			return bad(j, "a number is not whole");
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*begin - '0'), &v))
			return bad(j, "a number is too large");
	}
	*ret = v;
	return true;
}

static void set_flag(struct json *j, enum place at, const char *name, bool v)
{
	if (at == CAPABILITIES && !strcmp(name, "write_multiple")) {
		j->caps->has |= VFU_HAS_WRITE_MULTI;
		j->caps->write_multi = v;
	}
	if (at == TWIN_SOCKET && !strcmp(name, "supported")) {
		j->caps->has |= VFU_HAS_TWIN_SOCKET;
		j->caps->twin_socket = v;
	}
}

static bool word(struct json *j, enum place at, const char *name)
{
	static const char *const words[] = {"false", "true", "null"};

	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(words[i]);

		if (strncmp(j->p, words[i], len))
			continue;
		j->p += len;
		if (i < 2)
			set_flag(j, at, name, i == 1);
		return true;
	}
	return bad(j, "a value is missing");
}

static enum place inside(enum place at, const char *name)
{
	if (at == TOP && !strcmp(name, "capabilities"))
		return CAPABILITIES;
	if (at == CAPABILITIES && !strcmp(name, "twin_socket"))
		return TWIN_SOCKET;
	return ELSEWHERE;
}

static bool members(struct json *j, enum place at)
{
	char name[NAME_MAX_];

	if (take(j, '}'))
		return true;
	do {
		if (!string(j, name))
			return false;
		if (!take(j, ':'))
			return bad(j, "a colon is missing");
		if (!value(j, at, name))
			return false;
	} while (take(j, ','));
	return take(j, '}') ? true : bad(j, "an object does not end");
}

static bool elements(struct json *j)
{
	if (take(j, ']'))
		return true;
	do {
		if (!value(j, ELSEWHERE, ""))
			return false;
	} while (take(j, ','));
	return take(j, ']') ? true : bad(j, "an array does not end");
}

static bool value(struct json *j, enum place at, const char *name)
{
	uint32_t bit = 0;
	uint64_t *known = known_number(j, at, name, &bit);
	bool ok;

	blanks(j);
	if (known) {
		j->caps->has |= bit;
		return number(j, known);
	}
	if (*j->p == '-' || (*j->p >= '0' && *j->p <= '9'))
		return skip_number(j);
	if (*j->p == '"')
		return string(j, NULL);
	if (*j->p != '{' && *j->p != '[')
		return word(j, at, name);
	if (++j->depth > DEPTH_MAX)
		return bad(j, "it is too deep");
	ok = *j->p++ == '{' ? members(j, inside(at, name)) : elements(j);
	j->depth--;
	return ok;
}

int vtfs_vfu_caps_parse(struct vfu_caps *ret, const void *json, size_t len)
{
	struct json j = {.p = json, .caps = ret};

	*ret = (struct vfu_caps){.max_fds = VFU_DEFAULT_MAX_FDS,
				 .max_xfer = VFU_DEFAULT_MAX_XFER,
				 .max_maps = VFU_DEFAULT_MAX_MAPS,
				 .pgsizes = VFU_DEFAULT_PGSIZES};
	if (!len)
		return 0;
	if (memchr(json, '\0', len) != (const char *)json + len - 1)
		return vtfs_fail(-EPROTO,
				 "vfio-user: VERSION does not end with a NUL");
	if (!take(&j, '{'))
		bad(&j, "it is no object");
	else if (members(&j, TOP) && (blanks(&j), *j.p))
		bad(&j, "something follows it");
	if (j.why)
		return vtfs_fail(-EPROTO, "vfio-user: the JSON of VERSION: %s",
				 j.why);
	return 0;
}

size_t vtfs_vfu_caps_format(const struct vfu_caps *caps, char *buf, size_t size)
{
	const struct {
		uint32_t bit;
		const char *name;
		uint64_t v;
	} numbers[] = {
	    {VFU_HAS_MAX_FDS, "max_msg_fds", caps->max_fds},
	    {VFU_HAS_MAX_XFER, "max_data_xfer_size", caps->max_xfer},
	    {VFU_HAS_MAX_MAPS, "max_dma_maps", caps->max_maps},
	    {VFU_HAS_PGSIZES, "pgsizes", caps->pgsizes},
	};
	const char *comma = "";
	int n = snprintf(buf, size, "{\"capabilities\":{");

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (!(caps->has & numbers[i].bit))
			continue;
		n += snprintf(buf + n, size - (size_t)n, "%s\"%s\":%llu", comma,
			      numbers[i].name,
			      (unsigned long long)numbers[i].v);
		comma = ",";
	}
	if (caps->has & VFU_HAS_WRITE_MULTI)
		n += snprintf(buf + n, size - (size_t)n,
			      "%s\"write_multiple\":%s", comma,
			      caps->write_multi ? "true" : "false");
	n += snprintf(buf + n, size - (size_t)n, "}}");
	return (size_t)n + 1;
}
