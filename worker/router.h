/* SPDX-License-Identifier: BSD-2-Clause
 *
 * router - which handler answers a path.
 *
 * A table built at start and not changed afterwards: exact paths in a hash
 * table, prefixes (they end in "/") from the longest to the shortest. Paths
 * are compared byte by byte as they were sent. Pure.
 * The router owns copies of the paths; handlers and their contexts are borrowed.
 */
#ifndef MUSTER_WORKER_ROUTER_H
#define MUSTER_WORKER_ROUTER_H

#include "common/check.h"
#include "common/slice.h"
#include "worker/http_parser.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;

/* One request that has been received whole. `bytes` is what the ranges of
 * `request` point into; both are valid until the handler returns. It answers
 * with exactly one of the functions of exchange.h. */
typedef void route_handler(struct conn *conn, const struct http_request *request, const char *bytes,
                           void *context);

/* Sets of methods: ROUTE_METHOD(HTTP_GET) | … */
#define ROUTE_METHOD(method) (1U << (method))
enum { ROUTE_READ = ROUTE_METHOD(HTTP_GET) | ROUTE_METHOD(HTTP_HEAD) };

enum route_flags {
    ROUTE_JSON = 1,  /* errors are told in JSON */
    ROUTE_LATER = 2, /* the handler may answer later */
    ROUTE_BELOW = 4, /* "/" is a prefix too, of everything */
};

struct route {
    struct slice path;
    bool prefix;
    uint32_t flags;   /* enum route_flags */
    uint32_t methods; /* OPTIONS is always answered and need not be in it */
    char allow[80];   /* the Allow header line for these methods */
    route_handler *handler;
    void *context;
};

struct router;

MUST_USE struct router *router_new(void); /* NULL without memory */
void router_free(struct router **router);

/* A path that ends in "/" is a prefix, "/" itself only with ROUTE_BELOW; every
 * other is exact. 0, -EEXIST when the path is there already, -EINVAL when it does not
 * begin with "/", -ENOMEM. */
MUST_USE int router_add(struct router *router, struct slice path, uint32_t methods, uint32_t flags,
                        route_handler *handler, void *context);

/* The exact route, else the longest prefix, else NULL. */
const struct route *router_find(const struct router *router, struct slice path);

/* "Allow: GET, HEAD, OPTIONS\r\n" into `out`. */
void router_format_allow(uint32_t methods, char *out, size_t size);

#endif
