/* SPDX-License-Identifier: BSD-2-Clause
 *
 * command - what people can tell the cluster to do, and how it ended.
 *
 * The management port and the signals make commands; master.c carries them out
 * and calls `on_done` exactly once for each, possibly before command_run()
 * returns, unless the asker forgets it first.
 */
#ifndef MUSTER_COMMAND_H
#define MUSTER_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#define COMMAND_KINDS(X)                                                                           \
    X(SCALE, "scale")                                                                              \
    X(SCALE_AUTO, "scale-auto") /* end of the manual override */                                   \
    X(RESTART, "restart")                                                                          \
    X(RELOAD, "reload")                                                                            \
    X(UPGRADE, "upgrade")                                                                          \
    X(DRAIN, "drain")
#define COMMAND_ENUM(name, text) COMMAND_##name,
enum command_kind { COMMAND_KINDS(COMMAND_ENUM) COMMAND_KIND_COUNT };

const char *command_kind_name(enum command_kind kind);

struct command {
    enum command_kind kind;
    int instances;    /* SCALE */
    int64_t for_ms;   /* SCALE: how long it holds, 0: until further notice */
    int slot;         /* RESTART */
    char reason[256]; /* may be empty */
    char who[64];     /* "uid 0 over the Unix socket", "token from 127.0.0.1", "signal" */
};

struct reload_changes;

struct command_result {
    bool ok;
    int http_status;                      /* 200, or 400, 404, 409, 500, 503 */
    char message[1024];                   /* in words: what was done, or why not */
    const struct reload_changes *changes; /* RELOAD, for the duration of the call; else NULL */
};

typedef void command_on_done(void *context, const struct command_result *result);

struct master;
void command_run(struct master *master, const struct command *command, command_on_done *on_done,
                 void *context);
/* Counters are about to be told to somebody. */
void command_publish(struct master *master);
/* `on_done` is not called for this context any more. The command goes on. */
void command_forget(struct master *master, void *context);

#endif
