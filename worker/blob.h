/* SPDX-License-Identifier: BSD-2-Clause
 *
 * blob - bytes that several connections send while nobody changes them.
 *
 * Counted references; not for threads. Used for documents that are too large
 * to be copied into every connection's output.
 */
#ifndef MUSTER_WORKER_BLOB_H
#define MUSTER_WORKER_BLOB_H

#include "common/check.h"
#include "common/slice.h"

#include <stdint.h>
#include <stdlib.h>

struct blob {
    uint32_t refs;
    size_t len;
    char data[];
};

/* One reference for the caller; NULL without memory. */
MUST_USE static inline struct blob *blob_new(struct slice bytes)
{
    struct blob *blob = malloc(sizeof(*blob) + bytes.len);
    if (blob == NULL)
        return NULL;
    blob->refs = 1;
    blob->len = bytes.len;
    if (bytes.len > 0)
        memcpy(blob->data, bytes.ptr, bytes.len);
    return blob;
}

static inline struct blob *blob_ref(struct blob *blob)
{
    blob->refs++;
    return blob;
}

/* Accepts NULL. */
static inline void blob_unref(struct blob **blob_ptr)
{
    struct blob *blob = *blob_ptr;
    *blob_ptr = NULL;
    if (blob != NULL && --blob->refs == 0)
        free(blob);
}

#endif
