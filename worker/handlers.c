/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handlers - building the table of routes, and prepared pages.
 */
#include "worker/handlers.h"

#include "common/log.h"
#include "worker/exchange.h"
#include "worker/handlers_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void answer_page(struct conn *conn, const struct http_request *request, const char *bytes,
                        void *context)
{
    (void)request;
    (void)bytes;
    exchange_answer_page(conn, context);
}

static int add_page(struct handlers *handlers, const struct config_route *route)
{
    struct response_page *page = &handlers->pages[handlers->page_count];
    int err = response_page_init(page, handlers->parts.common, route->status,
                                 slice_from_str(route->content_type), SLICE_LITERAL(""),
                                 slice_from_str(route->text));
    if (err != 0)
        return err;
    handlers->page_count++;
    return router_add(handlers->router, slice_from_str(route->path), ROUTE_READ, 0, answer_page,
                      page);
}

static int add_files(struct handlers *handlers, const struct config_route *route)
{
    struct files *files = files_new(route->root, route->path);
    if (files == NULL)
        return -errno;
    handlers->files[handlers->files_count++] = files;
    return router_add(handlers->router, slice_from_str(route->path), ROUTE_READ, ROUTE_BELOW,
                      files_handle, files);
}

static int add_configured(struct handlers *handlers, char *error, size_t error_size)
{
    const struct config *config = handlers->parts.config;
    for (int i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        bool has_root = route->root != NULL && route->root[0] != '\0';
        int err = has_root ? add_files(handlers, route) : add_page(handlers, route);
        if (err != 0) {
            snprintf(error, error_size, "route \"%s\"%s%s: %s", route->path,
                     has_root ? ", directory " : "", has_root ? route->root : "",
                     log_strerror(err));
            return err;
        }
    }
    return 0;
}

static int add_view(struct handlers *handlers, enum view view, const char *path)
{
    struct view_route *route = &handlers->views[view];
    *route = (struct view_route){handlers, view};
    /* Liveness is this worker's own; everything else may have to wait for the master. */
    uint32_t flags = view == VIEW_METRICS ? ROUTE_LATER : ROUTE_JSON | ROUTE_LATER;
    return router_add(handlers->router, slice_from_str(path), ROUTE_READ, flags,
                      handlers_answer_view, route);
}

static int add_views(struct handlers *handlers)
{
#define HANDLERS_VIEW_PATH(number, name, path) [number] = (path),
    static const char *const paths[VIEW_COUNT] = {VIEWS(HANDLERS_VIEW_PATH)};
    const struct config *config = handlers->parts.config;
    for (int view = 0; view < VIEW_COUNT; view++) {
        if (!(view == VIEW_METRICS ? config->metrics_enabled : config->health_enabled))
            continue;
        int err = add_view(handlers, (enum view)view, paths[view]);
        if (err != 0 && err != -EEXIST)
            return err;
    }
    return 0;
}

static int add_built_in(struct handlers *handlers)
{
    /* The page makes room for whatever the configuration puts at "/". */
    if (router_find(handlers->router, SLICE_LITERAL("/")) == NULL) {
        int err = router_add(handlers->router, SLICE_LITERAL("/"), ROUTE_READ, 0,
                             handlers_answer_demo_page, NULL);
        if (err != 0)
            return err;
    }
    const struct handlers_parts *parts = &handlers->parts;
    int err = parts->add_routes != NULL ? parts->add_routes(handlers->router, parts->loop) : 0;
    return err != 0 ? err : add_views(handlers);
}

struct handlers *handlers_new(const struct handlers_parts *parts, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s", log_strerror(ENOMEM));
    struct handlers *handlers = calloc(1, sizeof(*handlers));
    if (handlers == NULL)
        return NULL;
    handlers->parts = *parts;
    size_t count = (size_t)parts->config->route_count + 1;
    handlers->pages = calloc(count, sizeof(*handlers->pages));
    handlers->files = calloc(count, sizeof(struct files *));
    handlers->router = router_new();
    if (handlers->pages == NULL || handlers->files == NULL || handlers->router == NULL ||
        add_configured(handlers, error, error_size) != 0 || add_built_in(handlers) != 0)
        handlers_free(&handlers);
    return handlers;
}

void handlers_free(struct handlers **handlers_ptr)
{
    struct handlers *handlers = *handlers_ptr;
    if (handlers == NULL)
        return;
    *handlers_ptr = NULL;
    router_free(&handlers->router);
    for (int i = 0; i < handlers->page_count; i++)
        response_page_fini(&handlers->pages[i]);
    for (int i = 0; i < handlers->files_count; i++)
        files_free(&handlers->files[i]);
    free(handlers->pages);
    free(handlers->files);
    free(handlers);
}

const struct router *handlers_router(const struct handlers *handlers)
{
    return handlers->router;
}
