/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool - the buffers that connections borrow while bytes are half-arrived or
 * half-sent.
 *
 * A few sizes; what comes back is kept for the next one up to a bound per
 * size, the rest is given back to the allocator. Pure.
 */
#ifndef MUSTER_WORKER_POOL_H
#define MUSTER_WORKER_POOL_H

#include "common/check.h"

#include <stddef.h>
#include <stdint.h>

enum { POOL_CLASSES = 4, POOL_KEEP_BYTES = 256 * 1024 };

struct chunk {
    struct chunk *next; /* while it lies in the pool */
    uint32_t capacity;
    uint32_t len; /* the borrower's */
    char data[];
};

struct pool {
    struct chunk *spare[POOL_CLASSES];
    uint32_t spare_count[POOL_CLASSES];
    int64_t borrowed;
};

void pool_init(struct pool *pool);
void pool_fini(struct pool *pool); /* everything must have come back */

/* An empty chunk with room for at least `capacity` bytes; NULL without memory. */
MUST_USE struct chunk *pool_borrow(struct pool *pool, size_t capacity);
/* Accepts NULL. */
void pool_return(struct pool *pool, struct chunk **chunk);

#endif
