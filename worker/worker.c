/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker - start, wiring and loop.
 */
#include "worker/worker.h"

#include "common/cpus.h"
#include "common/log.h"
#include "worker/crash.h"
#include "worker/privileges.h"
#include "worker/worker_private.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKER_STATE_NAME(name, text) [WORKER_##name] = (text),
static const char *const state_names[] = {WORKER_STATES(WORKER_STATE_NAME)};

void worker_enter(struct worker *worker, enum worker_state state)
{
    CHECK(state > worker->state);
    log_debug("worker", LOG_STR("from", state_names[worker->state]),
              LOG_STR("to", state_names[state]));
    worker->state = state;
}

void worker_arm(struct worker *worker, struct event *timer, int64_t in_ms)
{
    const struct timeval tv = {in_ms / 1000, in_ms % 1000 * 1000};
    if (event_add(timer, &tv) == 0)
        return;
    log_error("out of memory for a timer");
    worker_end(worker, WORKER_EXIT_INTERNAL);
}

/* ---- what the parts are told about each other ---- */

static void on_conn_closed(void *context)
{
    struct worker *worker = context;
    if (worker->listeners != NULL)
        listeners_room(worker->listeners);
    if (worker->state == WORKER_DRAINING)
        worker_check_drained(worker);
}

static void on_documents_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct worker *worker = context;
    loop_enter(&worker->loop);
    worker->documents_wake_ns = 0;
    documents_expire(worker->documents, worker->loop.now_ns);
}

static void wake_documents_at(void *context, int64_t at_ns)
{
    struct worker *worker = context;
    if (worker->documents_wake_ns != 0 && worker->documents_wake_ns <= at_ns)
        return;
    worker->documents_wake_ns = at_ns;
    int64_t in_ms = (at_ns - worker->loop.now_ns) / 1000000 + 1;
    worker_arm(worker, &worker->documents_timer, in_ms > 0 ? in_ms : 0);
}

static void on_orphan_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct worker *worker = context;
    loop_enter(&worker->loop);
    log_error("heard no master for too long, leaving",
              LOG_INT("orphan_timeout_ms", worker->config->orphan_timeout));
    worker->exit_status = WORKER_EXIT_NO_MASTER;
    worker_drain(worker, worker->config->drain_timeout, 0, true);
}

/* Somebody other than the master wants this worker to go. The master learns of it from a
 * report; until it has given the sockets to others, connections are still taken. */
static void on_terminate(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct worker *worker = context;
    loop_enter(&worker->loop);
    if (worker->state >= WORKER_DRAINING)
        return;
    log_info("SIGTERM: draining");
    if (worker->config == NULL)
        worker_end(worker, WORKER_EXIT_OK);
    else
        worker_drain(worker, worker->config->drain_timeout, worker->config->drain_delay, true);
}

/* ---- building ---- */

static int build_serving(struct worker *worker)
{
    const struct config *config = worker->config;
    char error[512];
    const struct documents_hooks hooks = {worker_ask_master, wake_documents_at, worker};
    worker->documents = documents_new(&hooks);
    if (worker->documents == NULL)
        return WORKER_EXIT_INTERNAL;
    const struct handlers_parts handlers = {
        .config = config,
        .loop = &worker->loop,
        .metrics = &worker->metrics,
        .common = &worker->common,
        .documents = worker->documents,
        .cluster_state = &worker->cluster_state,
        .slot = worker->options.slot,
        .generation = worker->options.generation,
        .add_routes = worker->options.add_routes,
    };
    worker->handlers = handlers_new(&handlers, error, sizeof(error));
    if (worker->handlers == NULL) {
        log_error("the configuration cannot be served", LOG_STR("reason", error));
        return WORKER_EXIT_CONFIG;
    }
    const struct conns_parts conns = {
        .loop = &worker->loop,
        .metrics = &worker->metrics,
        .config = config,
        .router = handlers_router(worker->handlers),
        .common = &worker->common,
        .access_log = &worker->access_log,
        .on_closed = on_conn_closed,
        .context = worker,
    };
    worker->conns = conns_new(&conns);
    if (worker->conns == NULL)
        return WORKER_EXIT_INTERNAL;
    const struct listeners_parts listeners = {
        .loop = &worker->loop,
        .metrics = &worker->metrics,
        .conns = worker->conns,
        .own_slot = worker->options.slot,
        .max_connections = config->max_connections,
    };
    worker->listeners = listeners_new(&listeners);
    return worker->listeners != NULL ? 0 : WORKER_EXIT_INTERNAL;
}

static int build_all(struct worker *worker)
{
    const struct config *config = worker->config;
    char name[32], error[512];
    snprintf(name, sizeof(name), "worker %u", worker->options.slot);
    log_init(name, config->log_level, config->log_format);

    /* Every listening socket of the cluster is held open here, on IPv4 and IPv6. */
    int64_t sockets = (int64_t)config_max_workers(config, cpus_usable("")) * 2;
    sockets *= config->listen_count > 0 ? config->listen_count : 1;
    (void)privileges_limit(config, sockets);
    if (privileges_drop(config, error, sizeof(error)) != 0) {
        log_error("cannot give up privileges", LOG_STR("reason", error));
        return WORKER_EXIT_PRIVILEGES;
    }
    response_common_init(&worker->common, config->http_server_header);
    if (access_log_init(&worker->access_log, config->log_access, config->log_format,
                        config->log_access_sample,
                        &worker->metrics.counter[METRIC_ACCESS_LOG_DROPPED]) != 0)
        return WORKER_EXIT_INTERNAL;
    return build_serving(worker);
}

int worker_build(struct worker *worker, const struct config *config)
{
    worker->config = (struct config *)config;
    int status = build_all(worker);
    if (status == WORKER_EXIT_INTERNAL)
        log_error("out of memory at start");
    return status;
}

static int open_base(struct loop *loop)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return -1;
    /* One thread, and nothing in the environment is to change how the worker works. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    return loop->base != NULL ? 0 : -1;
}

static void ignore_signals(void)
{
    /* SIGPIPE is an error of send(2); the others are the master's business, also when they are
     * sent to the whole process group or by a terminal. */
    static const int ignored[] = {SIGPIPE, SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGTTIN, SIGTTOU, SIGTSTP};
    for (size_t i = 0; i < ARRAY_COUNT(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void worker_fini(struct worker *worker)
{
    worker_report_stop(worker);
    link_free(&worker->link);
    listeners_free(&worker->listeners);
    conns_free(&worker->conns);
    handlers_free(&worker->handlers);
    documents_free(&worker->documents);
    access_log_fini(&worker->access_log);
    if (worker->loop.base != NULL) {
        (void)event_del(&worker->terminate);
        event_base_free(worker->loop.base);
    }
    config_free(&worker->config);
    buf_fini(&worker->snapshot);
}

static int worker_init(struct worker *worker)
{
    if (open_base(&worker->loop) != 0)
        return -1;
    struct event_base *base = worker->loop.base;
    buf_init(&worker->snapshot, CONTRACT_MAX_MESSAGE / 2);
    metrics_reset(&worker->metrics);
    (void)evtimer_assign(&worker->documents_timer, base, on_documents_timer, worker);
    (void)evtimer_assign(&worker->orphan_timer, base, on_orphan_timer, worker);
    worker_init_drain(worker);
    (void)evsignal_assign(&worker->terminate, base, SIGTERM, on_terminate, worker);
    if (event_add(&worker->terminate, NULL) != 0)
        return -1;
    worker->link =
        link_new(&worker->loop, worker->options.control_path, &worker_link_callbacks, worker);
    return worker->link != NULL ? 0 : -1;
}

int worker_run(const struct worker_options *options)
{
    static struct worker storage; /* too large for the stack */
    struct worker *worker = &storage;
    worker->options = *options;
    worker->beat_fd = -1;
    ignore_signals();
    crash_install_trace(&worker->loop);
    if (worker_init(worker) != 0) {
        log_error("out of memory at start");
        worker_fini(worker);
        return WORKER_EXIT_INTERNAL;
    }
    loop_enter(&worker->loop);
    int err = link_start(worker->link);
    loop_leave(&worker->loop);
    if (err != 0) {
        log_error("cannot reach the master", LOG_STR("control", options->control_path),
                  LOG_ERR(err));
        worker->exit_status = WORKER_EXIT_NO_MASTER;
        worker->state = WORKER_ENDED;
    }
    while (worker->state != WORKER_ENDED) {
        if (event_base_loop(worker->loop.base, EVLOOP_ONCE) != 0)
            worker_end(worker, WORKER_EXIT_INTERNAL);
        if (worker->conns != NULL)
            conns_end_turn(worker->conns);
        loop_leave(&worker->loop);
    }
    int status = worker->exit_status;
    worker_fini(worker);
    return status;
}
