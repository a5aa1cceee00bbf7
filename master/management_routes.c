/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management_routes - which routes the management server has. Pure.
 */
#include "common/check.h"
#include "master/management_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct route routes[] = {
    {"GET", "/", ROUTE_INDEX, 0, "this list"},
    {"GET", "/cluster/status", ROUTE_STATUS, 0, "the whole cluster, worker by worker"},
    {"GET", "/cluster/workers/{slot}", ROUTE_WORKER, 0, "one worker, with its obituaries"},
    {"POST", "/cluster/workers/{slot}/restart", ROUTE_CHANGE, COMMAND_RESTART,
     "replace one worker; nothing is dropped"},
    {"POST", "/cluster/reload", ROUTE_CHANGE, COMMAND_RELOAD,
     "check the configuration, then replace every worker"},
    {"POST", "/cluster/upgrade", ROUTE_CHANGE, COMMAND_UPGRADE,
     "become the musterd that is on disk now, then replace every worker"},
    {"POST", "/cluster/drain", ROUTE_CHANGE, COMMAND_DRAIN, "finish what is in flight, then end"},
    {"GET", "/scaling/status", ROUTE_SCALING, 0, "how many workers, and why"},
    {"POST", "/scaling/manual", ROUTE_CHANGE, COMMAND_SCALE,
     "{\"instances\": 6, \"reason\": \"...\", \"for\": \"30m\"}: set the number of workers"},
    {"DELETE", "/scaling/manual", ROUTE_CHANGE, COMMAND_SCALE_AUTO,
     "back to the configured number of workers"},
    {"GET", "/events", ROUTE_EVENTS, 0, "what happened last; ?limit=N"},
    {"GET", "/health", ROUTE_VIEW, VIEW_HEALTH, "200 when it serves, 503 when not"},
    {"GET", "/health/live", ROUTE_VIEW, VIEW_HEALTH_LIVE, "200 while the master lives"},
    {"GET", "/health/ready", ROUTE_VIEW, VIEW_HEALTH_READY, "200 when a worker is ready"},
    {"GET", "/health/performance", ROUTE_VIEW, VIEW_HEALTH_PERFORMANCE,
     "rates, latency, memory, per worker"},
    {"GET", "/api/health", ROUTE_VIEW, VIEW_API_HEALTH, "a summary for applications"},
    {"GET", "/metrics", ROUTE_VIEW, VIEW_METRICS, "everything, for Prometheus"},
};

enum { ROUTE_COUNT = ARRAY_COUNT(routes) };

/* Digits only; -1 for anything else and for numbers that are no slot anyway. */
static int parse_slot(const char *text, size_t len)
{
    int slot = 0;
    if (len == 0 || len > 6)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        slot = slot * 10 + (text[i] - '0');
    }
    return slot;
}

static bool path_matches(const char *pattern, const char *path, int *slot)
{
    static const char parameter[] = "{slot}";
    const char *brace = strchr(pattern, '{');
    if (brace == NULL)
        return strcmp(pattern, path) == 0;
    size_t prefix = (size_t)(brace - pattern);
    if (strncmp(pattern, path, prefix) != 0)
        return false;
    size_t len = strcspn(path + prefix, "/");
    if (len == 0 || strcmp(path + prefix + len, brace + sizeof(parameter) - 1) != 0)
        return false;
    *slot = parse_slot(path + prefix, len);
    return true;
}

enum route_match management_find_route(const char *method, const char *path,
                                       const struct route **out, int *slot, char *methods,
                                       size_t size)
{
    bool head = strcmp(method, "HEAD") == 0;
    size_t len = 0;
    methods[0] = '\0';
    for (int i = 0; i < ROUTE_COUNT; i++) {
        if (!path_matches(routes[i].path, path, slot))
            continue;
        if (strcmp(routes[i].method, head ? "GET" : method) == 0) {
            *out = &routes[i];
            return ROUTE_FOUND;
        }
        bool get = strcmp(routes[i].method, "GET") == 0;
        len += (size_t)snprintf(methods + len, size - len, "%s%s", len > 0 ? ", " : "",
                                get ? "GET, HEAD" : routes[i].method);
        CHECK(len < size);
    }
    return len > 0 ? ROUTE_NO_METHOD : ROUTE_NO_PATH;
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t len = 0;
    while (a[len] != '\0' && a[len] == b[len])
        len++;
    return len;
}

const struct route *management_near_route(const char *path, int n)
{
    size_t best = 0;
    for (int i = 0; i < ROUTE_COUNT; i++) {
        size_t len = common_prefix(routes[i].path, path);
        best = len > best ? len : best;
    }
    for (int i = 0; i < ROUTE_COUNT; i++)
        if (common_prefix(routes[i].path, path) == best && n-- == 0)
            return &routes[i];
    return NULL;
}

const struct route *management_route(int n)
{
    return n >= 0 && n < ROUTE_COUNT ? &routes[n] : NULL;
}
