/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool - size classes and their free lists.
 */
#include "worker/pool.h"

#include <stdlib.h>

/* With their header they fill the allocator's pages well. The smallest takes a common request
 * head, the third the largest head by default (16k), the fourth a full read buffer. */
static const uint32_t class_capacity[POOL_CLASSES] = {
    1024 - sizeof(struct chunk),
    4096 - sizeof(struct chunk),
    20480 - sizeof(struct chunk),
    69632 - sizeof(struct chunk),
};

#if defined(__SANITIZE_ADDRESS__)
enum { KEEP_BYTES = 0 }; /* so that a use after return is found */
#else
enum { KEEP_BYTES = POOL_KEEP_BYTES };
#endif

void pool_init(struct pool *pool)
{
    *pool = (struct pool){0};
}

void pool_fini(struct pool *pool)
{
    CHECK(pool->borrowed == 0);
    for (int i = 0; i < POOL_CLASSES; i++) {
        while (pool->spare[i] != NULL) {
            struct chunk *chunk = pool->spare[i];
            pool->spare[i] = chunk->next;
            free(chunk);
        }
        pool->spare_count[i] = 0;
    }
}

struct chunk *pool_borrow(struct pool *pool, size_t capacity)
{
    struct chunk *chunk = NULL;
    for (int i = 0; i < POOL_CLASSES; i++) {
        if (capacity > class_capacity[i])
            continue;
        capacity = class_capacity[i];
        chunk = pool->spare[i];
        if (chunk != NULL) {
            pool->spare[i] = chunk->next;
            pool->spare_count[i]--;
        }
        break;
    }
    if (chunk == NULL) {
        if (capacity > UINT32_MAX - sizeof(*chunk))
            return NULL;
        chunk = malloc(sizeof(*chunk) + capacity);
        if (chunk == NULL)
            return NULL;
        chunk->capacity = (uint32_t)capacity;
    }
    chunk->next = NULL;
    chunk->len = 0;
    pool->borrowed++;
    return chunk;
}

void pool_return(struct pool *pool, struct chunk **chunk_ptr)
{
    struct chunk *chunk = *chunk_ptr;
    if (chunk == NULL)
        return;
    *chunk_ptr = NULL;
    pool->borrowed--;
    for (int i = 0; i < POOL_CLASSES; i++) {
        if (chunk->capacity != class_capacity[i])
            continue;
        if ((uint64_t)(pool->spare_count[i] + 1) * chunk->capacity > KEEP_BYTES)
            break;
        chunk->next = pool->spare[i];
        pool->spare[i] = chunk;
        pool->spare_count[i]++;
        return;
    }
    free(chunk);
}
