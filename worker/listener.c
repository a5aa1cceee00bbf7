/* SPDX-License-Identifier: BSD-2-Clause
 *
 * listener - polling and accepting.
 */
#include "worker/listener.h"

#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ACCEPT_BATCH = 64,     /* then the connections have their turn */
    FINISH_BATCHES = 1024, /* a bound for the last round */
    DESCRIPTOR_WAIT_MS = 100,
};

struct listener {
    struct event event;
    struct listeners *set;
    int fd; /* -1: none */
    uint16_t slot;
    bool polled;
};

struct group {
    enum listener_kind kind;
    int count;
    struct listener **sockets; /* by slot; a shared group has one */
    int kept_fd;               /* not for us, -1: none */
    bool inherited;            /* opened by the service manager */
};

struct listeners {
    struct listeners_parts parts;
    struct group group[CONTRACT_MAX_GROUPS];
    struct slot_set assigned;
    bool any_assigned;
    bool paused;
    bool starved; /* paused for want of descriptors or memory, not of room */
    struct event retry;
    /* Held open to be given up when there are no descriptors left, so that what else the worker
     * has to do (a message with a descriptor, a file) still works while accepting is paused. */
    int reserve_fd;
    int64_t complained_ns;
};

static void on_acceptable(evutil_socket_t fd, short what, void *context);
static void on_retry(evutil_socket_t fd, short what, void *context);

struct listeners *listeners_new(const struct listeners_parts *parts)
{
    struct listeners *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return NULL;
    set->parts = *parts;
    for (int g = 0; g < CONTRACT_MAX_GROUPS; g++)
        set->group[g].kept_fd = -1;
    set->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)evtimer_assign(&set->retry, parts->loop->base, on_retry, set);
    return set;
}

static void listener_free(struct listener *listener)
{
    if (listener == NULL)
        return;
    if (listener->polled)
        (void)event_del(&listener->event);
    (void)close(listener->fd);
    free(listener);
}

static void close_all(struct listeners *set)
{
    for (int g = 0; g < CONTRACT_MAX_GROUPS; g++) {
        struct group *group = &set->group[g];
        for (int i = 0; i < group->count; i++)
            listener_free(group->sockets[i]);
        free(group->sockets);
        group->sockets = NULL;
        group->count = 0;
    }
    /* After the others: they must not take its place. */
    for (int g = 0; g < CONTRACT_MAX_GROUPS; g++) {
        if (set->group[g].kept_fd >= 0)
            (void)close(set->group[g].kept_fd);
        set->group[g].kept_fd = -1;
    }
}

void listeners_free(struct listeners **listeners)
{
    struct listeners *set = *listeners;
    if (set == NULL)
        return;
    *listeners = NULL;
    close_all(set);
    (void)evtimer_del(&set->retry);
    if (set->reserve_fd >= 0)
        (void)close(set->reserve_fd);
    free(set);
}

int listeners_count(const struct listeners *set)
{
    int count = 0;
    for (int g = 0; g < CONTRACT_MAX_GROUPS; g++)
        count += set->group[g].count;
    return count;
}

/* ---- polling ---- */

static bool is_assigned(const struct listeners *set, const struct group *group,
                        const struct listener *listener)
{
    return group->kind == LISTENER_SHARED ? set->any_assigned
                                          : slot_set_has(&set->assigned, listener->slot);
}

static bool is_wanted(const struct listeners *set, const struct group *group,
                      const struct listener *listener)
{
    return !set->paused && is_assigned(set, group, listener);
}

static void poll_socket(struct listener *listener, bool wanted)
{
    if (listener->polled == wanted)
        return;
    if (wanted && event_add(&listener->event, NULL) != 0) {
        log_error("cannot poll a listening socket", LOG_INT("slot", listener->slot));
        return;
    }
    if (!wanted)
        (void)event_del(&listener->event);
    listener->polled = wanted;
}

static void update_polling(struct listeners *set)
{
    for (int g = 0; g < CONTRACT_MAX_GROUPS; g++) {
        struct group *group = &set->group[g];
        for (int i = 0; i < group->count; i++) {
            struct listener *listener = group->sockets[i];
            if (listener != NULL)
                poll_socket(listener, is_wanted(set, group, listener));
        }
    }
}

static bool same_socket(int a, int b)
{
    struct stat one, other;
    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

static int group_grow(struct group *group, uint32_t slot)
{
    if ((int)slot < group->count)
        return 0;
    size_t count = (size_t)slot + 1;
    struct listener **grown = realloc(group->sockets, count * sizeof(struct listener *));
    if (grown == NULL)
        return -ENOMEM;
    memset(grown + group->count, 0, (count - (size_t)group->count) * sizeof(struct listener *));
    group->sockets = grown;
    group->count = (int)count;
    return 0;
}

int listeners_add(struct listeners *set, uint32_t g, enum listener_kind kind, uint32_t slot, int fd)
{
    if (g >= CONTRACT_MAX_GROUPS || slot >= CONTRACT_MAX_SLOTS ||
        (kind != LISTENER_PER_SLOT && kind != LISTENER_SHARED)) {
        (void)close(fd);
        return -EPROTO;
    }
    struct group *group = &set->group[g];
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL || group_grow(group, slot) != 0) {
        free(listener);
        (void)close(fd);
        return -ENOMEM;
    }
    struct listener *before = group->sockets[slot];
    if (before != NULL && same_socket(before->fd, fd)) {
        free(listener);
        (void)close(fd);
        return 0;
    }
    listener_free(before);
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) == 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    listener->set = set;
    listener->fd = fd;
    listener->slot = (uint16_t)(kind == LISTENER_SHARED ? set->parts.own_slot : slot);
    (void)event_assign(&listener->event, set->parts.loop->base, fd, EV_READ | EV_PERSIST,
                       on_acceptable, listener);
    group->kind = kind;
    group->sockets[slot] = listener;
    poll_socket(listener, is_wanted(set, group, listener));
    return 0;
}

void listeners_set_inherited(struct listeners *set, uint32_t g)
{
    if (g < CONTRACT_MAX_GROUPS)
        set->group[g].inherited = true;
}

int listeners_keep(struct listeners *set, uint32_t g, int fd)
{
    if (g >= CONTRACT_MAX_GROUPS) {
        (void)close(fd);
        return -EPROTO;
    }
    struct group *group = &set->group[g];
    if (group->kept_fd >= 0)
        (void)close(group->kept_fd);
    group->kept_fd = fd;
    return 0;
}

void listeners_view(const struct listeners *set, int g, struct listeners_group_view *out)
{
    const struct group *group = &set->group[g];
    *out =
        (struct listeners_group_view){group->kind, group->count, group->kept_fd, group->inherited};
}

int listeners_fd(const struct listeners *set, int g, int slot)
{
    const struct group *group = &set->group[g];
    return slot < group->count && group->sockets[slot] != NULL ? group->sockets[slot]->fd : -1;
}

void listeners_assign(struct listeners *set, const struct slot_set *slots)
{
    set->assigned = *slots;
    set->any_assigned = false;
    for (size_t i = 0; i < CONTRACT_MAX_SLOTS / 64; i++)
        set->any_assigned = set->any_assigned || slots->word[i] != 0;
    update_polling(set);
}

const struct slot_set *listeners_assigned(const struct listeners *set)
{
    return &set->assigned;
}

/* ---- pausing ---- */

static void pause_accepting(struct listeners *set, bool starved)
{
    set->paused = true;
    set->starved = starved;
    set->parts.metrics->counter[METRIC_ACCEPT_PAUSES]++;
    set->parts.metrics->gauge[GAUGE_ACCEPT_PAUSED] = 1;
    if (starved) {
        const struct timeval wait = {0, DESCRIPTOR_WAIT_MS * 1000};
        if (set->reserve_fd >= 0)
            (void)close(set->reserve_fd);
        set->reserve_fd = -1;
        (void)evtimer_add(&set->retry, &wait);
    }
    update_polling(set);
}

static void resume_accepting(struct listeners *set)
{
    if (set->reserve_fd < 0)
        set->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (set->starved && set->reserve_fd < 0) {
        const struct timeval wait = {0, DESCRIPTOR_WAIT_MS * 1000};
        (void)evtimer_add(&set->retry, &wait);
        return;
    }
    set->paused = false;
    set->starved = false;
    set->parts.metrics->gauge[GAUGE_ACCEPT_PAUSED] = 0;
    (void)evtimer_del(&set->retry);
    update_polling(set);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct listeners *set = context;
    loop_enter(set->parts.loop);
    if (set->paused)
        resume_accepting(set);
}

/* At the limit accepting goes on when a little room has come together, so
 * that a full worker does not pause and resume for every connection. */
void listeners_room(struct listeners *set)
{
    if (!set->paused || set->starved)
        return;
    int64_t slack = set->parts.max_connections / 64;
    if (conns_count(set->parts.conns) < set->parts.max_connections - slack)
        resume_accepting(set);
}

bool listeners_paused(const struct listeners *set)
{
    return set->paused;
}

/* ---- accepting ---- */

static void remote_from(const struct sockaddr_storage *address, struct access_remote *out)
{
    *out = (struct access_remote){.family = (uint8_t)address->ss_family};
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        memcpy(out->address, &v4->sin_addr, sizeof(v4->sin_addr));
        out->port = ntohs(v4->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        memcpy(out->address, &v6->sin6_addr, sizeof(v6->sin6_addr));
        out->port = ntohs(v6->sin6_port);
    }
}

static bool is_shortage(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void on_accept_error(struct listener *listener, int err)
{
    struct listeners *set = listener->set;
    set->parts.metrics->counter[METRIC_ACCEPT_ERRORS]++;
    if (err == ECONNABORTED) /* it died while it waited; the next one may be well */
        return;
    int64_t now_ns = set->parts.loop->now_ns;
    /* A line in ten seconds at most: under attack this happens all the time. */
    if (set->complained_ns == 0 || now_ns - set->complained_ns > 10 * INT64_C(1000000000)) {
        set->complained_ns = now_ns;
        log_warning(is_shortage(err) ? "accepting pauses: out of descriptors or memory"
                                     : "accepting failed",
                    LOG_INT("slot", listener->slot), LOG_ERR(err),
                    LOG_INT("connections", conns_count(set->parts.conns)));
    }
    if (is_shortage(err) && !set->paused)
        pause_accepting(set, true);
}

/* Returns how many were accepted; less than ACCEPT_BATCH: no more for now. */
static int accept_batch(struct listener *listener)
{
    struct listeners *set = listener->set;
    int count = 0;
    while (count < ACCEPT_BATCH && !set->paused) {
        if (conns_count(set->parts.conns) >= set->parts.max_connections) {
            pause_accepting(set, false);
            break;
        }
        struct sockaddr_storage address;
        socklen_t address_len = sizeof(address);
        address.ss_family = AF_UNSPEC;
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &address_len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            int err = errno;
            if (err == EAGAIN)
                break;
            if (err != EINTR)
                on_accept_error(listener, err);
            count++;
            continue;
        }
        count++;
        struct access_remote remote;
        remote_from(&address, &remote);
        set->parts.metrics->slot_accepted[listener->slot]++;
        conns_accept(set->parts.conns, fd, &remote);
    }
    return count;
}

static void on_acceptable(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct listener *listener = context;
    struct listeners *set = listener->set;
    loop_enter(set->parts.loop);
    (void)accept_batch(listener);
    conns_accept_end(set->parts.conns);
}

static bool has_queued(const struct listener *listener)
{
    struct pollfd queue = {.fd = listener->fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&queue, 1, 0);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && (queue.revents & POLLIN) != 0;
}

/* True when nothing is left in the queue that this worker could take later. */
static bool empty_queue(struct listener *listener)
{
    struct listeners *set = listener->set;
    for (int n = 0; n < FINISH_BATCHES && !set->paused; n++) {
        int count = accept_batch(listener);
        conns_accept_end(set->parts.conns);
        if (count == 0)
            break;
    }
    return !set->paused || !has_queued(listener);
}

bool listeners_finish(struct listeners *set)
{
    for (int g = 0; g < CONTRACT_MAX_GROUPS; g++) {
        struct group *group = &set->group[g];
        for (int i = 0; i < group->count; i++) {
            struct listener *listener = group->sockets[i];
            if (listener != NULL && is_assigned(set, group, listener) && !empty_queue(listener))
                return false;
        }
    }
    close_all(set);
    return true;
}
