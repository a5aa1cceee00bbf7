/* SPDX-License-Identifier: BSD-2-Clause
 *
 * crash - the signal handlers; only async-signal-safe calls in it.
 */
#include "worker/crash.h"

#include "common/clock.h"
#include "common/log.h"
#include "worker/signal_text.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK_SIZE = 64 * 1024, LAST_WORDS_MS = 500 };

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};

static char died[64], stuck[64]; /* how their lines begin */
static struct signal_text last_words;
static struct signal_text trace;
static const struct loop *watched;

static void on_crash(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    struct signal_text *text = &last_words;
    text->len = 0;
    const char *name = sigabbrev_np(signal_number);
    signal_text_add(text, died);
    signal_text_add(text, name != NULL ? name : "?");
    /* A signal that somebody sent has a sender, a fault has an address. */
    if (info->si_code <= 0) {
        signal_text_add(text, " sent_by=");
        signal_text_add_decimal(text, info->si_pid);
    } else {
        signal_text_add(text, " address=0x");
        signal_text_add_hex(text, (uintptr_t)info->si_addr);
    }
    signal_text_add(text, "\n");
    /* The line at once: what comes next may fail. */
    signal_text_write(text, log_fd(), LAST_WORDS_MS);
    text->len = 0;
    signal_text_add_stack(text);
    signal_text_write(text, log_fd(), LAST_WORDS_MS);
    /* SA_RESETHAND has put the default action back; a fault comes again by itself, a signal that
     * was sent does not. */
    (void)raise(signal_number);
}

/* The master found this worker late. It goes on afterwards, so whatever was
 * interrupted must not notice: errno stays, system calls are restarted. */
static void on_trace(int signal_number)
{
    int saved_errno = errno;
    struct signal_text *text = &trace;
    (void)signal_number;
    text->len = 0;
    signal_text_add(text, stuck);
    if (watched->in_turn) {
        signal_text_add(text, "in one loop turn for ");
        signal_text_add_decimal(text, (clock_monotonic_ns() - watched->turn_started_ns) / 1000000);
        signal_text_add(text, " ms\n");
    } else {
        signal_text_add(text, "between two loop turns\n");
    }
    signal_text_add_stack(text);
    signal_text_write(text, log_fd(), 0);
    errno = saved_errno;
}

void crash_install(unsigned slot)
{
    /* A stack of its own, for the case that the stack is what ran out. */
    static char stack[STACK_SIZE];
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
    (void)sigaltstack(&alternative, NULL);
    snprintf(died, sizeof(died), "muster-worker slot=%u pid=%d died: SIG", slot, (int)getpid());
    snprintf(stuck, sizeof(stuck), "muster-worker slot=%u pid=%d is late: ", slot, (int)getpid());
    signal_text_prepare();

    struct sigaction action = {
        .sa_sigaction = on_crash,
        .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND,
    };
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &action, NULL);
}

void crash_install_trace(const struct loop *loop)
{
    struct sigaction action = {.sa_handler = on_trace, .sa_flags = SA_ONSTACK | SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    watched = loop;
    (void)sigaction(SIGURG, &action, NULL);
}
