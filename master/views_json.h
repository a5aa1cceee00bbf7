/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_json - writing a JSON document straight into a buffer, without a tree.
 *
 * Private to the views. The status of 256 workers is built on the loop of the
 * master: as a Jansson tree it takes five times as long and megabytes that
 * live for a moment; Jansson stays for what is read. Keys are the caller's
 * constants (NULL inside an array); strings may hold anything: bytes that are
 * not UTF-8 become U+FFFD.
 */
#ifndef MUSTER_VIEWS_JSON_H
#define MUSTER_VIEWS_JSON_H

#include "common/buf.h"
#include "master/reload_changes.h"

#include <stdbool.h>
#include <stdint.h>

struct doc {
    struct buf *out;
    bool comma; /* something stands before the next value */
};

void doc_begin(struct doc *doc, struct buf *out);
/* Ends the line; every document is one line. */
void doc_end(struct doc *doc);

void doc_object(struct doc *doc, const char *key);
void doc_object_end(struct doc *doc);
void doc_array(struct doc *doc, const char *key);
void doc_array_end(struct doc *doc);

void doc_int(struct doc *doc, const char *key, int64_t value);
void doc_uint(struct doc *doc, const char *key, uint64_t value);
/* At most `decimals` (0..6) digits behind the point; null when not finite. */
void doc_real(struct doc *doc, const char *key, double value, int decimals);
void doc_bool(struct doc *doc, const char *key, bool value);
void doc_null(struct doc *doc, const char *key);
void doc_str(struct doc *doc, const char *key, const char *value); /* NULL: null */
/* "key":[{"key":…,"from":…,"to":…,"live":…},…] */
void doc_changes(struct doc *doc, const char *key, const struct reload_changes *changes);
/* RFC 3339 with milliseconds; null when 0. */
void doc_time(struct doc *doc, const char *key, int64_t wall_ms);

#endif
