/* SPDX-License-Identifier: BSD-2-Clause
 *
 * succession - one master program takes the place of another in the same process.
 *
 * The process keeps its number, its children and its terminal; everything else
 * the new program learns from the state file and the workers, as after a crash.
 * What has to be passed on directly is in the environment, which is cleared of
 * it at once:
 *
 *   MUSTER_UPGRADE_PID      the process that all of these are meant for
 *   MUSTER_UPGRADE_BACK     a descriptor of the program before, to go back to
 *   MUSTER_UPGRADE_PROGRAM  the path that upgrades execute
 *   MUSTER_UPGRADE_CLIENTS  connections of clients that wait for the result
 *   MUSTER_UPGRADE_SOCKETS  the listening sockets (listeners_pass()), twice: the
 *                           second is for going back
 *   MUSTER_UPGRADE_FAILED   why the program in between could not start
 *   MUSTER_UPGRADE_CONFIG   the configuration that the program before ran with:
 *                           what is in the file by now is what the one in
 *                           between could not start with
 *
 * Signals are blocked from the old program's end until the new one handles them.
 */
#ifndef MUSTER_SUCCESSION_H
#define MUSTER_SUCCESSION_H

#include "common/check.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    SUCCESSION_CLIENTS = 8,
    SUCCESSION_SOCKETS = 2,
    SUCCESSION_TEXT_SIZE = 512,
    SUCCESSION_PATH_SIZE = 4096
};

struct succession {
    bool arrived;                       /* another program began this process */
    bool failed;                        /* this is the old one again */
    int back_fd;                        /* -1: nowhere to go back to */
    int config_fd;                      /* a document of the program before; -1: none */
    int sockets_fd[SUCCESSION_SOCKETS]; /* -1: none */
    char reason[SUCCESSION_TEXT_SIZE];
    char program[SUCCESSION_PATH_SIZE];
    int clients[SUCCESSION_CLIENTS];
    int client_count;
};

/* First thing in main(). */
void succession_arrive(struct succession *out);

/* The path by which this program was started, absolute and with its symbolic
 * links, so that the next one is what they point to then. */
void succession_find_program(const struct succession *arrival, const char *argv0,
                             char out[SUCCESSION_PATH_SIZE]);

/* What is to stay open for the next program. */
struct succession_kept {
    int config_fd;
    int sockets_fd[SUCCESSION_SOCKETS]; /* -1: none */
    const int *clients;
    int client_count;
};

/* Executes `program` in place of this one. Returns -errno only if that failed;
 * then everything is as before. */
MUST_USE int succession_execute(const char *program, char *const argv[],
                                const struct succession_kept *kept);

/* This program cannot start: executes the one before. Returns only if that
 * fails, or there was none. */
void succession_go_back(const struct succession *arrival, char *const argv[], const char *reason);

#endif
