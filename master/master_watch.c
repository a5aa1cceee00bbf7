/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_watch - looks at the boards on which workers beat, and tells people
 * about those that do not.
 *
 * What is made of it is decided in watch.c and policy.c. A timer looks while
 * there is anybody to look at, and every plan looks first, so that none is made
 * of what was true a while ago.
 */
#include "master/master_private.h"

#include "common/board.h"
#include "common/log.h"
#include "master/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOK_MS = 50,           /* between two looks */
    MISSED_MS = 50,         /* a look that is later than this tells more of us than of workers */
    TOLD_WINDOW_MS = 10000, /* in so much time people are told of a worker … */
    TOLD_MOST = 3,          /* … so many times */
    TRACE_EVERY_MS = 10000,
};

/* ---- boards ---- */

void master_drop_board(struct worker *worker)
{
    board_unmap(worker->board);
    worker->board = NULL;
}

void master_send_board(struct master *master, struct worker *worker)
{
    master_drop_board(worker);
    watch_new_board(worker, clock_monotonic_ms());
    if (worker->contract < 2)
        return;
    int fd = board_new();
    worker->board = fd >= 0 ? board_map_readonly(fd) : NULL;
    if (worker->board == NULL) {
        log_warning("no board for a worker, its reports have to do", LOG_INT("slot", worker->slot),
                    LOG_ERR(fd < 0 ? fd : -ENOMEM));
    } else {
        ipc_begin(&master->message, MESSAGE_BOARD);
        master_send(master, worker, &fd, 1);
    }
    if (fd >= 0)
        (void)close(fd);
}

static bool is_watched(const struct worker *worker)
{
    return worker->state == WORKER_READY || worker->state == WORKER_SUSPECT;
}

static void look_at(struct worker *worker, const struct policy_rules *rules, int64_t now_ms)
{
    const struct board *board = worker->board;
    if (board == NULL) {
        watch_look(worker, NULL, rules, now_ms);
        return;
    }
    const struct watch_sample sample = {
        .beat_ns = BOARD_GET(board, beat_ns),
        .turn_started_ns = BOARD_GET(board, turn_started_ns),
        .lag_ns = BOARD_GET(board, lag_ns),
        .interval_ns = BOARD_GET(board, interval_ns),
        .turns = BOARD_GET(board, turns),
    };
    watch_look(worker, &sample, rules, now_ms);
}

/* ---- the timer ---- */

/* The next look: soon, and no later than somebody may be late. */
static int64_t next_look_ms(const struct master *master, int64_t now_ms)
{
    int64_t at_ms = INT64_MAX;
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        if (!is_watched(worker))
            continue;
        int64_t late_ms = watch_late_at_ms(worker, &master->rules, now_ms);
        if (late_ms < at_ms)
            at_ms = late_ms;
        if (at_ms > now_ms + LOOK_MS)
            at_ms = now_ms + LOOK_MS;
    }
    return at_ms > now_ms ? at_ms : now_ms + 1;
}

static void schedule_look(struct master *master, int64_t now_ms)
{
    int64_t at_ms = next_look_ms(master, now_ms);
    if (at_ms == INT64_MAX) {
        (void)event_del(master->watch);
        master->look_due_ms = 0;
        return;
    }
    master->look_due_ms = at_ms;
    const struct timeval wait = {0, (at_ms - now_ms) * 1000};
    (void)event_add(master->watch, &wait);
}

void master_look(struct master *master, int64_t now_ms)
{
    int64_t missed_ms = master->look_due_ms != 0 ? now_ms - master->look_due_ms : 0;
    struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        if (!is_watched(worker))
            continue;
        if (missed_ms >= MISSED_MS)
            watch_excuse(worker, missed_ms, now_ms);
        look_at(worker, &master->rules, now_ms);
    }
    schedule_look(master, now_ms);
}

static void on_watch(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct master *master = context;
    int64_t now_ms = clock_monotonic_ms();
    master_look(master, now_ms);
    bool holds = watch_probation_holds(master->roster, &master->rules, now_ms);
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        if (is_watched(worker) && worker->kill_signal == 0 &&
            watch_judge(worker, &master->rules, holds, now_ms) != WATCH_KEEP) {
            master_reconcile_soon(master);
            return;
        }
    }
}

int master_watch_init(struct master *master)
{
    master->watch = evtimer_new(master->base, on_watch, master);
    return master->watch != NULL ? 0 : -ENOMEM;
}

bool master_majority_progresses(const struct master *master)
{
    int64_t now_ms = clock_monotonic_ms();
    int stuck = 0;
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        stuck += worker->state == WORKER_SUSPECT &&
                 watch_lateness(worker, &master->rules, now_ms) == WATCH_SILENT;
    /* Workers that are missing are being dealt with; hung ones are what a watchdog is for. */
    return 2 * stuck <= master->roster->worker_count;
}

/* ---- telling people ---- */

/* Whether there is anything to say of it that has not been said too often. */
static bool may_tell(struct watch *watch, int64_t now_ms)
{
    if (now_ms - watch->told_since_ms >= TOLD_WINDOW_MS) {
        watch->told_since_ms = now_ms;
        watch->told = 0;
    }
    watch->told_last = watch->told < TOLD_MOST;
    watch->told += watch->told_last;
    return watch->told_last;
}

/* A process that cannot run cannot say where it is; the kernel does. NULL: it can. */
static const char *why_not_running(struct worker *worker, char *text, size_t size)
{
    struct procfs_sample now;
    char where[64];
    if (worker->child == NULL || child_sample(worker->child, &now) != 0)
        return NULL;
    switch (now.state) {
    case 'T':
        return "stopped by a signal";
    case 't':
        return "stopped by a debugger";
    case 'D':
        if (procfs_wait_channel(worker->pid, where, sizeof(where)) != 0)
            return "in uninterruptible sleep";
        (void)snprintf(text, size, "in uninterruptible sleep (%s)", where);
        return text;
    default:
        return NULL;
    }
}

/* A worker ignores SIGURG, or answers it with a backtrace in the log. */
static void ask_for_trace(struct worker *worker, int64_t now_ms)
{
    struct watch *watch = &worker->watch;
    if (worker->child == NULL ||
        (watch->traced_ms != 0 && now_ms - watch->traced_ms < TRACE_EVERY_MS))
        return;
    watch->traced_ms = now_ms;
    (void)child_signal(worker->child, SIGURG);
}

void master_on_suspect(struct master *master, struct worker *worker, int64_t now_ms)
{
    struct slot *slot = &master->roster->slots[worker->slot];
    char why[WATCH_TEXT_SIZE], buffer[128];
    watch_explain(worker, now_ms, why);
    const char *stopped =
        worker->watch.late ? why_not_running(worker, buffer, sizeof(buffer)) : NULL;
    worker_enter(worker, WORKER_SUSPECT, now_ms);
    slot->suspected++;
    if (worker->watch.late && stopped == NULL)
        ask_for_trace(worker, now_ms);
    if (!may_tell(&worker->watch, now_ms)) {
        master->suspected_unsaved = true;
        slot->shown = slot_state_now(slot, now_ms);
        return;
    }
    master_save_cluster(master);
    log_warning("worker is late, steering away from it", LOG_INT("slot", worker->slot),
                LOG_INT("pid", worker->pid), LOG_STR("reason", why),
                LOG_STR("process", stopped != NULL ? stopped : "runs"),
                LOG_INT("times", slot->suspected));
    master_event(master, SUSPECT, worker->slot, worker->pid, "%s%s%s", why,
                 stopped != NULL ? ", " : "", stopped != NULL ? stopped : "");
    master_log_slot(master, worker->slot);
}

void master_on_trust(struct master *master, struct worker *worker, int64_t now_ms)
{
    struct slot *slot = &master->roster->slots[worker->slot];
    int64_t after_ms = now_ms - worker->state_since_ms;
    worker_enter(worker, WORKER_READY, now_ms);
    if (!worker->watch.told_last) {
        slot->shown = slot_state_now(slot, now_ms);
        return;
    }
    master_event(master, TRUSTED, worker->slot, worker->pid, "goes on, was suspect for %.2f s",
                 (double)after_ms / 1e3);
    master_log_slot(master, worker->slot);
}
