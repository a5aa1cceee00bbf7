/* SPDX-License-Identifier: BSD-2-Clause
 *
 * router - the table of routes and the two look-ups.
 */
#include "worker/router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct router {
    struct route **exact; /* open addressing, a power of two, at most half full */
    size_t exact_size;
    size_t exact_count;
    struct route **prefix; /* longest first */
    size_t prefix_count;
};

enum { EXACT_MIN_SIZE = 32 };

/* FNV-1a: paths are short and come from the configuration, not from an attacker; what is looked
 * up costs at most one pass over it. */
static size_t hash_path(struct slice path)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < path.len; i++)
        hash = (hash ^ (unsigned char)path.ptr[i]) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

struct router *router_new(void)
{
    struct router *router = calloc(1, sizeof(*router));
    if (router == NULL)
        return NULL;
    router->exact = calloc(EXACT_MIN_SIZE, sizeof(struct route *));
    if (router->exact == NULL) {
        free(router);
        return NULL;
    }
    router->exact_size = EXACT_MIN_SIZE;
    return router;
}

static void route_free(struct route *route)
{
    if (route == NULL)
        return;
    free((char *)route->path.ptr);
    free(route);
}

void router_free(struct router **router_ptr)
{
    struct router *router = *router_ptr;
    if (router == NULL)
        return;
    *router_ptr = NULL;
    for (size_t i = 0; i < router->exact_size; i++)
        route_free(router->exact[i]);
    for (size_t i = 0; i < router->prefix_count; i++)
        route_free(router->prefix[i]);
    free(router->exact);
    free(router->prefix);
    free(router);
}

static struct route **exact_place(struct route **table, size_t size, struct slice path)
{
    size_t i = hash_path(path) & (size - 1);
    while (table[i] != NULL && !slice_equal(table[i]->path, path))
        i = (i + 1) & (size - 1);
    return &table[i];
}

static int exact_grow(struct router *router)
{
    size_t size = router->exact_size * 2;
    struct route **table = calloc(size, sizeof(struct route *));
    if (table == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < router->exact_size; i++) {
        if (router->exact[i] != NULL)
            *exact_place(table, size, router->exact[i]->path) = router->exact[i];
    }
    free(router->exact);
    router->exact = table;
    router->exact_size = size;
    return 0;
}

static int add_exact(struct router *router, struct route *route)
{
    if ((router->exact_count + 1) * 2 > router->exact_size && exact_grow(router) != 0)
        return -ENOMEM;
    struct route **place = exact_place(router->exact, router->exact_size, route->path);
    if (*place != NULL)
        return -EEXIST;
    *place = route;
    router->exact_count++;
    return 0;
}

static int add_prefix(struct router *router, struct route *route)
{
    size_t at = 0;
    for (; at < router->prefix_count; at++) {
        if (slice_equal(router->prefix[at]->path, route->path))
            return -EEXIST;
        if (router->prefix[at]->path.len < route->path.len)
            break;
    }
    for (size_t i = at; i < router->prefix_count; i++) {
        if (slice_equal(router->prefix[i]->path, route->path))
            return -EEXIST;
    }
    struct route **grown =
        realloc(router->prefix, (router->prefix_count + 1) * sizeof(struct route *));
    if (grown == NULL)
        return -ENOMEM;
    router->prefix = grown;
    memmove(grown + at + 1, grown + at, (router->prefix_count - at) * sizeof(struct route *));
    grown[at] = route;
    router->prefix_count++;
    return 0;
}

int router_add(struct router *router, struct slice path, uint32_t methods, uint32_t flags,
               route_handler *handler, void *context)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return -EINVAL;
    struct route *route = calloc(1, sizeof(*route));
    char *copy = malloc(path.len);
    if (route == NULL || copy == NULL) {
        free(route);
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, path.ptr, path.len);
    route->path = slice_from(copy, path.len);
    route->prefix = path.ptr[path.len - 1] == '/' && (path.len > 1 || (flags & ROUTE_BELOW) != 0);
    route->flags = flags;
    route->methods = methods;
    route->handler = handler;
    route->context = context;
    router_format_allow(methods, route->allow, sizeof(route->allow));
    int err = route->prefix ? add_prefix(router, route) : add_exact(router, route);
    if (err != 0)
        route_free(route);
    return err;
}

const struct route *router_find(const struct router *router, struct slice path)
{
    const struct route *exact = *exact_place(router->exact, router->exact_size, path);
    if (exact != NULL)
        return exact;
    for (size_t i = 0; i < router->prefix_count; i++) {
        if (slice_starts_with(path, router->prefix[i]->path))
            return router->prefix[i];
    }
    return NULL;
}

void router_format_allow(uint32_t methods, char *out, size_t size)
{
    int len = snprintf(out, size, "Allow: ");
    for (int method = HTTP_GET; method < HTTP_METHOD_UNKNOWN; method++) {
        if ((methods & ROUTE_METHOD(method)) != 0 && method != HTTP_OPTIONS && (size_t)len < size)
            len += snprintf(out + len, size - (size_t)len, "%s, ", http_method_name(method));
    }
    if ((size_t)len < size)
        snprintf(out + len, size - (size_t)len, "OPTIONS\r\n");
}
