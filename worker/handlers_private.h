/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handlers_private - what handlers.c, handlers_page.c and handlers_cluster.c share.
 */
#ifndef MUSTER_WORKER_HANDLERS_PRIVATE_H
#define MUSTER_WORKER_HANDLERS_PRIVATE_H

#include "worker/files.h"
#include "worker/handlers.h"

struct view_route {
    struct handlers *handlers;
    enum view view;
};

struct handlers {
    struct handlers_parts parts;
    struct router *router;
    struct response_page *pages; /* room for one per configured route */
    int page_count;
    struct files **files; /* one per configured route */
    int files_count;
    struct view_route views[VIEW_COUNT];
};

/* The page at "/"; no context. */
route_handler handlers_answer_demo_page;

/* A cluster document; the context is a struct view_route. */
route_handler handlers_answer_view;

#endif
