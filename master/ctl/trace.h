/* SPDX-License-Identifier: BSD-2-Clause
 *
 * trace - a recorded or invented load, as a text file:
 *
 *   # a comment, to the end of the line
 *   workers 2 32          from and to; before the first load, as all settings
 *   step 1s               each load lasts so long
 *   start_time 2s         until a new worker serves
 *   threshold 80          percent; a second in which workers are busier is counted
 *   target 60             percent that Muster and the HPA aim at
 *   down_window 5m        how long fewer must have been enough
 *   evaluate 5s           how often Muster decides
 *   request 10ms          what a request costs; the queue is counted in requests
 *   queue 4096            requests that may wait; more are lost
 *   2.5                   the load: workers that it would keep busy
 *   2.5 x 60              the same, 60 steps long
 *   -                     nothing was measured in this step; the load goes on
 */
#ifndef MUSTER_CTL_TRACE_H
#define MUSTER_CTL_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRACE_MAX_RUNS = 1000000, TRACE_MAX_SECONDS = 31 * 24 * 3600, TRACE_ERROR_SIZE = 256 };

struct trace_run {
    double load;
    bool measured;
    int64_t steps;
};

struct trace {
    int64_t min_workers, max_workers;
    int64_t step_ms; /* whole seconds */
    int64_t start_time_ms;
    double threshold, target;
    int64_t down_window_ms;
    int64_t evaluate_ms; /* whole seconds */
    int64_t request_ms;
    int64_t queue_requests;
    struct trace_run *runs; /* owned */
    size_t run_count, run_capacity;
    int64_t seconds;
};

/* 0, or -1 with "FILE:LINE: what is wrong" in `error`. trace_parse() reads and
 * closes the descriptor; `name` is for messages. */
int trace_parse(int fd, const char *name, struct trace *out, char error[TRACE_ERROR_SIZE]);
int trace_read(const char *path, struct trace *out, char error[TRACE_ERROR_SIZE]);
void trace_fini(struct trace *trace);

#endif
