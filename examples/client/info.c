/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* info, as text for people and as JSON for programs */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "msg.h"
#include "names.h"

/* "NAME NAME bit50" */
static void print_bits(const char *title, enum names_table table, uint64_t bits)
{
	unsigned bit;

	printf("%s", title);
	if (!bits)
		printf(" none");
	for (bit = 0; bit < 64; bit++) {
		const char *name = bit_name(table, bit);

		if (!(bits >> bit & 1))
			continue;
		if (name)
			printf(" %s", name);
		else
			printf(" bit%u", bit);
	}
	putchar('\n');
}

static void print_sizes(const struct session *s)
{
	const struct fuse_init_out *init = &s->init;

	printf("max write:         %u\n", s->info.max_write);
	printf("max pages:         %u\n", s->info.max_pages);
	printf("max read-ahead:    %u\n", init->max_readahead);
	printf("max background:    %u\n", init->max_background);
	printf("time granularity:  %u ns\n", init->time_gran);
	if (s->info.init_flags & FUSE_MAP_ALIGNMENT)
		printf("map alignment:     2^%u\n", init->map_alignment);
	if (s->info.init_flags & FUSE_REQUEST_TIMEOUT)
		printf("request timeout:   %u s\n", init->request_timeout);
}

static void print_text(const struct session *s)
{
	const struct virtiofs_client_info *info = &s->info;
	char *tag = printable(info->tag);

	printf("tag:               %s\n", !*info->tag ? "(not told)"
					  : tag	      ? tag
						      : "?");
	printf("request queues:    %u in use", info->request_queues);
	if (info->device_request_queues)
		printf(", the device has %u", info->device_request_queues);
	printf("\nqueue size:        %u\n", info->queue_size);
	print_bits("virtio offered:   ", NAMES_VIRTIO, info->device_features);
	print_bits("virtio in use:    ", NAMES_VIRTIO, info->features);
	if (info->protocol_features)
		print_bits("vhost-user in use:", NAMES_VHOST_USER,
			   info->protocol_features);
	printf("FUSE version:      %u.%u\n", s->init.major, info->fuse_minor);
	print_bits("FUSE in use:      ", NAMES_FUSE, info->init_flags);
	print_sizes(s);
	free(tag);
}

/* A peer's bytes as a JSON string: what is no UTF-8 becomes U+FFFD. */
static unsigned utf8_len(const unsigned char *p)
{
	unsigned len = *p < 0x80		 ? 1
		       : *p >= 0xc2 && *p < 0xe0 ? 2
		       : (*p & 0xf0) == 0xe0	 ? 3
		       : *p >= 0xf0 && *p < 0xf5 ? 4
						 : 0;
	unsigned i;

	for (i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static void json_string(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	putchar('"');
	while (*p) {
		unsigned len = utf8_len(p);

		if (!len)
			fputs("\\ufffd", stdout);
		else if (*p < 0x20 || *p == 0x7f)
			printf("\\u%04x", *p);
		else if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else
			fwrite(p, 1, len, stdout);
		p += len ? len : 1;
	}
	putchar('"');
}

static void json_bits(const char *key, enum names_table table, uint64_t bits)
{
	const char *comma = "";
	unsigned bit;

	printf("  \"%s\": [", key);
	for (bit = 0; bit < 64; bit++) {
		const char *name = bit_name(table, bit);

		if (!(bits >> bit & 1))
			continue;
		if (name)
			printf("%s\"%s\"", comma, name);
		else
			printf("%s\"bit%u\"", comma, bit);
		comma = ", ";
	}
	printf("],\n");
}

static void print_json(const struct session *s)
{
	const struct virtiofs_client_info *info = &s->info;
	const struct fuse_init_out *init = &s->init;

	printf("{\n  \"tag\": ");
	json_string(info->tag);
	printf(",\n  \"request_queues\": %u,\n", info->request_queues);
	printf("  \"device_request_queues\": %u,\n",
	       info->device_request_queues);
	printf("  \"queue_size\": %u,\n", info->queue_size);
	json_bits("virtio_offered", NAMES_VIRTIO, info->device_features);
	json_bits("virtio", NAMES_VIRTIO, info->features);
	json_bits("vhost_user", NAMES_VHOST_USER, info->protocol_features);
	printf("  \"fuse_major\": %u,\n  \"fuse_minor\": %u,\n", init->major,
	       info->fuse_minor);
	json_bits("fuse", NAMES_FUSE, info->init_flags);
	printf("  \"max_write\": %u,\n  \"max_pages\": %u,\n", info->max_write,
	       info->max_pages);
	printf("  \"max_readahead\": %u,\n  \"max_background\": %u,\n",
	       init->max_readahead, init->max_background);
	printf("  \"congestion_threshold\": %u,\n  \"time_gran\": %u,\n",
	       init->congestion_threshold, init->time_gran);
	printf("  \"map_alignment\": %u,\n  \"request_timeout\": %u\n}\n",
	       info->init_flags & FUSE_MAP_ALIGNMENT ? init->map_alignment : 0,
	       info->init_flags & FUSE_REQUEST_TIMEOUT ? init->request_timeout
						       : 0);
}

int cmd_info(struct session *s, const struct args *args)
{
	if (args->on['j'])
		print_json(s);
	else
		print_text(s);
	return 0;
}
