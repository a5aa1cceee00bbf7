/* SPDX-License-Identifier: BSD-2-Clause
 *
 * crash - the signal handler; only async-signal-safe calls in it.
 */
#include "worker/crash.h"

#include "common/log.h"

#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKTRACE_DEPTH = 48, STACK_SIZE = 64 * 1024 };

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};

static char prefix[64];

static size_t append(char *line, size_t len, size_t size, const char *text)
{
    while (*text != '\0' && len < size)
        line[len++] = *text++;
    return len;
}

static size_t append_hex(char *line, size_t len, size_t size, uintptr_t value)
{
    for (int shift = (int)sizeof(value) * 8 - 4; shift >= 0 && len < size; shift -= 4) {
        unsigned digit = (unsigned)(value >> shift) & 15;
        if (digit != 0 || (value >> shift) != 0 || shift == 0)
            line[len++] = "0123456789abcdef"[digit];
    }
    return len;
}

static size_t append_decimal(char *line, size_t len, size_t size, long value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0 && len < size)
        line[len++] = digits[--count];
    return len;
}

static void on_crash(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    char line[256];
    size_t len = append(line, 0, sizeof(line), prefix);
    const char *name = sigabbrev_np(signal_number);
    len = append(line, len, sizeof(line), name != NULL ? name : "?");
    /* A signal that somebody sent has a sender, a fault has an address. */
    if (info->si_code <= 0) {
        len = append(line, len, sizeof(line), " sent_by=");
        len = append_decimal(line, len, sizeof(line), (long)info->si_pid);
    } else {
        len = append(line, len, sizeof(line), " address=0x");
        len = append_hex(line, len, sizeof(line), (uintptr_t)info->si_addr);
    }
    if (len >= sizeof(line) - 1)
        len = sizeof(line) - 1;
    line[len++] = '\n';
    int fd = log_fd();
    ssize_t ignored = write(fd, line, len);
    (void)ignored;
    void *frames[BACKTRACE_DEPTH];
    int depth = backtrace(frames, BACKTRACE_DEPTH);
    backtrace_symbols_fd(frames, depth, fd);
    /* SA_RESETHAND has put the default action back; a fault comes again by itself, a signal that
     * was sent does not. */
    (void)raise(signal_number);
}

void crash_install(unsigned slot)
{
    /* A stack of its own, for the case that the stack is what ran out. */
    static char stack[STACK_SIZE];
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
    (void)sigaltstack(&alternative, NULL);
    snprintf(prefix, sizeof(prefix), "muster-worker slot=%u pid=%d died: SIG", slot, (int)getpid());

    /* The first call may load a library, which must not happen in the handler. */
    void *frame[1];
    (void)backtrace(frame, 1);

    struct sigaction action = {
        .sa_sigaction = on_crash,
        .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND,
    };
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &action, NULL);
}
