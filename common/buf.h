/* SPDX-License-Identifier: BSD-2-Clause
 *
 * buf - a growing byte buffer with a hard limit, for rendering documents.
 *
 * Not for the data path of a connection. Appending never fails half-way: once
 * memory or the limit is reached the buffer is marked `failed`, further
 * appends are ignored, and the caller checks buf_failed() once at the end.
 */
#ifndef MUSTER_BUF_H
#define MUSTER_BUF_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *ptr;
    size_t len;
    size_t capacity;
    size_t limit; /* bytes; 0 means BUF_DEFAULT_LIMIT */
    bool failed;
};

enum { BUF_DEFAULT_LIMIT = 64 << 20 };

void buf_init(struct buf *buf, size_t limit);
void buf_fini(struct buf *buf);

/* Empties the buffer and clears `failed`; keeps the memory. */
void buf_reset(struct buf *buf);

/* Makes room for `extra` more bytes and returns where they go, or NULL
 * (and `failed`) at the limit. The caller then adds what it wrote to len. */
char *buf_reserve(struct buf *buf, size_t extra);

void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_str(struct buf *buf, const char *str);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline bool buf_failed(const struct buf *buf)
{
    return buf->failed;
}

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_from(buf->ptr, buf->len);
}

#endif
