/* SPDX-License-Identifier: BSD-2-Clause
 *
 * files - answering requests with the files below one directory.
 *
 * Reads only; no listings, no symbolic link out of the directory
 * (openat2 RESOLVE_BENEATH), no names that begin with a dot. Knows
 * conditional requests and single byte ranges (RFC 9110 13 and 14).
 */
#ifndef MUSTER_WORKER_FILES_H
#define MUSTER_WORKER_FILES_H

#include "common/check.h"
#include "common/slice.h"
#include "worker/router.h"

#include <stdint.h>

struct files;

/* `root` is a directory; `prefix` the route it is served under. NULL and
 * errno when the directory cannot be opened. */
MUST_USE struct files *files_new(const char *root, const char *prefix);
void files_free(struct files **files);

/* The handler; its context is the struct files. */
route_handler files_handle;

/* ---- pure parts ---- */

enum { FILES_MAX_PATH = 1024 };

/* Turns what follows the prefix in a request's path into a relative path:
 * percent-decoding, then dot segments. -EINVAL for NUL bytes, encoded slashes
 * and paths that leave the directory, -EACCES for hidden names (but
 * ".well-known"), -ENAMETOOLONG. The empty path is ".". */
MUST_USE int files_decode_path(struct slice raw, char out[FILES_MAX_PATH]);

const char *files_content_type(const char *path);

/* A Range header against a length. 1: one satisfiable range [first, last];
 * 0: to be ignored; -ERANGE: not satisfiable. */
int files_parse_range(struct slice value, int64_t length, int64_t *first, int64_t *last);

/* Whether an If-None-Match list contains the tag (weak comparison). */
bool files_etag_matches(struct slice list, struct slice etag);

#endif
