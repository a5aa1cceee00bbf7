/* SPDX-License-Identifier: BSD-2-Clause
 *
 * signal_text - text made and written inside a signal handler.
 *
 * No allocation, no stdio, no locale. A text that is full takes no more; each
 * handler has one of its own.
 */
#ifndef MUSTER_WORKER_SIGNAL_TEXT_H
#define MUSTER_WORKER_SIGNAL_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct signal_text {
    size_t len;
    char bytes[8192];
};

void signal_text_add(struct signal_text *text, const char *string);
void signal_text_add_decimal(struct signal_text *text, int64_t value); /* >= 0 */
void signal_text_add_hex(struct signal_text *text, uintptr_t value);
/* The caller's stack, a line for each frame; signal_text_prepare() first. */
void signal_text_add_stack(struct signal_text *text);
/* One write(2) for all. A descriptor that stays full for `wait_ms` gets nothing:
 * a pipe that nobody reads must not stop the process. */
void signal_text_write(const struct signal_text *text, int fd, int wait_ms);

/* Loads what a stack needs; not in a handler. */
void signal_text_prepare(void);

#endif
