/* SPDX-License-Identifier: BSD-2-Clause
 *
 * control - the master's end of the control socket (common/contract.h).
 */
#include "master/control.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STRANGERS_MAX = 64, /* besides one for each slot: every worker may come at once */
    HELLO_TIMEOUT_S = 5,
    MESSAGES_PER_TURN = 32, /* then others get their turn */
    REJECT_LOG_INTERVAL_MS = 10000,
    SHORTAGE_MS = 200,  /* without descriptors: how long to leave connections waiting */
    SEND_AGAIN_MS = 10, /* the socket has room and the kernel refuses all the same */
};

struct peer {
    TAILQ_ENTRY(peer) entry;
    struct control *control;
    struct worker *worker; /* NULL: has not said HELLO */
    pid_t pid;
    uid_t uid;
    int fd;
    struct event *readable;
    struct event *writable;
    struct event *send_again;
    struct ipc_queue queue;
    bool busy; /* inside a callback: free it afterwards */
    bool closed;
    bool broken; /* sending failed: to be closed from the loop */
};

TAILQ_HEAD(peer_list, peer);

struct control {
    struct event_base *base;
    struct event *acceptable;
    struct event *resume; /* accepts again after a shortage of descriptors */
    int fd;
    char *path;
    uid_t owner;
    const struct control_callbacks *callbacks;
    void *context;
    struct peer_list peers;
    int stranger_count;
    int slot_count;
    uint64_t rejected;
    int64_t reject_logged_ms;
    uint64_t reject_unlogged;
    int64_t shortage_logged_ms;
    char scratch[CONTRACT_MAX_MESSAGE];
};

static void peer_free(struct peer *peer)
{
    struct control *control = peer->control;
    TAILQ_REMOVE(&control->peers, peer, entry);
    ipc_queue_fini(&peer->queue);
    if (peer->readable != NULL)
        event_free(peer->readable);
    if (peer->writable != NULL)
        event_free(peer->writable);
    if (peer->send_again != NULL)
        event_free(peer->send_again);
    (void)close(peer->fd);
    free(peer);
}

void peer_close(struct peer *peer)
{
    if (peer->closed)
        return;
    peer->closed = true;
    if (peer->worker == NULL)
        peer->control->stranger_count--;
    peer->worker = NULL;
    if (!peer->busy)
        peer_free(peer);
}

/* A line for the first and then at most one in ten seconds: a stranger must
 * not be able to fill the log. */
static void log_reject(struct control *control, const struct peer *peer, const char *why)
{
    control->rejected++;
    int64_t now_ms = clock_monotonic_ms();
    if (control->reject_logged_ms != 0 &&
        now_ms - control->reject_logged_ms < REJECT_LOG_INTERVAL_MS) {
        control->reject_unlogged++;
        return;
    }
    log_warning("control connection refused", LOG_STR("reason", why), LOG_INT("pid", peer->pid),
                LOG_INT("uid", peer->uid), LOG_INT("not_logged_before", control->reject_unlogged));
    control->reject_logged_ms = now_ms;
    control->reject_unlogged = 0;
}

/* Ends the connection of a peer; `why` NULL: it closed it itself. */
static void lose(struct peer *peer, const char *why)
{
    struct control *control = peer->control;
    struct worker *worker = peer->worker;
    if (peer->closed)
        return;
    if (worker == NULL && why != NULL)
        log_reject(control, peer, why);
    else if (why != NULL)
        control->rejected++;
    peer_close(peer);
    if (worker != NULL)
        control->callbacks->on_disconnect(control->context, worker, why);
}

static void refuse(struct peer *peer, const char *reason)
{
    struct buf message;
    buf_init(&message, CONTRACT_MAX_MESSAGE);
    ipc_begin(&message, MESSAGE_REFUSED);
    ipc_put_str(&message, FIELD_REASON, reason);
    if (ipc_send(peer->fd, &message, NULL, 0) != 0)
        log_debug("could not tell a refused peer why", LOG_INT("pid", peer->pid));
    buf_fini(&message);
    lose(peer, reason);
}

static void on_hello(struct peer *peer, const struct ipc_message *message)
{
    struct control *control = peer->control;
    struct control_hello hello = {
        .pid = peer->pid,
        .uid = peer->uid,
        .contract = message->contract,
        .timeout_ms = UINT32_MAX,
    };
    uint32_t claimed_pid = 0;
    if (peer->worker != NULL) {
        lose(peer, "HELLO said twice");
        return;
    }
    if (!ipc_get_u32(message, FIELD_SLOT, &hello.slot) ||
        !ipc_get_u64(message, FIELD_GENERATION, &hello.generation)) {
        lose(peer, "HELLO without slot or generation");
        return;
    }
    (void)ipc_get_u32(message, FIELD_PID, &claimed_pid);
    if (claimed_pid != 0 && claimed_pid != (uint32_t)peer->pid) {
        lose(peer, "HELLO with the pid of another process");
        return;
    }
    if (hello.contract < CONTRACT_VERSION_OLDEST) {
        refuse(peer, "the worker speaks a contract version that is too old for this master");
        return;
    }
    (void)ipc_get_u32(message, FIELD_STATE, &hello.phase);
    (void)ipc_get_u64(message, FIELD_EPOCH, &hello.epoch);
    (void)ipc_get_slots(message, FIELD_SLOTS, &hello.slots);
    (void)ipc_get_u32(message, FIELD_TIMEOUT_MS, &hello.timeout_ms);
    (void)ipc_get_str(message, FIELD_BUILD, hello.build, sizeof(hello.build));

    char reason[160] = "not a worker of this cluster";
    struct worker *worker =
        control->callbacks->on_hello(control->context, &hello, peer, reason, sizeof(reason));
    if (worker == NULL) {
        refuse(peer, reason);
        return;
    }
    peer->worker = worker;
    control->stranger_count--;
    (void)event_remove_timer(peer->readable);
    control->callbacks->on_welcome(control->context, worker);
}

static void on_assigned(struct peer *peer, const struct ipc_message *message)
{
    uint64_t epoch;
    struct slot_set slots;
    uint32_t closed = 0;
    (void)ipc_get_u32(message, FIELD_STOPPING, &closed);
    if (!ipc_get_u64(message, FIELD_EPOCH, &epoch) ||
        !ipc_get_slots(message, FIELD_SLOTS, &slots)) {
        lose(peer, "ASSIGNED without epoch or slots");
        return;
    }
    peer->control->callbacks->on_assigned(peer->control->context, peer->worker, epoch, &slots,
                                          closed != 0);
}

static void on_metrics(struct peer *peer, const struct ipc_message *message)
{
    struct slice snapshot;
    uint32_t phase = WORKER_PHASE_SERVING;
    (void)ipc_get_u32(message, FIELD_STATE, &phase);
    if (!ipc_get_bytes(message, FIELD_SNAPSHOT, &snapshot) ||
        peer->control->callbacks->on_metrics(peer->control->context, peer->worker, phase,
                                             snapshot) != 0)
        lose(peer, "METRICS that are not a snapshot, or counters that fell");
}

static void on_query(struct peer *peer, const struct ipc_message *message)
{
    uint32_t id, view, format = VIEW_FORMAT_DEFAULT;
    if (!ipc_get_u32(message, FIELD_ID, &id) || !ipc_get_u32(message, FIELD_VIEW, &view)) {
        lose(peer, "QUERY without id or view");
        return;
    }
    (void)ipc_get_u32(message, FIELD_FORMAT, &format);
    peer->control->callbacks->on_query(peer->control->context, peer->worker, id, view, format);
}

static void on_sockets(struct peer *peer, struct ipc_message *message)
{
    const struct control *control = peer->control;
    struct found_socket socket = {.fd = -1};
    uint32_t last = 0, kept = 0, first = 0, kind = LISTENER_PER_SLOT, inherited = 0;
    (void)ipc_get_u32(message, FIELD_LAST, &last);
    if (last != 0) {
        control->callbacks->on_socket(control->context, peer->worker, &socket);
        return;
    }
    if (!ipc_get_u32(message, FIELD_GROUP, &socket.group)) {
        lose(peer, "SOCKETS without group");
        return;
    }
    (void)ipc_get_u32(message, FIELD_KEPT, &kept);
    (void)ipc_get_u32(message, FIELD_FIRST_SLOT, &first);
    (void)ipc_get_u32(message, FIELD_GROUP_KIND, &kind);
    (void)ipc_get_u32(message, FIELD_INHERITED, &inherited);
    socket.kind = (enum listener_kind)kind;
    socket.inherited = inherited != 0;
    for (int i = 0; i < message->fd_count && first < CONTRACT_MAX_SLOTS; i++) {
        socket.slot = kept != 0 ? FOUND_STOPPER : (int)first + i;
        socket.fd = ipc_take_fd(message, i);
        control->callbacks->on_socket(control->context, peer->worker, &socket);
    }
}

static void on_message(struct peer *peer, struct ipc_message *message)
{
    const struct control_callbacks *callbacks = peer->control->callbacks;
    void *context = peer->control->context;
    if (peer->worker == NULL && message->type != MESSAGE_HELLO) {
        lose(peer, "the first message was not HELLO");
        return;
    }
    switch (message->type) {
    case MESSAGE_HELLO:
        on_hello(peer, message);
        break;
    case MESSAGE_READY:
        callbacks->on_ready(context, peer->worker);
        break;
    case MESSAGE_ASSIGNED:
        on_assigned(peer, message);
        break;
    case MESSAGE_METRICS:
        on_metrics(peer, message);
        break;
    case MESSAGE_QUERY:
        on_query(peer, message);
        break;
    case MESSAGE_GOODBYE:
        callbacks->on_goodbye(context, peer->worker);
        break;
    case MESSAGE_SOCKETS:
        on_sockets(peer, message);
        break;
    case MESSAGE_WELCOME:
    case MESSAGE_REFUSED:
    case MESSAGE_LISTENERS:
    case MESSAGE_ASSIGN:
    case MESSAGE_STATE:
    case MESSAGE_DRAIN:
    case MESSAGE_LOGS:
    case MESSAGE_REPLY:
    case MESSAGE_CALL:
    case MESSAGE_BOARD:
    case MESSAGE_KEEP:
        lose(peer, "a message that only a master sends");
        break;
    }
    /* Other numbers are of a newer contract: skipped. */
}

/* Reads up to `limit` messages. */
static void read_messages(struct peer *peer, int limit)
{
    struct control *control = peer->control;
    peer->busy = true;
    for (int i = 0; i < limit && !peer->closed; i++) {
        struct ipc_message message;
        int got = ipc_receive(peer->fd, control->scratch, &message);
        if (got == -EAGAIN)
            break;
        if (got == 0 || got == -ECONNRESET) {
            lose(peer, NULL);
        } else if (got < 0) {
            lose(peer, "what it sent is not a message");
        } else {
            on_message(peer, &message);
            ipc_close_fds(&message);
        }
    }
    peer->busy = false;
    if (peer->closed)
        peer_free(peer);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct peer *peer = context;
    if ((what & EV_TIMEOUT) != 0) {
        if (peer->worker == NULL)
            lose(peer, "said nothing");
        return;
    }
    if (peer->worker != NULL || peer->broken) {
        read_messages(peer, MESSAGES_PER_TURN);
        return;
    }
    read_messages(peer, 1);
}

void peer_drain(struct peer *peer)
{
    if (!peer->busy)
        read_messages(peer, IPC_QUEUE_MAX);
}

/* `refused`: the socket was writable and the kernel took nothing (too many
 * descriptors under way): polling it would spin. */
static void wait_to_send(struct peer *peer, bool refused)
{
    if (refused) {
        const struct timeval wait = {0, SEND_AGAIN_MS * 1000};
        (void)event_add(peer->send_again, &wait);
    } else {
        (void)event_add(peer->writable, NULL);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct peer *peer = context;
    int waiting = peer->queue.count;
    int left = peer->broken ? -EPIPE : ipc_queue_flush(&peer->queue, peer->fd);
    if (left == 1)
        wait_to_send(peer, peer->queue.count == waiting && (what & EV_WRITE) != 0);
    else if (left < 0)
        lose(peer, peer->broken ? "does not read what it is sent" : NULL);
}

void peer_send(struct peer *peer, const struct buf *message, const int *fds, int fd_count)
{
    if (peer->closed || peer->broken)
        return;
    int sent = ipc_queue_send(&peer->queue, peer->fd, message, fds, fd_count);
    if (sent == 0)
        return;
    if (sent < 0) {
        /* The caller may hold the worker: tell it from the loop, not from here.
         * A connection that ended is seen by reading. */
        peer->broken = sent == -ENOBUFS || sent == -ENOMEM || sent == -EMSGSIZE;
        if (peer->broken)
            event_active(peer->writable, EV_WRITE, 0);
        return;
    }
    (void)event_add(peer->writable, NULL);
}

static bool may_connect(const struct control *control, uid_t uid)
{
    return uid == 0 || uid == geteuid() || uid == control->owner;
}

static void admit(struct control *control, int fd)
{
    struct ucred who = {.pid = -1, .uid = (uid_t)-1};
    socklen_t size = sizeof(who);
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL) {
        (void)close(fd);
        return;
    }
    peer->control = control;
    peer->fd = fd;
    peer->pid = who.pid;
    peer->uid = who.uid;
    TAILQ_INSERT_TAIL(&control->peers, peer, entry);
    control->stranger_count++;
    peer->readable = event_new(control->base, fd, EV_READ | EV_PERSIST, on_readable, peer);
    peer->writable = event_new(control->base, fd, EV_WRITE, on_writable, peer);
    peer->send_again = evtimer_new(control->base, on_writable, peer);
    const struct timeval timeout = {HELLO_TIMEOUT_S, 0};
    if (peer->readable == NULL || peer->writable == NULL || peer->send_again == NULL ||
        event_add(peer->readable, &timeout) != 0)
        lose(peer, "out of memory");
    else if (!may_connect(control, who.uid))
        lose(peer, "wrong user");
    else if (control->stranger_count > STRANGERS_MAX + control->slot_count)
        lose(peer, "too many connections that say nothing");
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct control *control = context;
    (void)event_add(control->acceptable, NULL);
}

/* Connections wait in the kernel until there are descriptors again. */
static void pause_accepting(struct control *control, int err)
{
    int64_t now_ms = clock_monotonic_ms();
    if (control->shortage_logged_ms == 0 ||
        now_ms - control->shortage_logged_ms >= REJECT_LOG_INTERVAL_MS) {
        control->shortage_logged_ms = now_ms;
        log_error("cannot accept on the control socket, trying again", LOG_ERR(err));
    }
    const struct timeval wait = {0, SHORTAGE_MS * 1000};
    (void)event_del(control->acceptable);
    (void)event_add(control->resume, &wait);
}

static void on_acceptable(evutil_socket_t listener, short what, void *context)
{
    (void)what;
    struct control *control = context;
    for (int i = 0; i < MESSAGES_PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EWOULDBLOCK && errno != EINTR && errno != ECONNABORTED)
                pause_accepting(control, errno);
            return;
        }
        admit(control, fd);
    }
}

/* Whether somebody listens there, for as long as it takes a child of a killed
 * master to execute the worker: until then it holds the socket, too. */
static bool answers(const char *path)
{
    enum { TRIES = 100, PAUSE_MS = 10 };
    for (int i = 0; i < TRIES; i++) {
        int fd = ipc_connect(path);
        if (fd < 0 && fd != -EAGAIN)
            return false;
        if (fd >= 0)
            (void)close(fd);
        (void)poll(NULL, 0, PAUSE_MS);
    }
    return true;
}

int control_new(struct event_base *base, const char *path, uid_t owner, int slot_count,
                const struct control_callbacks *callbacks, void *context, struct control **out)
{
    struct control *control = calloc(1, sizeof(*control));
    if (control == NULL)
        return -ENOMEM;
    control->base = base;
    control->callbacks = callbacks;
    control->context = context;
    control->owner = owner;
    control->slot_count = slot_count;
    TAILQ_INIT(&control->peers);
    int err = 0;
    control->path = strdup(path);
    control->fd = answers(path) ? -EADDRINUSE : ipc_listen(path);
    if (control->fd < 0)
        err = control->fd;
    else if (control->path == NULL)
        err = -ENOMEM;
    else if (owner != geteuid() && lchown(path, owner, (gid_t)-1) != 0)
        err = -errno;
    if (err == 0) {
        control->acceptable =
            event_new(base, control->fd, EV_READ | EV_PERSIST, on_acceptable, control);
        control->resume = evtimer_new(base, on_resume, control);
        if (control->acceptable == NULL || control->resume == NULL ||
            event_add(control->acceptable, NULL) != 0)
            err = -ENOMEM;
    }
    if (err != 0) {
        control_free(&control);
        return err;
    }
    *out = control;
    return 0;
}

int control_restore(struct control *control)
{
    struct stat st;
    if (lstat(control->path, &st) == 0 || errno != ENOENT)
        return 0;
    int fd = ipc_listen(control->path);
    if (fd < 0)
        return fd;
    struct event *acceptable =
        event_new(control->base, fd, EV_READ | EV_PERSIST, on_acceptable, control);
    if (acceptable == NULL || event_add(acceptable, NULL) != 0 ||
        (control->owner != geteuid() && lchown(control->path, control->owner, (gid_t)-1) != 0)) {
        if (acceptable != NULL)
            event_free(acceptable);
        (void)close(fd);
        (void)unlink(control->path); /* tried again */
        return -EIO;
    }
    event_free(control->acceptable);
    (void)close(control->fd);
    control->acceptable = acceptable;
    control->fd = fd;
    return 1;
}

void control_free(struct control **control_in)
{
    struct control *control = *control_in;
    if (control == NULL)
        return;
    struct peer *peer = TAILQ_FIRST(&control->peers);
    while (peer != NULL) {
        struct peer *next = TAILQ_NEXT(peer, entry);
        peer_free(peer);
        peer = next;
    }
    if (control->acceptable != NULL)
        event_free(control->acceptable);
    if (control->resume != NULL)
        event_free(control->resume);
    if (control->fd >= 0)
        (void)close(control->fd);
    if (control->fd >= 0 && control->path != NULL)
        (void)unlink(control->path);
    free(control->path);
    free(control);
    *control_in = NULL;
}

uint64_t control_rejected(const struct control *control)
{
    return control->rejected;
}
