/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_target - the forms of a request target and the syntax of a host
 * (RFC 9112 3.2, RFC 3986 3.2). Part of the parser; use http_parser.h.
 */
#ifndef MUSTER_HTTP_TARGET_H
#define MUSTER_HTTP_TARGET_H

#include "worker/http_parser.h"

/* Whether the text is host [":" port]: a name, an IPv4 address or an IPv6
 * address in brackets. No user information; the host is not empty. */
bool http_target_is_authority(struct slice text, bool needs_port);

/* Finds out the form of request->target and sets path, path_is_root and host
 * (query is already set). Which form is due depends on request->method.
 * NULL, or the reason for a 400. */
const char *http_target_split(struct http_request *request, const char *bytes);

#endif
