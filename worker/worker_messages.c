/* SPDX-License-Identifier: BSD-2-Clause
 *
 * worker_messages - what the worker says to the master and makes of what the
 * master says (common/contract.h).
 */
#include "worker/worker_private.h"

#include "common/log.h"

#include "version.h"

#include <errno.h>
#include <event2/event.h>
#include <unistd.h>

/* ---- to the master ---- */

static uint32_t phase_of(enum worker_state state)
{
    switch (state) {
    case WORKER_STARTING:
        return WORKER_PHASE_STARTING;
    case WORKER_SERVING:
        return WORKER_PHASE_SERVING;
    case WORKER_DRAINING:
    case WORKER_ENDED:
        break;
    }
    return WORKER_PHASE_DRAINING;
}

static void send_or_log(struct worker *worker, const char *name)
{
    int err = link_send(worker->link);
    if (err != 0)
        log_warning("message not sent", LOG_STR("message", name), LOG_ERR(err));
}

static void on_connect(void *context)
{
    struct worker *worker = context;
    struct buf *message = link_message(worker->link);
    ipc_begin(message, MESSAGE_HELLO);
    ipc_put_u32(message, FIELD_SLOT, worker->options.slot);
    ipc_put_u32(message, FIELD_PID, (uint32_t)getpid());
    ipc_put_u64(message, FIELD_GENERATION, worker->options.generation);
    ipc_put_u32(message, FIELD_CONTRACT, CONTRACT_VERSION);
    ipc_put_str(message, FIELD_BUILD, MUSTER_VERSION);
    ipc_put_u32(message, FIELD_STATE, phase_of(worker->state));
    if (worker->state != WORKER_STARTING) {
        ipc_put_slots(message, FIELD_SLOTS, listeners_assigned(worker->listeners));
        ipc_put_u64(message, FIELD_EPOCH, worker->epoch);
    }
    if (worker->state == WORKER_DRAINING) {
        int64_t left_ms = (worker->drain_deadline_ns - worker->loop.now_ns) / 1000000;
        ipc_put_u32(message, FIELD_TIMEOUT_MS, left_ms > 0 ? (uint32_t)left_ms : 0);
    }
    send_or_log(worker, "HELLO");
    /* A new master has only what the one before wrote down. */
    if (worker->state != WORKER_STARTING)
        worker_report(worker);
}

static void send_assigned(struct worker *worker, const struct slot_set *slots, bool closed)
{
    struct buf *message = link_message(worker->link);
    ipc_begin(message, MESSAGE_ASSIGNED);
    ipc_put_u64(message, FIELD_EPOCH, worker->epoch);
    ipc_put_slots(message, FIELD_SLOTS, slots);
    ipc_put_u32(message, FIELD_STOPPING, closed);
    send_or_log(worker, "ASSIGNED");
}

void worker_say_closed(struct worker *worker)
{
    static const struct slot_set none;
    if (link_is_connected(worker->link))
        send_assigned(worker, &none, true);
}

int worker_ask_master(void *context, uint32_t id, enum view view, enum view_format format)
{
    struct worker *worker = context;
    if (!link_is_connected(worker->link))
        return -ENOTCONN;
    struct buf *message = link_message(worker->link);
    ipc_begin(message, MESSAGE_QUERY);
    ipc_put_u32(message, FIELD_ID, id);
    ipc_put_u32(message, FIELD_VIEW, (uint32_t)view);
    ipc_put_u32(message, FIELD_FORMAT, (uint32_t)format);
    return link_send(worker->link);
}

/* ---- from the master ---- */

/* Log descriptors: one for each kind, in the order of the kinds, from `first` on. */
static void take_logs(struct worker *worker, struct ipc_message *message, int first)
{
    uint32_t kinds = 0;
    (void)ipc_get_u32(message, FIELD_LOG_KINDS, &kinds);
    int main_fd = -1, access_fd = -1;
    if ((kinds & 1U << LOG_KIND_MAIN) != 0)
        main_fd = ipc_take_fd(message, first++);
    if ((kinds & 1U << LOG_KIND_ACCESS) != 0)
        access_fd = ipc_take_fd(message, first++);
    /* Access lines without a file of their own go where the log goes. What is buffered still
     * goes to the old descriptor, so that one is closed last. */
    if (access_fd >= 0)
        access_log_set_fd(&worker->access_log, access_fd, true);
    else
        access_log_set_fd(&worker->access_log, main_fd >= 0 ? main_fd : log_fd(), false);
    if (main_fd >= 0)
        log_set_fd(main_fd);
}

static void take_state(struct worker *worker, const struct ipc_message *message)
{
    uint32_t state;
    if (!ipc_get_u32(message, FIELD_STATE, &state) || state > CLUSTER_STOPPING ||
        state == (uint32_t)worker->cluster_state)
        return;
    worker->cluster_state = (enum cluster_state)state;
    if (worker->documents != NULL)
        documents_invalidate(worker->documents, state >= CLUSTER_DRAINING);
}

/* Reads the configuration that came with WELCOME. 0 or an enum worker_exit. */
static int read_config(struct ipc_message *message, struct config **out)
{
    int fd = ipc_take_fd(message, 0);
    struct buf text;
    buf_init(&text, CONTRACT_MAX_DOCUMENT);
    int err = fd < 0 ? -EPROTO : ipc_document_read(fd, &text);
    if (fd >= 0)
        (void)close(fd);
    int status = 0;
    if (err != 0) {
        log_error("the configuration from the master cannot be read", LOG_ERR(err));
        status = WORKER_EXIT_REFUSED;
    } else {
        struct config_errors errors;
        config_errors_init(&errors);
        *out = config_parse_text(buf_slice(&text), &errors);
        if (*out == NULL) {
            buf_append(&errors.text, "", 1);
            log_error("the configuration from the master cannot be used",
                      LOG_STR("reason", buf_failed(&errors.text) ? "?" : errors.text.ptr));
            status = WORKER_EXIT_CONFIG;
        }
        config_errors_fini(&errors);
    }
    buf_fini(&text);
    return status;
}

static void on_welcome(struct worker *worker, struct ipc_message *message)
{
    (void)event_del(&worker->orphan_timer);
    take_state(worker, message);
    if (worker->config != NULL) { /* a master that was away: the configuration is the one we have */
        take_logs(worker, message, 1);
        log_info("connected to the master again", LOG_INT("slot", worker->options.slot));
        return;
    }
    struct config *config = NULL;
    int status = read_config(message, &config);
    if (status == 0)
        status = worker_build(worker, config);
    if (status != 0) {
        worker_end(worker, status);
        return;
    }
    take_logs(worker, message, 1);
}

static void on_listeners(struct worker *worker, struct ipc_message *message)
{
    uint32_t group, first, kind = LISTENER_PER_SLOT, inherited = 0;
    if (worker->config == NULL || !ipc_get_u32(message, FIELD_GROUP, &group) ||
        !ipc_get_u32(message, FIELD_FIRST_SLOT, &first)) {
        log_error("LISTENERS without group or slot, or before WELCOME");
        return;
    }
    (void)ipc_get_u32(message, FIELD_GROUP_KIND, &kind);
    (void)ipc_get_u32(message, FIELD_INHERITED, &inherited);
    if (worker->listening_ended)
        return;
    if (inherited != 0)
        listeners_set_inherited(worker->listeners, group);
    for (int i = 0; i < message->fd_count; i++) {
        int err = listeners_add(worker->listeners, group, (enum listener_kind)kind,
                                first + (uint32_t)i, ipc_take_fd(message, i));
        if (err != 0)
            log_error("listening socket refused", LOG_INT("group", group),
                      LOG_INT("slot", first + (uint32_t)i), LOG_ERR(err));
    }
}

static void on_keep(struct worker *worker, struct ipc_message *message)
{
    uint32_t group;
    int fd = ipc_take_fd(message, 0);
    if (fd < 0)
        return;
    if (worker->config == NULL || worker->listening_ended ||
        !ipc_get_u32(message, FIELD_GROUP, &group)) {
        (void)close(fd);
        return;
    }
    if (listeners_keep(worker->listeners, group, fd) != 0)
        log_error("KEEP for a group that cannot be", LOG_INT("group", group));
}

/* ---- the roll call: the listening sockets go back ---- */

static void begin_sockets(struct worker *worker, int group, const struct listeners_group_view *view)
{
    struct buf *message = link_message(worker->link);
    ipc_begin(message, MESSAGE_SOCKETS);
    ipc_put_u32(message, FIELD_GROUP, (uint32_t)group);
    ipc_put_u32(message, FIELD_GROUP_KIND, (uint32_t)view->kind);
    ipc_put_u32(message, FIELD_INHERITED, view->inherited);
}

static int send_group(struct worker *worker, int group, const struct listeners_group_view *view)
{
    int err = 0;
    for (int first = 0; first < view->count && err == 0; first += CONTRACT_MAX_FDS) {
        int fds[CONTRACT_MAX_FDS], count = 0;
        while (count < CONTRACT_MAX_FDS && first + count < view->count) {
            int fd = listeners_fd(worker->listeners, group, first + count);
            if (fd < 0)
                return -ENOENT; /* a group with a hole is of no use */
            fds[count++] = fd;
        }
        begin_sockets(worker, group, view);
        ipc_put_u32(link_message(worker->link), FIELD_FIRST_SLOT, (uint32_t)first);
        err = link_send_fds(worker->link, fds, count);
    }
    if (err == 0 && view->kept_fd >= 0) {
        begin_sockets(worker, group, view);
        ipc_put_u32(link_message(worker->link), FIELD_KEPT, 1);
        err = link_send_fds(worker->link, &view->kept_fd, 1);
    }
    return err;
}

static void on_call(struct worker *worker)
{
    for (int group = 0; group < CONTRACT_MAX_GROUPS && worker->listeners != NULL; group++) {
        struct listeners_group_view view;
        listeners_view(worker->listeners, group, &view);
        if (view.count == 0 || worker->listening_ended)
            continue;
        int err = send_group(worker, group, &view);
        if (err != 0)
            log_error("listening sockets not handed to the new master", LOG_INT("group", group),
                      LOG_ERR(err));
    }
    ipc_begin(link_message(worker->link), MESSAGE_SOCKETS);
    ipc_put_u32(link_message(worker->link), FIELD_LAST, 1);
    send_or_log(worker, "SOCKETS");
}

static void on_assign(struct worker *worker, const struct ipc_message *message)
{
    struct slot_set slots;
    uint64_t epoch;
    if (worker->config == NULL || !ipc_get_u64(message, FIELD_EPOCH, &epoch) ||
        !ipc_get_slots(message, FIELD_SLOTS, &slots)) {
        log_error("ASSIGN without epoch or slots, or before WELCOME");
        return;
    }
    worker->epoch = epoch;
    if (worker->listening_ended)
        slots = (struct slot_set){0};
    listeners_assign(worker->listeners, &slots);
    if (worker->state == WORKER_STARTING) {
        int err = worker_report_start(worker);
        if (err != 0) {
            log_error("cannot set a timer", LOG_ERR(err));
            worker_end(worker, WORKER_EXIT_INTERNAL);
            return;
        }
        worker_enter(worker, WORKER_SERVING);
        ipc_begin(link_message(worker->link), MESSAGE_READY);
        send_or_log(worker, "READY");
        log_debug("ready", LOG_INT("sockets", listeners_count(worker->listeners)));
    }
    send_assigned(worker, &slots, worker->listening_ended);
    worker_check_drained(worker);
}

static void on_drain(struct worker *worker, const struct ipc_message *message)
{
    uint32_t timeout_ms = 0, grace_ms = 0, stopping = 0;
    if (worker->config != NULL)
        timeout_ms = (uint32_t)worker->config->drain_timeout;
    (void)ipc_get_u32(message, FIELD_TIMEOUT_MS, &timeout_ms);
    (void)ipc_get_u32(message, FIELD_GRACE_MS, &grace_ms);
    (void)ipc_get_u32(message, FIELD_STOPPING, &stopping);
    worker_drain(worker, timeout_ms, grace_ms, stopping != 0);
}

static void on_refused(struct worker *worker, const struct ipc_message *message)
{
    char reason[256] = "no reason given";
    (void)ipc_get_str(message, FIELD_REASON, reason, sizeof(reason));
    log_error("the master refused this worker", LOG_STR("reason", reason));
    worker->exit_status = WORKER_EXIT_REFUSED;
    worker_drain(worker, worker->config != NULL ? worker->config->drain_timeout : 0, 0, true);
}

static void on_reply(struct worker *worker, struct ipc_message *message)
{
    uint32_t id = 0, status = 200;
    char type[DOCUMENTS_TYPE_SIZE] = "application/octet-stream";
    (void)ipc_get_u32(message, FIELD_ID, &id);
    (void)ipc_get_u32(message, FIELD_STATUS, &status);
    (void)ipc_get_str(message, FIELD_TYPE, type, sizeof(type));
    int fd = ipc_take_fd(message, 0);
    if (fd < 0 || worker->documents == NULL)
        return; /* whoever waits gets what there is after a while */
    struct buf text;
    buf_init(&text, CONTRACT_MAX_DOCUMENT);
    int err = ipc_document_read(fd, &text);
    (void)close(fd);
    if (err != 0)
        log_error("a document from the master cannot be read", LOG_ERR(err));
    else if (status >= 200 && status <= 599)
        documents_reply(worker->documents, id, (int)status, type, buf_slice(&text),
                        worker->loop.now_ns);
    buf_fini(&text);
}

static void on_message(void *context, struct ipc_message *message)
{
    struct worker *worker = context;
    if (worker->state == WORKER_ENDED)
        return;
    switch ((int)message->type) {
    case MESSAGE_WELCOME:
        on_welcome(worker, message);
        break;
    case MESSAGE_REFUSED:
        on_refused(worker, message);
        break;
    case MESSAGE_LISTENERS:
        on_listeners(worker, message);
        break;
    case MESSAGE_KEEP:
        on_keep(worker, message);
        break;
    case MESSAGE_CALL:
        on_call(worker);
        break;
    case MESSAGE_ASSIGN:
        on_assign(worker, message);
        break;
    case MESSAGE_STATE:
        take_state(worker, message);
        break;
    case MESSAGE_DRAIN:
        on_drain(worker, message);
        break;
    case MESSAGE_LOGS:
        if (worker->config != NULL)
            take_logs(worker, message, 0);
        break;
    case MESSAGE_REPLY:
        on_reply(worker, message);
        break;
    case MESSAGE_BOARD:
        worker_take_board(worker, ipc_take_fd(message, 0));
        break;
    default: /* from a newer master */
        break;
    }
}

static void on_disconnect(void *context, int err)
{
    struct worker *worker = context;
    if (worker->state == WORKER_ENDED)
        return;
    if (worker->state == WORKER_STARTING) {
        log_error("the master went away before this worker was ready", LOG_ERR(err));
        worker_end(worker, WORKER_EXIT_NO_MASTER);
        return;
    }
    documents_give_up(worker->documents);
    if (evtimer_pending(&worker->orphan_timer, NULL) == 0 && worker->state == WORKER_SERVING) {
        log_warning("lost the master, serving on", LOG_ERR(err),
                    LOG_INT("orphan_timeout_ms", worker->config->orphan_timeout));
        worker_arm(worker, &worker->orphan_timer, worker->config->orphan_timeout);
    }
}

const struct link_callbacks worker_link_callbacks = {
    .on_connect = on_connect,
    .on_message = on_message,
    .on_disconnect = on_disconnect,
};
