/* SPDX-License-Identifier: BSD-2-Clause
 *
 * signal_text - text made and written inside a signal handler.
 */
#include "worker/signal_text.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <poll.h>
#include <unistd.h>

enum { BACKTRACE_DEPTH = 48 };

void signal_text_add(struct signal_text *text, const char *string)
{
    while (*string != '\0' && text->len < sizeof(text->bytes))
        text->bytes[text->len++] = *string++;
}

void signal_text_add_hex(struct signal_text *text, uintptr_t value)
{
    char digits[2 * sizeof(value) + 1];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    signal_text_add(text, digits + at);
}

void signal_text_add_decimal(struct signal_text *text, int64_t value)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    signal_text_add(text, digits + at);
}

/* "/usr/libexec/muster/muster-worker(conns_end_turn+0x1f) [0x55d0c0ffee00]" */
static void add_frame(struct signal_text *text, const void *address)
{
    Dl_info info = {0};
    uintptr_t at = (uintptr_t)address;
    if (dladdr(address, &info) != 0 && info.dli_fname != NULL) {
        uintptr_t from = (uintptr_t)(info.dli_sname != NULL ? info.dli_saddr : info.dli_fbase);
        signal_text_add(text, info.dli_fname);
        signal_text_add(text, "(");
        signal_text_add(text, info.dli_sname != NULL ? info.dli_sname : "");
        signal_text_add(text, "+0x");
        signal_text_add_hex(text, at - from);
        signal_text_add(text, ") ");
    }
    signal_text_add(text, "[0x");
    signal_text_add_hex(text, at);
    signal_text_add(text, "]\n");
}

void signal_text_add_stack(struct signal_text *text)
{
    void *frames[BACKTRACE_DEPTH];
    int depth = backtrace(frames, BACKTRACE_DEPTH);
    for (int i = 1; i < depth; i++) /* without this function */
        add_frame(text, frames[i]);
}

void signal_text_write(const struct signal_text *text, int fd, int wait_ms)
{
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    if (poll(&writable, 1, wait_ms) == 1) {
        ssize_t ignored = write(fd, text->bytes, text->len);
        (void)ignored;
    }
}

void signal_text_prepare(void)
{
    void *frame[1];
    Dl_info info;
    (void)backtrace(frame, 1);
    (void)dladdr((const void *)(uintptr_t)signal_text_prepare, &info);
}
