/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client - one request to the management server, over its Unix socket or TCP.
 *
 * Blocking, with one deadline for the whole. HTTP/1.0 on purpose: the answer
 * ends with the connection and is never chunked.
 */
#ifndef MUSTER_CTL_CLIENT_H
#define MUSTER_CTL_CLIENT_H

#include "common/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLIENT_ERROR_SIZE = 512 };

struct client {
    const char *socket_path; /* used when `host` is empty */
    char host[256];          /* of a URL */
    char port[8];
    char prefix[256]; /* path of the URL, put before every path */
    char *token;      /* NULL: none */
};

struct client_response {
    int status;
    char *body; /* NUL at the end */
    size_t body_len;
};

enum client_result {
    CLIENT_OK,          /* there is an answer, whatever its status */
    CLIENT_UNREACHABLE, /* no connection */
    CLIENT_BROKEN,      /* the connection ended or what came is no answer */
    CLIENT_TIMEOUT,
};

/* http://HOST[:PORT][/PREFIX]; false with a reason. */
MUST_USE bool client_parse_url(struct client *client, const char *url, char *error);

/* `body` may be NULL. The reason of anything but CLIENT_OK is in `error`
 * (CLIENT_ERROR_SIZE bytes). */
MUST_USE enum client_result client_request(const struct client *client, const char *method,
                                           const char *path, const char *body, int64_t timeout_ms,
                                           struct client_response *out, char *error);
void client_response_fini(struct client_response *response);

#endif
