/* SPDX-License-Identifier: BSD-2-Clause
 *
 * crash - the last words of a worker that dies of a bug, and where one is stuck.
 */
#ifndef MUSTER_WORKER_CRASH_H
#define MUSTER_WORKER_CRASH_H

#include "worker/loop.h"

/* For SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGSYS: one line with the
 * signal and the address, then a backtrace, to the descriptor of the log; then
 * the signal does what it does by default. SIGABRT is also what the master
 * sends to a worker that hangs: the backtrace says where. */
void crash_install(unsigned slot);

/* For SIGURG, which the master sends to a worker that is late: one line and a
 * backtrace, and the worker goes on. `loop` must live as long as the process. */
void crash_install_trace(const struct loop *loop);

#endif
