/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_fields - the header fields that decide how a request is framed and how
 * its connection goes on. Part of the parser; use http_parser.h.
 */
#ifndef MUSTER_HTTP_FIELDS_H
#define MUSTER_HTTP_FIELDS_H

#include "worker/http_parser.h"

/* What the fields so far have said and struct http_request has no place for. */
struct http_fields {
    bool has_host;
    bool option_close;
    bool option_keep_alive;
    bool option_upgrade;
    bool has_upgrade;
    bool has_expect;
};

/* Looks at one field, whose bytes are valid; the version in `request` is set.
 * Most fields mean nothing here. NULL, or a reason; `status` is then set. */
const char *http_fields_take(struct http_fields *fields, struct http_request *request,
                             const char *bytes, const struct http_header *header, int *status);

/* Judges them together at the end of the head and completes `request`.
 * NULL, or the reason for a 400. */
const char *http_fields_finish(const struct http_fields *fields, struct http_request *request);

#endif
