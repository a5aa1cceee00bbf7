/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management_private - what the management files share, and their pure parts
 * for the tests.
 *
 *   management.c          the daemons and their events
 *   management_socket.c   binding, with errors that help
 *   management_request.c  one request: is it allowed, its body, its answer
 *   management_routes.c   which routes there are
 *   management_change.c   commands: started, waited for, written down
 *   management_parse.c    pure: Host, bodies, query arguments
 */
#ifndef MUSTER_MANAGEMENT_PRIVATE_H
#define MUSTER_MANAGEMENT_PRIVATE_H

#include "common/contract.h"
#include "common/slice.h"
#include "master/command.h"
#include "master/management.h"

#include <microhttpd.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum {
    MANAGEMENT_MAX_BODY = 64 * 1024,
    MANAGEMENT_MAX_DISCARD = 1024 * 1024, /* of a chunked body that is too large, then cut */
    MANAGEMENT_MAX_CHANGES = 32,          /* under way at once */
    MANAGEMENT_TIMEOUT_S = 30,            /* of a connection on which nothing moves */
    MANAGEMENT_CONNECTION_BYTES = 32 * 1024,
    MANAGEMENT_FLUSH_MS = 250, /* for answers under way at the end */
    MANAGEMENT_MESSAGE_SIZE = 640,
    MANAGEMENT_WHO_SIZE = sizeof(((struct command *)0)->who),
};

/* ---- pure ---- */

/* Whether a Host header (with or without port) names this server: a numeric
 * address, localhost, or a name of `allowed` (separated by commas). Any other
 * name may be one that somebody's page made resolve to it (DNS rebinding). */
bool management_host_allowed(struct slice host, const char *allowed);

/* Fills `command` (kind and slot are set) from a JSON body, which may be
 * empty. False: `message` says what is wrong and what would be right. */
bool management_parse_body(struct slice body, const struct cluster *cluster,
                           struct command *command, char *message, size_t size);

/* Whether the media type of a Content-Type value is application/json. */
bool management_is_json_type(const char *content_type);
/* Whether an Accept header asks for this media type (not with q=0). */
bool management_accepts(const char *accept, const char *media_type);

/* The value of ?limit=, from 1 to `max`; NULL is `max`. -1: it is no such number. */
int management_parse_limit(const char *text, int max);

enum route_kind {
    ROUTE_INDEX,
    ROUTE_VIEW,
    ROUTE_STATUS,
    ROUTE_WORKER,
    ROUTE_SCALING,
    ROUTE_EVENTS,
    ROUTE_CHANGE,
};

struct route {
    const char *method;
    const char *path; /* may hold "{slot}" */
    enum route_kind kind;
    int what; /* enum view or enum command_kind */
    const char *help;
};

enum route_match { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };
/* HEAD is found as GET. `slot` is -1 when the text is no number; `methods`
 * lists what the path takes when the method is not among it. */
enum route_match management_find_route(const char *method, const char *path,
                                       const struct route **out, int *slot, char *methods,
                                       size_t size);
/* The n-th of the routes that look most like `path`, NULL after the last. */
const struct route *management_near_route(const char *path, int n);
/* The n-th of all routes, NULL after the last. */
const struct route *management_route(int n);

/* ---- sockets ---- */

struct management_bound {
    int fd;
    bool loopback; /* reachable from this machine only */
};
MUST_USE bool management_bind_tcp(const char *address, int port, struct management_bound *out,
                                  char *error, size_t error_size);
/* Mode 0600; takes the place of a socket that is there. -1 on failure. */
MUST_USE int management_bind_unix(const char *path, char *error, size_t error_size);

/* ---- the server ---- */

/* One listening socket: a daemon of its own, so that clients of the TCP port
 * can never use up the connections of the Unix socket. */
struct endpoint {
    struct management *management;
    struct MHD_Daemon *daemon; /* NULL: not served */
    struct event *io;          /* its epoll descriptor */
    struct event *timer;
    bool is_unix;
    bool loopback; /* reachable from this machine only */
};

struct change;
TAILQ_HEAD(change_list, change);

struct management {
    struct event_base *base;
    const struct cluster *cluster;
    struct master *master;
    const struct config *config;
    struct endpoint tcp;
    struct endpoint local;
    char socket_path[108];
    struct change_list changes;
    int change_count;
    int request_count; /* not answered completely yet */
    int64_t refusal_logged_ms;
    uint64_t refusals_not_logged;
    bool closing;
};

struct request {
    struct endpoint *endpoint;
    struct MHD_Connection *connection;
    const struct route *route;
    int slot;
    char who[MANAGEMENT_WHO_SIZE];
    char client[46]; /* numeric address, "?" over the Unix socket */
    struct buf body;
    size_t body_seen;
    int refused; /* the status of an answer that is settled already, 0: none */
    char message[MANAGEMENT_MESSAGE_SIZE];
    char allow[64];        /* methods, with 405 */
    char near_path[64];    /* with 404 */
    struct change *change; /* it waits for this to end */
    bool suspended;
    struct event *watch; /* for the client going away meanwhile */
};

/* Lets the daemon go on after something changed outside of its sockets. */
void endpoint_wake(struct endpoint *endpoint);

/* libmicrohttpd's callbacks. */
enum MHD_Result request_on_access(void *endpoint, struct MHD_Connection *connection,
                                  const char *url, const char *method, const char *version,
                                  const char *data, size_t *data_size, void **context);
void request_on_completed(void *endpoint, struct MHD_Connection *connection, void **context,
                          enum MHD_RequestTerminationCode reason);

/* Answers. The buffer is taken over. */
enum MHD_Result request_answer(struct request *request, int status, const char *content_type,
                               struct buf *body);
enum MHD_Result request_answer_error(struct request *request, int status, const char *message);
const char *request_header(const struct request *request, const char *name);

/* Starts the command of a request and answers, or suspends the connection
 * until it has ended. */
enum MHD_Result change_start(struct request *request);
/* The request was resumed: the change has ended, or the client has gone. */
enum MHD_Result change_answer(struct request *request);
/* The request ends first; the change goes on and is still written down. */
void change_detach(struct request *request);
/* Nobody waits any more: the server closes. */
void change_abandon_all(struct management *management);

#endif
